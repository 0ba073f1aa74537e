"""The lookup-free codec: bits and codes are inverses, Show-o's file layout, and a loss that reaches the encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from codec.test_continuous import tiny_dc
from limner.codecs.continuous import KLCodec
from limner.codecs.discrete import LFQCodec
from limner.codecs.magvit2 import MAGVIT2, LFQConfig, Resize
from limner.codecs.nano_lfq import NANO, NanoLFQConfig
from limner.codecs.quantizer import Quantizer, code_entropy, codebook_use
from limner.errors import InputError

TINY = LFQConfig(
    bits=5, width=4, encoder_widths=(1, 2, 2), encoder_blocks=(2, 1, 1), decoder_widths=(1, 1, 2),
    decoder_blocks=(1, 1, 2), groups=2,
)  # fmt: skip


def codec(config: LFQConfig = TINY, seed: int = 0) -> LFQCodec:
    torch.manual_seed(seed)
    model = LFQCodec(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return model.requires_grad_(False)


def test_codes_and_signs_are_inverse_and_bits_are_highest_first() -> None:
    quantizer = Quantizer(5)
    codes = torch.randperm(32, generator=torch.Generator().manual_seed(0))[:24].view(2, 12)
    signs = quantizer.signs(codes, 3)
    assert signs.shape == (2, 5, 3, 4) and set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(quantizer.codes(signs), codes)
    assert torch.equal(signs.flatten(2).transpose(1, 2), quantizer.embedding[codes])
    assert quantizer.embedding[0b10010].tolist() == [1, -1, -1, 1, -1]
    assert quantizer.codes(torch.tensor([0.1, -3.0, -0.1, 2.0, 0.0]).view(1, 5, 1, 1)).item() == 0b10010
    assert codebook_use(codes, 32) == 24 / 32


def test_pictures_go_in_and_come_out_in_their_size() -> None:
    for config in (TINY, replace(TINY, patch=2)):
        model = codec(config)
        pictures = torch.rand(2, 3, 16, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
        codes = model.encode(pictures)
        rows = 16 // config.factor
        assert (
            model.factor == config.factor == 4 * config.patch
            and codes.shape == (2, rows * 2 * rows)
            and codes.dtype == torch.int64
        )
        back = model.decode(codes, rows)
        assert back.shape == pictures.shape and back.abs().max() <= 1
        assert torch.allclose(back, model.decoder(model.quantize(model.encoder(pictures)).z).clamp(-1, 1), atol=1e-4)
        assert torch.equal(model.quantize(model.encoder(pictures)).codes, codes)


def test_gradient_passes_straight_through_and_the_losses_are_their_formulas() -> None:
    z = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = Quantizer(5)(z)
    weights = torch.randn_like(z)
    assert torch.allclose(torch.autograd.grad((found.z * weights).sum(), z, retain_graph=True)[0], weights)
    logits = torch.stack([-((z - 1) ** 2), -((z + 1) ** 2)], -1)  # of +1 and −1
    p = torch.softmax(logits, -1).float()
    each = torch.distributions.Categorical(probs=p).entropy().mean()
    bits = p[..., 0].movedim(1, -1).flatten(0, 2)  # (24, 5)
    patterns = Quantizer(5).embedding[None] > 0  # (1, 32, 5)
    table = torch.where(patterns, bits[:, None], 1 - bits[:, None]).prod(2)  # of every token over all 32 codes
    over_all = torch.distributions.Categorical(probs=table.mean(0)).entropy()
    assert torch.allclose(code_entropy(bits), over_all, atol=1e-5)
    assert torch.allclose(found.entropy, each - over_all / 5, atol=1e-5)
    assert torch.allclose(found.commitment, F.mse_loss(z, z.sign()).float())
    unfair = 20 * torch.ones(2, 5, 3, 4)
    assert float(Quantizer(5)(unfair).entropy) == pytest.approx(0, abs=1e-5)
    same = unfair * torch.where(torch.arange(4) % 2 > 0, 1, -1)  # every bit is fair, but all say the same
    assert float(Quantizer(5)(same).entropy) == pytest.approx(-0.6931 / 5, abs=1e-3)
    every = 20 * Quantizer(5).embedding.T.reshape(1, 5, 4, 8)
    assert float(Quantizer(5)(every).entropy) == pytest.approx(-0.6931, abs=1e-3)


def test_bits_that_are_certain_leave_the_gradient_finite() -> None:
    z = torch.full((1, 3, 2, 2), 60.0, requires_grad=True)  # so certain that 1 − p is 0 in float32
    found = Quantizer(3)(z)
    (found.entropy + found.commitment).backward()
    assert z.grad is not None and z.grad.isfinite().all() and found.entropy.item() == pytest.approx(0, abs=1e-6)


def showo_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of Show-o's published MAGVIT-v2, written down separately from its public code."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, channels: int, kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, channels, kernel, kernel), (out,)

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def block(name: str, channels: int, out: int) -> None:
        norm(f"{name}.norm1", channels)
        conv(f"{name}.conv1", out, channels, 3)
        norm(f"{name}.norm2", out)
        conv(f"{name}.conv2", out, out, 3)
        if channels != out:
            conv(f"{name}.nin_shortcut", out, channels, 1)

    def middle(name: str, channels: int) -> None:
        block(f"{name}.block_1", channels, channels)
        norm(f"{name}.attn_1.norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.attn_1.{part}", channels, channels, 1)
        block(f"{name}.block_2", channels, channels)

    conv("encoder.conv_in", 128, 3, 3)
    channels = 128
    for i, (out, blocks) in enumerate(zip((128, 256, 256, 512, 512), (4, 3, 4, 3, 4))):
        for j in range(blocks):
            block(f"encoder.down.{i}.block.{j}", channels, out)
            channels = out
        if i < 4:
            conv(f"encoder.down.{i}.downsample.conv", out, out, 3)
    middle("encoder.mid", 512)
    norm("encoder.norm_out", 512)
    conv("encoder.conv_out", 13, 512, 3)
    conv("encoder.quant_conv", 13, 13, 1)
    conv("decoder.conv_in", 512, 13, 3)
    middle("decoder.mid", 512)
    channels = 512
    for i, out, blocks in ((4, 512, 3), (3, 256, 4), (2, 256, 3), (1, 128, 4), (0, 128, 4)):
        for j in range(blocks):
            block(f"decoder.up.{i}.block.{j}", channels, out)
            channels = out
        if i:
            conv(f"decoder.up.{i}.upsample.conv", out, out, 3)
    norm("decoder.norm_out", 128)
    conv("decoder.conv_out", 3, 128, 3)
    conv("decoder.post_quant_conv", 13, 13, 1)
    shapes |= {"quantize.embedding": (8192, 13), "quantize.power_vals": (13,)}
    return shapes


def test_full_size_has_show_o_s_names_and_shapes() -> None:
    with torch.device("meta"):
        model = LFQCodec(MAGVIT2)
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == showo_names()
    assert MAGVIT2.factor == 16 and MAGVIT2.codebook == 8192


def test_nano_is_small_and_needs_its_base() -> None:
    model = LFQCodec(NANO)
    assert model.factor == 16 and NANO.codebook == 8192
    stored = [p.numel() for name, p in model.named_parameters() if not name.startswith("encoder.base.")]
    assert sum(stored) <= 7e6
    assert NanoLFQConfig.from_dict(json.loads(json.dumps(NANO.to_dict()))) == NANO


def squeezed(folder: Path) -> LFQCodec:
    """A squeezed codec on a tiny KL codec saved in `folder`, all weights random."""
    torch.manual_seed(0)
    tiny_dc().save_pretrained(folder)
    model = LFQCodec(NanoLFQConfig(bits=5, base=str(folder), width=8, groups=4, side=4)).eval()
    for parameter in (*model.encoder.squeeze.parameters(), *model.decoder.parameters()):  # type: ignore[union-attr, operator]
        parameter.data.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return model.requires_grad_(False)


def test_a_squeezed_codec_is_saved_without_its_base_and_refuses_another(tmp_path: Path) -> None:
    model = squeezed(tmp_path / "base")
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    codes = model.encode(pictures)
    assert codes.shape == (2, 16) and len(codes.unique()) > 3
    model.save(tmp_path / "codec", {"step": "1"}, dtype=torch.float32)
    again = LFQCodec.load(tmp_path / "codec")
    assert torch.equal(again.encode(pictures), codes) and torch.equal(again.decode(codes), model.decode(codes))
    stored = load_file(tmp_path / "codec" / "model.safetensors")
    assert stored and not any(name.startswith("encoder.base.") for name in stored)
    larger = torch.rand(1, 3, 16, 32) * 2 - 1
    assert model.decode(model.encode(larger), rows=4).shape == larger.shape
    torch.manual_seed(1)
    tiny_dc().save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="trained with another"):
        LFQCodec.load(tmp_path / "codec")


def test_decoding_by_way_of_the_base_changes_neither_the_base_nor_what_it_gives(tmp_path: Path) -> None:
    tiny_dc().save_pretrained(tmp_path)
    base = KLCodec.load(tmp_path)
    before = base.autoencoder.decoder.conv_in.weight.clone()
    model = LFQCodec(NanoLFQConfig(bits=5, base=str(tmp_path), width=8, groups=4, side=4), base)
    assert all(p.requires_grad for p in model.decoder.parameters())
    assert not any(p.requires_grad for p in base.parameters())
    model.decoder.draw.conv_in.weight.data.zero_()  # type: ignore[union-attr]
    after = base.autoencoder.decoder.conv_in.weight
    assert torch.equal(before, after)


def write(folder: Path, tensors: dict[str, Tensor], config: LFQConfig | None = TINY) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    values = {"_class_name": "MAGVITv2"} | ({} if config is None else {"lfq": config.to_dict()})
    (folder / "config.json").write_text(json.dumps(values))


def test_files_load_strictly(tmp_path: Path) -> None:
    model = codec()
    write(tmp_path, model.state_dict())
    again = LFQCodec.load(tmp_path)
    pictures = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert again.config == TINY and torch.equal(again.encode(pictures), model.encode(pictures))
    tensors = model.state_dict()
    write(tmp_path, {**tensors, "loss.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"'loss\.weight' is unexpected"):
        LFQCodec.load(tmp_path)
    tensors.pop("decoder.up.1.upsample.conv.weight")
    write(tmp_path, tensors)
    with pytest.raises(InputError, match=r"'decoder\.up\.1\.upsample\.conv\.weight' is missing"):
        LFQCodec.load(tmp_path)
    write(tmp_path, tensors, config=None)  # taken for the full size
    with pytest.raises(InputError, match=r"needs \[128, 3, 3, 3\]"):
        LFQCodec.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors first"):
        LFQCodec.load(tmp_path)


def test_what_does_not_fit_is_refused() -> None:
    model = codec()
    with pytest.raises(ValueError, match="multiples of 4"):
        model.encode(torch.zeros(1, 3, 16, 18))
    with pytest.raises(ValueError, match="rows="):
        model.decode(torch.zeros(1, 10).long())
    with pytest.raises(ValueError, match="masked"):
        model.decode(torch.full((1, 16), 32))
    for field, value in (("bits", 0), ("decoder_blocks", (1, 1)), ("patch", 3), ("groups", 3)):
        with pytest.raises(ValueError, match=field):
            replace(TINY, **{field: value})
    with pytest.raises(ValueError, match="depth"):
        LFQConfig.from_dict({"depth": 1})


def test_halving_pads_right_and_below_and_doubling_repeats() -> None:
    """As the published weights were trained: the first output sees the first three rows and columns."""
    half, double = Resize(1, down=True), Resize(1, down=False)
    for layer in (half, double):
        layer.conv.weight.data.zero_()
        layer.conv.bias.data.zero_()  # type: ignore[union-attr]
    half.conv.weight.data[0, 0, 0, 0] = 1  # takes the upper left of its window
    double.conv.weight.data[0, 0, 1, 1] = 1
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert half(x)[0, 0].tolist() == [[0, 2], [8, 10]]
    assert double(x[:, :, :1, :2])[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]

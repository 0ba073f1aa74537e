"""The controller on its UNet: nothing changes at γ = 0, every part matters, and it fits only its family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from facex.tiny import CONTROL, random_controller, tiny_unet, write_nano_base, write_stable_diffusion
from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.models.facex.base import load_base
from limner.models.facex.config import FULL, ControlConfig
from limner.models.facex.control import (
    Controller,
    family_of,
    load_controller,
    new_controller,
    save_controller,
    start_from,
)
from limner.models.facex.plan import FACTORS, MOTION
from limner.models.facex.reference import Reference
from limner.models.facex.steer import SteeredUNet
from limner.weights.tensors import load_tensors, save_tensors

CPU = torch.device("cpu")


def inputs(rows: int = 2, text: int = 384):
    g = torch.Generator().manual_seed(1)
    latents, words = torch.randn(rows, 4, 4, 4, generator=g), torch.randn(rows, 5, text, generator=g)
    reference = Reference(torch.randn(rows, 4, 4, 4, generator=g), torch.ones(rows, 1, 4, 4))
    return latents, torch.full((rows,), 500), words, torch.randn(rows, 50, 16, generator=g), reference


@pytest.mark.parametrize("time_factors", [False, True])
def test_an_untrained_controller_changes_not_one_bit(time_factors: bool) -> None:
    unet = tiny_unet()
    latents, times, words, face, reference = inputs()
    keep = torch.tensor([[True] * 5, [True, True, False, False, False]])
    with torch.no_grad():
        plain = unet(latents, times, encoder_hidden_states=words, encoder_attention_mask=keep).sample
        steered = SteeredUNet(unet, new_controller(unet, ControlConfig(**CONTROL, time_factors=time_factors)))
        assert torch.equal(steered(latents, times, words, keep, face, reference), plain)
        assert torch.equal(steered(latents, times, words, keep, None, None), plain)


@pytest.mark.parametrize("part", ["gain", "reference", "whole"])
def test_each_hand_of_the_controller_moves_the_unet(part: str) -> None:
    unet = tiny_unet()
    latents, times, words, face, reference = inputs()
    controller = new_controller(unet, ControlConfig(**CONTROL, time_factors=True))
    steered = SteeredUNet(unet, controller)
    with torch.no_grad():
        before = steered(latents, times, words, None, face, reference)
        for name, parameter in controller.named_parameters():
            if name.endswith(part) or name.startswith(f"{part}."):
                parameter.fill_(0.5)
        after = steered(latents, times, words, None, face, reference)
    assert not torch.allclose(before, after)


def test_every_block_reads_the_face() -> None:
    """One γ at a time: each moves the output, so no FaceAttention hangs beside the UNet."""
    unet = tiny_unet()
    latents, times, words, face, reference = inputs(1)
    controller = new_controller(unet, ControlConfig(**CONTROL))
    steered = SteeredUNet(unet, controller)
    assert len(controller.attentions) == 7
    outputs = []
    with torch.no_grad():
        for attention in controller.attentions:
            attention.gain.fill_(1.0)  # pyright: ignore[reportCallIssue]
            outputs.append(steered(latents, times, words, None, face, reference))
            attention.gain.fill_(0.0)  # pyright: ignore[reportCallIssue]
        plain = steered(latents, times, words, None, None, None)
    assert all(not torch.equal(output, plain) for output in outputs)
    assert all(not torch.equal(a, b) for k, a in enumerate(outputs) for b in outputs[:k])


def test_widened_convolution_is_one_convolution() -> None:
    unet = tiny_unet()
    controller = random_controller(unet)
    first = unet.conv_in
    assert controller.reference is not None
    wide = torch.nn.Conv2d(9, first.out_channels, 3, padding=1)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([first.weight, controller.reference.weight], 1))
        wide.bias.copy_(first.bias)  # pyright: ignore[reportOptionalMemberAccess]
    SteeredUNet(unet, controller)
    x = torch.randn(2, 9, 4, 4)
    assert torch.allclose(unet.conv_in(x), wide(x), atol=1e-5)


def test_what_holds_for_the_whole_face_reaches_the_time_embedding() -> None:
    """Identity's vector, motion and light; not identity's cells, nor textures; and each by what sets faces apart."""
    unet = tiny_unet()
    controller = random_controller(unet, time_factors=True)
    whole, tokens = controller.whole, controller.assembler.tokens
    assert whole is not None
    draw = torch.Generator().manual_seed(2)
    faces = torch.randn(64, tokens, 16, generator=draw) * 0.01 + torch.randn(1, tokens, 16, generator=draw)
    whole.fit(faces)
    with torch.no_grad():
        shifts = torch.cat([whole(faces[:1]), whole(faces[1:2])])
        assert (shifts[0] - shifts[1]).abs().mean() > 0.3 * shifts[0].abs().mean()
        read = {
            factor
            for token, factor in enumerate(controller.assembler.factor_of.tolist())
            if not torch.equal(whole(faces[:1] + torch.eye(tokens)[token, None, :, None] * faces[1:2]), shifts[:1])
        }
        assert {FACTORS[number] for number in read} == {"identity", *MOTION, "light"}
        cells = faces[:1].clone()
        cells[:, : controller.config.identity_tokens - 1] = 0
        assert torch.equal(whole(cells), shifts[:1])
        assert whole(controller.assembler.none(1)).abs().max() < 3 * shifts.abs().max()  # however far the dropped are


def test_an_older_controller_is_a_start(tmp_path: Path) -> None:
    unet = tiny_unet()
    old, file = random_controller(unet), tmp_path / "old.safetensors"
    save_controller(old, file, {}, torch.float32)
    new = new_controller(unet, ControlConfig(**CONTROL, time_factors=True))
    start_from(new, file)
    assert new.whole is not None and not new.whole.project.weight.any()
    assert all(torch.equal(value, new.state_dict()[key]) for key, value in old.state_dict().items())
    with pytest.raises(InputError, match="belongs to another"):
        start_from(new_controller(unet, ControlConfig(**{**CONTROL, "width": 8})), file)
    tensors, header = load_tensors(file)
    save_tensors(file, {key: value for key, value in tensors.items() if key != "assembler.absent"}, header)
    with pytest.raises(InputError, match=r"'assembler\.absent' is missing"):
        start_from(new, file)


def test_release_gives_the_unet_back() -> None:
    unet = tiny_unet()
    before, keys = dict(unet.attn_processors), list(unet.state_dict())
    steered = SteeredUNet(unet, random_controller(unet, time_factors=True))
    assert list(steered.plain_state()) == keys
    assert steered.release() is unet
    assert dict(unet.attn_processors) == before and list(unet.state_dict()) == keys


def test_the_controller_is_saved_alone_and_loads_onto_another_base(tmp_path: Path) -> None:
    one, other = tiny_unet(), tiny_unet()
    for parameter in other.parameters():
        parameter.data.mul_(1.1)
    controller = random_controller(one)
    save_controller(controller, tmp_path / "c.safetensors", {"guidance": 3.0}, torch.float32)
    loaded, header = load_controller(tmp_path / "c.safetensors")
    assert header["guidance"] == 3.0 and loaded.config == controller.config
    assert set(loaded.state_dict()) == set(controller.state_dict())  # and nothing of the base
    latents, times, words, face, reference = inputs()
    with torch.no_grad():
        expected = SteeredUNet(other, controller)(latents, times, words, None, face, reference)
        again = SteeredUNet(other, loaded)(latents, times, words, None, face, reference)
        elsewhere = SteeredUNet(one, loaded)(latents, times, words, None, face, reference)
    assert torch.equal(expected, again) and not torch.allclose(expected, elsewhere)


def test_a_wrong_base_and_a_wrong_file_are_refused_with_the_reason(tmp_path: Path) -> None:
    controller = random_controller(tiny_unet())
    with pytest.raises(InputError, match="attention widths are 8, 24"):
        SteeredUNet(tiny_unet(widths=(8, 24)), controller, "wide")
    with pytest.raises(InputError, match="latent channels are 8 there, and 4 in the family"):
        SteeredUNet(tiny_unet(channels=8), controller, "deep")
    timed = random_controller(tiny_unet(widths=(12, 16)), time_factors=True)
    narrow = timed.config.replaced(attention_widths=controller.config.attention_widths)
    with pytest.raises(InputError, match="time width are 32 there, and 48 in the family"):
        SteeredUNet(tiny_unet(), Controller(narrow, 8))
    base = write_nano_base(tmp_path / "base")
    with pytest.raises(InputError, match="no FaceX controller"):
        load_controller(base / "unet" / "diffusion_pytorch_model.safetensors")


def test_stable_diffusions_layout_loads_with_parity(tmp_path: Path) -> None:
    """diffusers' own UNet and pipeline parts, saved by it, loaded by us: the same numbers."""
    folder = write_stable_diffusion(tmp_path)
    base = load_base(folder, CPU, torch.float32)
    assert (base.size, base.text_length, base.masked, base.schedule["prediction_type"]) == (64, 12, False, "epsilon")
    words, mask = base.text("a smiling woman", CPU, torch.float32)
    assert words.shape == (1, 12, 20) and mask is None
    reference = UNet2DConditionModel.from_pretrained(folder / "unet").eval()  # pyright: ignore
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        expected = reference(latents, 10, encoder_hidden_states=words).sample
        steered = SteeredUNet(base.unet, new_controller(base.unet, ControlConfig(**CONTROL)))
        found = steered(latents, torch.tensor([10]), words, None, torch.randn(1, 50, 16), None)
    assert torch.allclose(found, expected, atol=1e-5)


def test_codecs_with_the_names_of_old_files_load(tmp_path: Path) -> None:
    """Stable Diffusion 1.5's own VAE file says query, key, value and proj_attn."""
    file = write_stable_diffusion(tmp_path) / "vae" / "diffusion_pytorch_model.safetensors"
    pictures = torch.rand(1, 3, 64, 64) * 2 - 1
    before = KLCodec.load(file.parent).encode(pictures)
    tensors, header = load_tensors(file)
    old = {}
    for key, value in tensors.items():
        for new, former in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{former}.")
        old[key] = value
    assert sum(old[key] is not tensors.get(key) for key in old) == 16
    save_tensors(file, old, header)
    assert torch.equal(KLCodec.load(file.parent).encode(pictures), before)


def test_size_at_stable_diffusions_widths() -> None:
    """Some 44 million parameters in the attentions of SD 1.5's sixteen blocks [A]."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8
        )
        family = family_of(unet)
        controller = Controller(ControlConfig(**{**FULL, **family}), 320)
    assert len(family["attention_widths"]) == 16
    count = sum(p.numel() for p in controller.attentions.parameters())
    assert 43.5e6 < count < 44.5e6
    assert sum(p.numel() for p in controller.parameters()) < 52e6

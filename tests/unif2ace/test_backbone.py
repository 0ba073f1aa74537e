"""The backbone against transformers' Phi, and Show-o's checkpoint layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PhiConfig, PhiForCausalLM

from limner.errors import InputError
from limner.models.unif2ace.config import GROUPS, PRESETS, UniF2aceConfig, preset
from limner.models.unif2ace.parameter_count import active, breakdown, table
from limner.models.unif2ace.phi import from_phi
from limner.models.unif2ace.sequence import image_place, omni_mask, paint_sequence, understand_sequence
from limner.models.unif2ace.showo import add_experts, from_showo
from limner.models.unif2ace.tokenizer import Tokenizer, learn
from limner.models.unif2ace.transformer import UniF2aceTransformer, attend
from unif2ace.parts import WORDS
from unif2ace.tiny import NOTHING, TINY, dense, draw_codes, draw_features, random_model


def reference(qk_norm: bool = True, **changes) -> PhiForCausalLM:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3}
    config = PhiConfig(**{**sizes, "num_attention_heads": 2, "qk_layernorm": qk_norm, **changes})
    model = PhiForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return model.eval()


def causal(length: int) -> Tensor:
    return torch.ones(1, length, length, dtype=torch.bool).tril()


@pytest.mark.parametrize("shard_size", ["10GB", "10KB"])
@pytest.mark.parametrize("qk_norm", [True, False])
@torch.no_grad()
def test_same_logits_as_transformers(qk_norm: bool, shard_size: str, tmp_path: Path) -> None:
    phi = reference(qk_norm)
    phi.save_pretrained(tmp_path, max_shard_size=shard_size)
    model = from_phi(tmp_path, text_vocabulary=30, codebook=16)  # 30 + 10 + 16 + 1 = 57 rows, 40 of them Phi's
    tokens = torch.randint(0, 40, (2, 19), generator=torch.Generator().manual_seed(1))
    expected = phi(input_ids=tokens).logits
    found = model.logits(model(tokens, causal(19), "understand").hidden)
    assert found.shape == (2, 19, 57) and expected.std() > 0.1
    assert (found[..., :40] - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_same_logits_under_omni_attention(tmp_path: Path) -> None:
    """Also with a mask that is not causal, and padding: transformers takes an additive one."""
    phi = reference(vocab_size=57)
    phi.save_pretrained(tmp_path)
    model = from_phi(tmp_path, text_vocabulary=30, codebook=16, image_tokens=9, text_length=7)
    tokens = paint_sequence(model.config, [[3, 4], [5]], draw_codes(2, masked=0.5, config=model.config))
    mask = omni_mask(model.config, tokens, "paint")
    bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)[:, None]
    expected = phi(input_ids=tokens, attention_mask=bias).logits
    found = model.logits(model(tokens, mask, "paint", image=image_place(model.config, "paint")).hidden)
    assert (found - expected).abs().max() <= 1e-5
    assert not torch.allclose(found, phi(input_ids=tokens).logits, atol=1e-2)


def test_new_rows_are_drawn_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        from_phi(tmp_path)
    reference().save_pretrained(tmp_path)
    one, other = (from_phi(tmp_path, codebook=16, seed=s).embed.weight for s in (0, 1))
    assert torch.equal(one[:40], other[:40]) and not torch.equal(one[40:], other[40:])
    values = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model_type": "llama"}, "llama"),
        ({"num_hidden_layers": 4}, r"model\.layers\.3"),
        ({"num_hidden_layers": 2}, "unexpected"),
        ({"qk_layernorm": False}, "layernorm"),
        ({"num_key_value_heads": 1}, "shares keys"),
        ({"intermediate_size": 44}, r"mlp\.fc1"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(InputError, match=message):
            from_phi(tmp_path, codebook=16)


def nameless_phi(folder: Path) -> PhiForCausalLM:
    """As Phi-1.5 is published: no norms of queries and keys, no ids of start and end of text."""
    phi = reference(qk_norm=False, vocab_size=400)
    phi.save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "bos_token_id": None, "eos_token_id": None}))
    return phi


def test_start_and_end_of_text_come_from_the_tokenizer_where_the_configuration_has_none(tmp_path: Path) -> None:
    nameless_phi(tmp_path)
    with pytest.raises(InputError, match=r"put tokenizer_config\.json and tokenizer\.json beside it, or give sot="):
        from_phi(tmp_path, codebook=16)
    given = from_phi(tmp_path, codebook=16, sot=7, eot=0).config
    assert (given.sot, given.eot) == (7, 0)
    learn(WORDS * 3, 340, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<eot>", "eos_token": {"content": "A"}}))
    found = from_phi(tmp_path, codebook=16).config
    assert (found.sot, found.eot) == (1, Tokenizer.load(tmp_path).encode(["A"])[0][0])
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<eot>", "eos_token": "<|endoftext|>"}))
    with pytest.raises(InputError, match=r"no token '<\|endoftext\|>'"):
        from_phi(tmp_path, codebook=16)


@torch.no_grad()
def test_a_phi_without_norms_gets_new_ones_and_experts(tmp_path: Path) -> None:
    """Those of weight 1 and bias 0: transformers' own Phi with such norms is the same function."""
    plain = nameless_phi(tmp_path)
    chosen: dict[str, Any] = {"text_vocabulary": 340, "codebook": 16, "sot": 1, "eot": 1}
    assert not from_phi(tmp_path, **chosen).config.qk_norm
    model = from_phi(tmp_path, qk_norm=True, **chosen)
    phi = reference(vocab_size=400)
    norms = {name: fresh for name, fresh in phi.state_dict().items() if "k_layernorm" in name or "q_layernorm" in name}
    fresh = {name: torch.full_like(t, name.endswith("weight")) for name, t in norms.items()}
    phi.load_state_dict({**plain.state_dict(), **fresh}, strict=True)
    tokens = torch.randint(0, 367, (2, 19), generator=torch.Generator().manual_seed(1))
    found = model.logits(model(tokens, causal(19), "understand").hidden)
    assert len(norms) == 12 and (found - phi(input_ids=tokens).logits[..., :367]).abs().max() <= 1e-5
    assert not torch.allclose(found, plain(input_ids=tokens).logits[..., :367], atol=1e-2)
    full = replace(model.config, token_experts=4, token_top_k=2, sequence_experts=True)
    assert torch.equal(add_experts(model, full).blocks[0].attention.q_norm.weight, torch.ones(12))  # type: ignore[union-attr]


def showo_file(config: UniF2aceConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names Show-o publishes, written down here separately."""
    g = torch.Generator().manual_seed(seed)
    d, h, e, v = config.width, config.mlp_width, config.head_size, config.vocabulary
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, d)}
    for i in range(config.layers):
        at = f"model.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "dense"):
            shapes |= {f"{at}.self_attn.{name}.weight": (d, d), f"{at}.self_attn.{name}.bias": (d,)}
        for name in ("q_layernorm", "k_layernorm"):
            shapes |= {f"{at}.self_attn.{name}.weight": (e,), f"{at}.self_attn.{name}.bias": (e,)}
        shapes |= {f"{at}.mlp.fc1.weight": (h, d), f"{at}.mlp.fc1.bias": (h,), f"{at}.mlp.fc2.weight": (d, h)}
        shapes |= {f"{at}.mlp.fc2.bias": (d,), f"{at}.input_layernorm.weight": (d,), f"{at}.input_layernorm.bias": (d,)}
    shapes |= {"model.final_layernorm.weight": (d,), "model.final_layernorm.bias": (d,)}
    shapes |= {"lm_head.weight": (v, d), "lm_head.bias": (v,)}
    return {f"showo.{name}": 0.2 * torch.randn(shape, generator=g) for name, shape in shapes.items()}


# Show-o's vocabulary at a tiny width
SHOWO = dense(
    text_vocabulary=50_295, codebook=8192, sot=50_256, eot=50_256, width=8, heads=2, mlp_width=12, gelu="tanh"
)


def write_showo(folder: Path, tensors: dict[str, Tensor], vocabulary: int = 58_498) -> None:
    save_file(tensors, folder / "model.safetensors")
    values = {"w_clip_vit": False, "vocab_size": vocabulary, "llm_vocab_size": 50_295, "codebook_size": 8192}
    (folder / "config.json").write_text(
        json.dumps({**values, "num_vq_tokens": SHOWO.image_tokens, "mask_token_id": vocabulary - 1})
    )


@torch.no_grad()
def test_a_file_in_show_o_s_layout_loads_as_the_phi_it_is(tmp_path: Path) -> None:
    tensors = showo_file(SHOWO)
    write_showo(tmp_path, tensors)
    model = from_showo(tmp_path, SHOWO)
    sizes: dict[str, Any] = {"vocab_size": 58_498, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    phi = PhiForCausalLM(PhiConfig(**sizes, num_attention_heads=2, qk_layernorm=True)).eval()
    phi.load_state_dict({name.removeprefix("showo."): t for name, t in tensors.items()}, strict=True)
    tokens = torch.tensor([[50_300, 50_256, 17, 50_256, 50_296, 50_305, 58_496, 58_497, 50_297]])
    expected = phi(input_ids=tokens).logits
    found = model.logits(model(tokens, causal(9), "paint").hidden)
    assert (found - expected).abs().max() <= 1e-5 and expected.std() > 0.1


def test_wrong_show_o_files_are_refused_by_the_first_wrong_name(tmp_path: Path) -> None:
    def refused(message: str, change, vocabulary: int = 58_498) -> None:
        tensors = showo_file(SHOWO)
        change(tensors)
        write_showo(tmp_path, tensors, vocabulary)
        with pytest.raises(InputError, match=message):
            from_showo(tmp_path, SHOWO)

    q, fc = "showo.model.layers.1.self_attn.q_proj.weight", "showo.model.layers.0.mlp.fc1.weight"
    refused(f"'{q}' is missing", lambda t: t.pop(q))
    refused(f"'{fc}' is missing", lambda t: (t.pop(fc), t.pop(q)))
    refused(rf"'{fc}' is \[13, 8\]", lambda t: t.update({fc: torch.zeros(13, 8)}))
    refused(r"'mm_projector\.0\.weight' is unexpected", lambda t: t.update({"mm_projector.0.weight": torch.zeros(8)}))
    refused("vocab_size is 58499", lambda t: None, 58_499)
    write_showo(tmp_path, showo_file(SHOWO))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"tools/convert/showo\.py"):
        from_showo(tmp_path, SHOWO)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        from_showo(tmp_path, SHOWO)


@pytest.mark.parametrize("shared", [1, 2])
@torch.no_grad()
def test_a_fresh_unif2ace_is_the_show_o_it_came_from_bit_for_bit(shared: int) -> None:
    plain = random_model(dense())
    model = add_experts(plain, replace(TINY, shared_experts=shared), seed=3)
    paint = paint_sequence(TINY, [[3, 4], []], draw_codes(2, masked=0.6))
    asked = understand_sequence(TINY, draw_codes(2), [[3], [4, 5]], [[7, 8], [9]]).tokens
    mixed = {"paint": model.mix(gamma=torch.tensor([0.6, 0.3])), "understand": model.mix(**draw_features(2))}
    for group, tokens in zip(GROUPS, (asked, paint)):
        mask, image = omni_mask(TINY, tokens, group), image_place(TINY, group)
        before = plain.logits(plain(tokens, mask, group, image=image).hidden)
        after = model(tokens, mask, group, image=image, mixed=mixed[group])
        assert torch.equal(model.logits(after.hidden), before) and before.std() > 0.1
        assert len(after.token_routing) == 2
        assert len(after.sequence_routing) == (2 if group == "paint" else 1)  # nothing reads it in the last block
        for ending in ("routed.paint.down", "routed.understand.down", "groups.paint.scale", "groups.understand.scale"):
            names = [name for name, _ in model.named_parameters() if name.endswith(ending)]
            for name in names:
                model.get_parameter(name).add_(0.1)
            trained = model(tokens, mask, group, image=image, mixed=mixed[group])
            assert torch.equal(trained.hidden, after.hidden) == (group not in ending) and names
            for name in names:
                model.get_parameter(name).zero_()  # as they were


def test_experts_are_added_once_and_only_where_they_fit() -> None:
    with pytest.raises(ValueError, match="experts already"):
        add_experts(random_model(), TINY)
    with pytest.raises(ValueError, match="mlp_width=41"):
        add_experts(random_model(dense()), replace(TINY, mlp_width=41))


def test_the_full_size_has_the_papers_parameters() -> None:
    counts = breakdown(preset("unif2ace-1.8b"))
    with torch.device("meta"):
        total = sum(p.numel() for p in UniF2aceTransformer(preset("unif2ace-1.8b")).parameters())
        showo = sum(p.numel() for p in UniF2aceTransformer(preset("showo-1.3b")).parameters())
        phi = PhiForCausalLM(PhiConfig(vocab_size=58_498, qk_layernorm=True))
    assert sum(counts.values()) == total and total == pytest.approx(1.8e9, rel=0.03)
    assert showo == sum(p.numel() for p in phi.parameters())
    assert "unif2ace-1.8b: 1,8" in table("unif2ace-1.8b") and all(counts.values())


def test_nano_fits_its_budget() -> None:
    total = sum(breakdown(preset("nano")).values())
    assert 15e6 <= total <= 30e6  # 60 MB in 16 bit
    assert "nano: 15,328,615 parameters, 11,438,289 of them active" in table("nano")


@pytest.mark.parametrize("shared", [1, 2])
def test_active_parameters_are_those_a_token_to_be_painted_passes_through(shared: int) -> None:
    config = replace(preset("nano"), shared_experts=shared)
    with torch.device("meta"):
        model = UniF2aceTransformer(config)
    passed = 0.0
    for name, parameter in model.named_parameters():
        if name.startswith(("clip_in", "face_in", "ratio_in")) or ".understand." in name or ".shared.1." in name:
            continue
        chosen = config.token_top_k / config.token_experts if ".routed." in name and "router" not in name else 1
        passed += chosen * parameter.numel()
    assert active(config) == pytest.approx(passed, rel=1e-3)


@torch.no_grad()
def test_a_level_without_its_features_says_so() -> None:
    model = random_model()
    asked = understand_sequence(TINY, draw_codes(6), [[3]] * 6).tokens
    with pytest.raises(ValueError, match="features"):
        model(asked, omni_mask(TINY, asked, "understand"), "understand", image=image_place(TINY, "understand"),
              mixed=NOTHING)  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_configurations_survive_json(name: str) -> None:
    assert UniF2aceConfig.from_dict(json.loads(json.dumps(preset(name).to_dict()))) == preset(name)


@pytest.mark.parametrize(
    "field, value",
    [
        ("width", 25), ("layers", 0), ("codebook", 12), ("text_length", 2), ("sot", 20),
        ("partial_rotary_factor", 0.0), ("partial_rotary_factor", 0.3), ("gelu", "relu"), ("token_experts", -1),
        ("token_top_k", 5), ("shared_experts", 3), ("sequence_top_k", 1), ("resampler_width", 9),
    ],
)  # fmt: skip
def test_bad_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(TINY, **{field: value})


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(ValueError, match="depth"):
        UniF2aceConfig.from_dict({"depth": 3})
    with pytest.raises(ValueError, match=r"showo-1\.3b"):
        preset("huge")


def test_attention_written_out_is_the_fused_one_with_its_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 3, 6, 8, generator=g, requires_grad=True) for _ in range(3)]
    mask = torch.rand(2, 1, 6, 6, generator=g) < 0.6
    mask[..., 0] = True
    for seen in (torch.zeros(mask.shape).masked_fill(~mask, -torch.inf), None):
        q, k, v = given
        found, expected = attend(q, k, v, seen), F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        weights = torch.randn(found.shape, generator=g)
        gradients = [torch.autograd.grad((out * weights).sum(), given) for out in (found, expected)]
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs)

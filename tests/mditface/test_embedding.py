"""Tokens: packing, region shares, times, padding, rotations, configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from limner.models.mditface.config import PRESETS, MDiTConfig, preset
from limner.models.mditface.embedding import Prompt, class_shares, pack, timestep_embedding, unpack
from limner.models.mditface.mask_cache import encode_mask
from limner.models.mditface.rope import grid_rotations, rotate
from limner.models.mditface.transformer import MDiT
from mditface.tiny import TINY, inputs, kind


def test_pack_and_unpack_are_inverse_and_ordered_as_flux_orders() -> None:
    x = torch.randn(2, 3, 4, 6)
    tokens = pack(x, 2)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(unpack(tokens, 2, 4, 6), x)
    assert torch.equal(tokens[0, 4].view(3, 2, 2), x[0, :, 2:4, 2:4])  # second row, second column
    with pytest.raises(ValueError, match="multiples of the patch"):
        pack(x[:, :, :3], 2)


def test_class_shares_count_areas_where_they_are() -> None:
    regions = torch.zeros(1, 64, 64, dtype=torch.uint8)
    regions[:, :, 32:] = 5
    regions[:, 32:36, 32:34] = 7  # the left half of the first cell of the last token
    shares = class_shares(regions, TINY).view(4, 8, 8, 19)
    assert torch.allclose(shares.sum(-1), torch.ones(4, 8, 8))
    assert (shares[0, :, :, 0] == 1).all() and (shares[1, :, :, 5] == 1).all()
    assert shares[3, 0, 0, 7] == 0.5 and shares[3, 0, 0, 5] == 0.5 and shares[3, 0, 1, 5] == 1
    regions[0, 8, 20] = 7  # not counted: only every second pixel is, from the second on
    regions[0, 9, 21] = 7
    assert class_shares(regions, TINY).view(4, 8, 8, 19)[0, 2, 5, 7] == 0.25  # third row of cells, sixth column
    for bad, message in ((torch.full_like(regions, 19), "label 19"), (regions[:, :40], "multiples of 32")):
        with pytest.raises(ValueError, match=message):
            class_shares(bad, TINY)


def test_sinusoids_are_flux_timesteps() -> None:
    from diffusers.models.embeddings import Timesteps

    t = torch.tensor([0.0, 0.123, 1.0])
    assert torch.allclose(
        timestep_embedding(t), Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(1000 * t), atol=1e-4
    )


def test_rotations_are_relative() -> None:
    freqs = grid_rotations(4, 5, (4, 6, 6), 10_000.0)
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(16, generator=g), torch.randn(16, generator=g)

    def logit(one: tuple[int, int], other: tuple[int, int]) -> torch.Tensor:
        rows = [r * 5 + c for r, c in (one, other)]
        pair = rotate(torch.stack([q, k])[None], freqs[rows])[0]
        return pair[0] @ pair[1]

    assert torch.allclose(logit((0, 0), (1, 3)), logit((2, 1), (3, 4)), atol=1e-5)
    assert not torch.allclose(logit((0, 0), (1, 3)), logit((0, 0), (3, 1)), atol=1e-2)  # rows are not columns
    assert torch.allclose(rotate(q[None, None], freqs[7:8]).norm(), q.norm())


def test_padding_is_not_read_and_the_empty_prompt_is_one_thing() -> None:
    model = kind("lora")
    given = inputs(model)
    keep = torch.tensor([[True, True, False, False, False]] * 2)
    prompt = Prompt(given["prompt"].tokens, given["prompt"].pooled, keep)
    junk = Prompt(torch.where(keep[..., None], prompt.tokens, 9.0), prompt.pooled, keep)
    rest = {"latents": given["latents"], "t": given["t"]}
    assert torch.equal(model(prompt=prompt, **rest), model(prompt=junk, **rest))
    empty = model(prompt=prompt.empty(), **rest)
    assert torch.equal(empty, model(prompt=inputs(model, seed=9)["prompt"].empty(), **rest))
    assert not torch.allclose(empty, model(prompt=prompt, **rest), atol=1e-3)
    dropped = prompt.without(torch.tensor([True, False]))
    assert torch.allclose(model(prompt=dropped, **rest)[0], empty[0], atol=1e-5)


def test_guidance_is_taken_where_it_is_an_input_and_only_there() -> None:
    for name in ("lora", "full"):
        model = kind(name)
        given = inputs(model)
        wrong = (
            {k: v for k, v in given.items() if k != "guidance"} if name == "full" else {**given, "guidance": given["t"]}
        )
        with pytest.raises(ValueError, match="guidance"):
            model(**wrong)


def test_a_fresh_model_answers_zero_and_is_reproducible() -> None:
    config = replace(TINY, mask_rank=2)
    one = MDiT(config).initialise(torch.Generator().manual_seed(3))
    other = MDiT(config).initialise(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))
    assert all(torch.isfinite(p).all() for p in one.parameters())
    assert (one(**inputs(one)) == 0).all()


def test_nano_fits_its_budget() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in MDiT(preset("nano")).parameters())
    assert 2 * count <= 40e6


@pytest.mark.parametrize("name", PRESETS)
def test_configurations_survive_json(name: str) -> None:
    assert MDiTConfig.from_dict(preset(name).to_dict()) == preset(name)


@pytest.mark.parametrize(
    "field, value",
    [
        ("heads", 5), ("width", 0), ("rope_axes", (4, 6, 8)), ("rope_axes", (5, 5, 6)), ("mask_weights", "none"),
        ("gelu", "relu"), ("positions", (8,)),
        ("mask_embedding", "clip"), ("mask_cell", 3), ("mask_cell", 24), ("modulation_rank", -1), ("mask_rank", -1),
    ],
)  # fmt: skip
def test_bad_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field if field != "heads" else "width"):
        replace(TINY, **{field: value})


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(ValueError, match="depth"):
        MDiTConfig.from_dict({"depth": 3})
    with pytest.raises(ValueError, match="flux-schnell"):
        preset("huge")


def test_mask_tokens_stand_where_image_tokens_stand() -> None:
    """A map of one region has equal tokens; their keys differ by the image grid's rotations, and by nothing else."""
    model = kind("lora")
    regions = torch.full((1, 128, 128), 13, dtype=torch.uint8)
    keys = encode_mask(model, regions).features.keys
    freqs = grid_rotations(4, 4, TINY.rope_axes, TINY.rope_theta)
    for k in keys:
        still = rotate(k.transpose(1, 2).contiguous(), freqs.conj().resolve_conj())  # turned back: (B, M, H, E)
        assert torch.allclose(still, still[:, :1].expand_as(still), atol=1e-5)
        assert not torch.allclose(k, k[:, :, :1].expand_as(k), atol=1e-2)

"""Factors and tokens: pooled per region, picked per factor, the same alone and in a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from facex.tiny import CONTROL, randomise
from limner.faces.geometry import warp
from limner.faces.image_tensors import to_model
from limner.faces.iresnet import IResNet
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.models.facex.assemble import NOWHERE, RepresentationAssembler, choice_of
from limner.models.facex.config import ControlConfig
from limner.models.facex.decompose import Factors, pool_regions, shrink_groups
from limner.models.facex.encoders import CLIP_NORM, TransformerLevels
from limner.models.facex.engine import FaceX
from limner.models.facex.masks import GROUPS
from limner.models.facex.plan import FACTORS, EditPlan
from limner.models.facex.portrait import portrait_of
from limner.models.facex.reference import (
    Reference,
    assemble_reference,
    grey_head,
    mask_cells,
    put_hole_fill,
    repaint_mask,
    with_hole,
)


def drawn(rows: int, seed: int, config: ControlConfig) -> Factors:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=g)

    groups = torch.randint(0, 12, (rows, 64, 64), generator=g).to(torch.uint8)
    levels = tuple(draw(12, c) for c in config.level_widths)
    identity = draw(config.identity_tokens, config.identity_width)
    return Factors(identity, levels, groups, draw(config.expression), draw(6), draw(2), draw(27))


@pytest.fixture(scope="module")
def config() -> ControlConfig:
    return ControlConfig(**CONTROL)


@pytest.fixture(scope="module")
def assembler(config: ControlConfig) -> RepresentationAssembler:
    made = RepresentationAssembler(config)
    randomise(made, 3)
    return made.requires_grad_(False)


def test_each_factor_comes_from_its_photo(config: ControlConfig, assembler: RepresentationAssembler) -> None:
    photos = [drawn(2, 1, config), drawn(2, 2, config)]
    plan = EditPlan.swap("her") + EditPlan.erase(["hat"])
    tokens = assembler(photos, choice_of(plan, {"photo": 0, "her": 1}).expand(2, -1))
    alone = [assembler.encode(photo) for photo in photos]
    for number, factor in enumerate(FACTORS):
        rows = assembler.factor_of == number
        if factor == "worn":
            expected = assembler.dropped[rows].expand(2, -1, -1)
        else:
            expected = alone[1 if factor in plan.factors else 0][:, rows]
        assert torch.equal(tokens[:, rows], expected), factor


def test_a_fitted_assembler_tells_people_apart(config: ControlConfig) -> None:
    """What all faces have in common hides identity and textures, until the ways in are fitted to them."""
    faces = drawn(200, 1, config)
    levels = tuple(level * 0.05 + 3 for level in faces.levels)
    shared = replace(faces, identity=faces.identity * 0.05 + 3, levels=levels)
    torch.manual_seed(0)
    made = RepresentationAssembler(config)
    before = made.encode(shared).std(0).mean(-1)  # (N,)
    made.fit(shared)
    after = made.encode(shared).std(0).mean(-1)
    for number, factor in enumerate(FACTORS):
        ratio = after[made.factor_of == number] / before[made.factor_of == number]
        fitted = factor == "identity" or factor in GROUPS
        assert bool((ratio > 2).all()) if fitted else torch.equal(ratio, torch.ones_like(ratio)), factor
    one_region = shared.map(lambda x: x.clone())
    one_region.groups.zero_()
    for level in one_region.levels:
        level[:, 1:] = torch.nan  # of regions that are not there, nothing is taken
    made.fit(one_region)
    assert all(bool(p.isfinite().all()) for p in made.parameters())


def test_rows_of_a_batch_do_not_see_each_other(config: ControlConfig, assembler: RepresentationAssembler) -> None:
    photos, choice = [drawn(3, 1, config), drawn(3, 2, config)], torch.randint(-1, 2, (3, len(FACTORS)))
    together = assembler(photos, choice)
    for row in range(3):
        single = assembler([photo.map(lambda x, r=row: x[r : r + 1]) for photo in photos], choice[row : row + 1])
        assert torch.allclose(together[row], single[0], atol=1e-5)
    everything = assembler(photos, torch.full((3, len(FACTORS)), NOWHERE))
    assert torch.equal(everything, assembler.none(3))


def test_an_absent_region_has_its_own_token(config: ControlConfig, assembler: RepresentationAssembler) -> None:
    factors = drawn(1, 1, config)
    hat = list(GROUPS).index("worn")
    bare = factors.groups.clone()
    bare[bare == hat] = 0
    without = Factors(**{**vars(factors), "groups": bare})
    other = Factors(**{**vars(without), "levels": tuple(level * 2 for level in factors.levels)})
    rows = assembler.factor_of == FACTORS.index("worn")
    assert torch.equal(assembler.encode(without)[:, rows], assembler.encode(other)[:, rows])
    assert not torch.equal(assembler.encode(without)[:, rows], assembler.encode(factors)[:, rows])


def test_without_the_representation_assembler_there_is_one_texture(config: ControlConfig) -> None:
    plain = RepresentationAssembler(config.replaced(representation_assembler=False)).requires_grad_(False)
    tokens = plain.encode(drawn(1, 1, config))
    first, *others = [tokens[:, plain.factor_of == FACTORS.index(name)] for name in GROUPS]
    assert all(torch.allclose(first, other, atol=1e-5) for other in others)
    halves = drawn(2, 0, config).map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    assert plain.bfloat16().encode(halves).dtype == torch.bfloat16, "editors are loaded in 16 bits"


def test_pooling_is_the_mean_over_a_region() -> None:
    groups = torch.zeros(1, 64, 64, dtype=torch.uint8)
    groups[:, :, 32:] = 5
    level = torch.cat([torch.full((1, 2, 8, 4), 1.0), torch.full((1, 2, 8, 4), 3.0)], 3)
    pooled = pool_regions(level, groups)
    assert torch.allclose(pooled[0, 0], torch.tensor([1.0, 1.0])) and torch.allclose(
        pooled[0, 5], torch.tensor([3.0, 3.0])
    )
    assert not pooled[0, 1].any()
    big = groups.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.equal(shrink_groups(big), groups)


def test_vision_transformers_give_levels_that_are_pooled_after_the_adapter(config: ControlConfig) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes, num_hidden_layers=3))
    encoder = TransformerLevels(tower, CLIP_NORM)
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    maps = encoder.encode(pictures)
    assert [tuple(level.shape) for level in maps] == [(2, 16, 4, 4)] * 3 and not maps[0].requires_grad
    assert TransformerLevels(tower.requires_grad_(True), CLIP_NORM, trained=True).encode(pictures)[0].requires_grad
    fields = {"region_encoder": "clip", "level_widths": (16, 16, 16), "adapter_width": 8}
    assembler = RepresentationAssembler(config.replaced(**fields))
    factors = drawn(2, 1, config)
    tokens = assembler.encode(Factors(**{**vars(factors), "levels": maps}))
    assert tokens.shape == (2, assembler.tokens, 16)
    assert assembler.adapter is not None and [level.shape[2] for level in assembler.adapter(maps)] == [16, 8, 4]


def test_arcface_is_its_published_size() -> None:
    with torch.device("meta"):
        network = IResNet("iresnet100")
    assert sum(p.numel() for p in network.parameters()) == 65_156_160
    small = IResNet("iresnet18").eval()
    with torch.no_grad():
        last, vector = small.map_and_vector(torch.zeros(1, 3, 256, 256))
    assert last.shape == (1, 512, 7, 7) and vector.shape == (1, 512)


def test_decomposing_one_face_and_several_is_the_same(editor: FaceX, photo: np.ndarray, face: Face) -> None:
    portrait = portrait_of(photo, face, 64, editor.reader.topology)
    other = portrait_of(np.ascontiguousarray(photo[:, :, ::-1]), face, 64, editor.reader.topology)
    together = editor.components.decomposer.decompose([portrait, other])
    alone = editor.components.decomposer.decompose([other])
    for name in ("identity", "groups", "expression", "pose", "gaze", "light"):
        assert torch.allclose(getattr(together, name)[1:].float(), getattr(alone, name).float(), atol=1e-4), name
    assert all(torch.allclose(a[1:], b, atol=1e-4) for a, b in zip(together.levels, alone.levels))
    assert not torch.allclose(together.levels[0][0], together.levels[0][1])


def test_the_reference_shows_nothing_of_what_is_painted(photo: np.ndarray, face: Face, reader: FaceReader) -> None:
    portrait = portrait_of(photo, face, 64, reader.topology)
    plan = EditPlan.swap("her", head=True)
    mask = repaint_mask(plan, {"photo": portrait, "her": portrait})
    painted = np.array(portrait.picture)
    painted[mask] = np.random.default_rng(0).integers(0, 256, (mask.sum(), 3))
    assert np.array_equal(with_hole(painted, mask), with_hole(portrait.picture, mask))
    assert mask[np.isin(portrait.regions, (1, 2, 13))].all() and not mask.all()
    grey = grey_head(portrait.picture, portrait.regions)
    assert (grey[..., 0] == grey[..., 2]).all() and (grey[portrait.regions == 0] == 127).all()
    cells = mask_cells(mask[None], 16)
    mixed = put_hole_fill(torch.zeros(1, 4, 4, 4), cells, torch.ones(1, 4, 4, 4))
    assert torch.equal(mixed[:, :1], cells)


def test_drafts_stand_in_the_hole_and_nowhere_else(photo: np.ndarray, face: Face, editor: FaceX) -> None:
    codec = editor.components.base.codec
    portrait = portrait_of(photo, face, 64, editor.reader.topology)
    other = portrait_of(np.ascontiguousarray(photo[:, :, ::-1]), face, 64, editor.reader.topology)
    portraits = {"photo": portrait, "her": other}

    def reference(plan: EditPlan, hole_fill: bool) -> Reference:
        return assemble_reference(plan, portraits, repaint_mask(plan, portraits), codec, hole_fill)

    def encoded(picture: np.ndarray) -> torch.Tensor:
        return codec.encode(to_model(picture[None]))

    shown = {
        "person": (EditPlan.reenact("her"), encoded(portrait.picture)),
        "face": (EditPlan.swap("her"), encoded(grey_head(other.picture, other.regions))),
        "lips": (EditPlan.regions("her", ["lips"]), encoded(other.picture)),
    }
    for plan, fill in shown.values():
        plain, drafted = reference(plan, False), reference(plan, True)
        hole = plain.mask.expand_as(fill) > 0
        assert torch.equal(drafted.mask, plain.mask) and hole.any()
        assert torch.equal(drafted.latents[hole], fill[hole]) and not torch.equal(plain.latents[hole], fill[hole])
        assert torch.equal(drafted.latents[~hole], plain.latents[~hole])
    head = EditPlan.swap("her", head=True)
    assert torch.equal(reference(head, False).latents, reference(head, True).latents)  # published, in every controller
    shaped = reference(EditPlan(structure="her", repaint=("lips",)), False)
    hole = shaped.mask.expand_as(shaped.latents) > 0
    assert torch.equal(shaped.latents[hole], shown["face"][1][hole])  # structure alone is enough
    both = reference(EditPlan.reenact("her") + EditPlan.regions("her", ["lips"]), True)
    lips = reference(EditPlan.regions("her", ["lips"]), True).mask.expand_as(both.latents) > 0
    assert torch.equal(both.latents[lips], shown["lips"][1][lips])  # and the person's around them
    assert torch.equal(both.latents[~lips & (both.mask > 0)], shown["person"][1][~lips & (both.mask > 0)])


def test_glasses_that_are_added_are_painted_where_the_other_has_them(
    photo: np.ndarray, face: Face, reader: FaceReader
) -> None:
    portrait = portrait_of(photo, face, 64, reader.topology)
    worn = np.array(portrait.regions)
    worn[26:32, 18:46] = 3
    other = type(portrait)(**{**vars(portrait), "regions": worn})
    plan = EditPlan.regions("him", ["glasses"]).model_copy(update={"dilation": 0.0})
    assert np.array_equal(repaint_mask(plan, {"photo": portrait, "him": other}), (worn == 3) | (portrait.regions == 3))
    assert warp(worn, np.eye(2, 3), 64, nearest=True).shape == (64, 64)

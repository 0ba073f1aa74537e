"""Preparing a set and training on it: exact rows, positions as functions of the step, a loss that falls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.prepared_set import PreparedSet
from limner.data.preparing import Portion
from limner.data.tensor_shards import INDEX
from limner.errors import InputError
from limner.faces.regions import flip
from limner.models.mditface.prepare import Face, Makers, prepare
from limner.models.mditface.task import MDiTFaceTask
from limner.models.mditface.transformer import MDiT
from limner.weights.tensors import load_into, load_tensors, save_tensors
from limner.words.encoder import TextFeatures
from limner.words.mirror import mirror_words
from mditface.tiny import TINY

SIZE = 64  # pixels, 4 x 4 latents, 2 x 2 tokens


class Blocks:
    """A stand-in codec that is exact: block means of four colour channels, linear both ways."""

    channels, factor = 4, 16

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.avg_pool2d(pictures, 16)
        return torch.cat([means, means.mean(1, keepdim=True)], dim=1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=16.0).clamp(-1, 1)


class Letters:
    """A text encoder that is a table: token i of a text is its i-th letter, one-hot among twelve."""

    width = 12

    def encode(self, texts, length: int | None = None) -> TextFeatures:
        tokens, mask = torch.zeros(len(texts), length or 5, 12), torch.zeros(len(texts), length or 5, dtype=torch.bool)
        for row, text in enumerate(texts):
            for place, letter in enumerate(text[: length or 5]):
                tokens[row, place, ord(letter) % 12], mask[row, place] = 1, True
        return TextFeatures(tokens, mask, tokens.mean(1))


def faces(count: int = 6) -> Iterator[Face]:
    for i in range(count):
        random = np.random.default_rng(i)
        picture = random.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        regions = random.integers(0, 19, (8, 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        yield Face(picture, regions, (f"{i} left", f"{i} man"), validation=i == 4)


def cut(count: int = 6, size: int = 2) -> list[Portion[Face]]:
    """The faces, a few a shard."""
    given = list(faces(count))
    return [Portion(lambda k=k: given[k : k + size], k, {"of": k}) for k in range(0, count, size)]


MAKERS = Makers(Blocks(), Letters(), text_length=5, captions=3, palette=True)
FACTS = {"codec": "none", "encoder": "letters"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(cut(), tmp_path, MAKERS, FACTS)
    return tmp_path


def task(folder: Path, **settings) -> MDiTFaceTask:
    model = {key: getattr(TINY, key) for key in TINY.to_dict()} | {"text_pooled": 12, **settings.pop("model", {})}
    return MDiTFaceTask({"data": str(folder), "model": model, **settings}, batch_size=4, seed=3)


def test_rows_of_a_prepared_set(folder: Path) -> None:
    data = PreparedSet.open(folder)
    assert data.header["rows"] == 11 and data.rows(validation=True).tolist() == [8]  # five mirrored, one not
    given = list(faces())
    batch = data.batch(np.array([3, 8, 2]), np.array([0, 1, 2]))
    mirrored = given[1].mirrored()
    assert torch.equal(batch["regions"][0], torch.from_numpy(flip(given[1].regions)))
    assert torch.equal(batch["regions"][2], torch.from_numpy(given[1].regions))
    picture = torch.from_numpy(mirrored.picture.copy()).permute(2, 0, 1).float()[None] / 127.5 - 1
    assert torch.allclose(batch["latents"][:1], Blocks().encode(picture), atol=1e-3)
    assert batch["palette"].shape == batch["latents"].shape
    words = Letters().encode(["1 right"[:5], "4 man", "1 left"[:5]], 5)
    assert torch.equal(batch["tokens"], words.tokens) and torch.equal(batch["keep"], words.mask)
    assert torch.equal(batch["pooled"], words.pooled)


def test_mirrored_words_and_regions_mirror_back() -> None:
    text = "Her Left brow is raised, light from the right; leftover rights"
    assert mirror_words(text) == "Her Right brow is raised, light from the left; leftover rights"
    assert mirror_words(mirror_words(text)) == text
    face = next(faces())
    assert np.array_equal(face.mirrored().mirrored().regions, face.regions)


def test_an_unfinished_or_empty_set_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "prepared.json").unlink()
    with pytest.raises(InputError, match="not a prepared set"):
        PreparedSet.open(folder)
    with pytest.raises(InputError, match="no faces"):
        prepare([], tmp_path / "x", MAKERS, FACTS)
    (folder / "prepared.json").write_text('{"rows": 3, "palette": false}')  # a folder of the first format
    with pytest.raises(InputError, match="another version"):
        PreparedSet.open(folder)


def test_batches_are_a_function_of_the_step_and_an_epoch_visits_every_face_once(folder: Path) -> None:
    one, other = task(folder), task(folder)
    for step in (0, 7, 3):
        a, b = one.batch(step), other.batch(step)
        assert all(torch.equal(a[key], b[key]) for key in a)
    seen = torch.cat([one.batch(step)["latents"] for step in range(5)])  # two epochs of ten faces
    for epoch in (seen[:10], seen[10:]):
        assert len({row.numpy().tobytes() for row in epoch}) == 10
    assert not torch.equal(seen[:10], seen[10:])


def test_conditions_are_dropped_in_their_shares(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import limner.models.mditface.task as module

    kept = []

    def record(model, batch, times, noise, words, mask, empty):
        kept.append((words, mask))
        return torch.zeros(len(times))

    monkeypatch.setattr(module, "flow_loss", record)
    t = task(folder, drop_text=0.2, drop_mask=0.3, drop_both=0.1)
    batch = {key: value[:1].expand(4000, *value.shape[1:]) for key, value in t.batch(0).items()}
    t.loss(t.build(), batch, torch.Generator().manual_seed(0), 0)
    words, mask = kept[0]
    shares = [
        (a & b).float().mean().item() for a, b in ((words, mask), (~words, mask), (words, ~mask), (~words, ~mask))
    ]
    assert shares == pytest.approx([0.4, 0.2, 0.3, 0.1], abs=0.03)


@pytest.mark.parametrize("embedding", ["labels", "palette"])
def test_loss_falls_on_a_few_faces_and_every_parameter_learns(folder: Path, embedding: str) -> None:
    t = task(folder, model={"mask_embedding": embedding}, drop_text=0.2, drop_mask=0.2, drop_both=0.1)
    model = t.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for step in range(140):
        generator = torch.Generator().manual_seed(step)
        loss, _ = t.loss(model, t.batch(step), generator, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-30:]) < 0.65 * np.mean(losses[:10])
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("kept", [[True, False, True, False], [False] * 4, [True] * 4])
def test_sharing_the_null_mask_changes_no_loss(folder: Path, kept: list[bool]) -> None:
    from limner.models.mditface.embedding import Prompt
    from limner.models.mditface.flow import interpolate
    from limner.models.mditface.task import flow_loss
    from mditface.tiny import random_model

    t = task(folder)
    model, batch = random_model(t.config), t.batch(0)
    times, noise, mask = torch.rand(4), torch.randn_like(batch["latents"]), torch.tensor(kept)
    features = model.static_path(model.embed_mask(batch["regions"], mask), (2, 2))
    prompt = Prompt(batch["tokens"], batch["pooled"], batch["keep"])
    velocity = model(interpolate(batch["latents"], noise, times), times, prompt, features)
    expected = (velocity - (noise - batch["latents"])).square().mean((1, 2, 3))
    assert torch.allclose(flow_loss(model, batch, times, noise, torch.ones(4).bool(), mask), expected, rtol=1e-4)


def test_validation_samples_and_export(folder: Path, tmp_path: Path) -> None:
    t = task(folder, sample_steps=2)
    t.codec = Blocks()  # type: ignore[assignment]
    model = t.build()
    first = t.validate(model)
    assert set(first) == {"both.loss", "mask.loss", "text.loss"} and first == t.validate(model)
    sheet = t.samples(model)
    assert sheet is not None and sheet.shape == (5 * SIZE, SIZE, 3) and sheet.dtype == np.uint8
    t.export(model, tmp_path / "w.safetensors", {"step": "1"})
    again = MDiT(t.config)
    header = load_into(again, tmp_path / "w.safetensors")
    assert header["step"] == "1" and header["model"] == t.config.to_dict()
    for one, other in zip(again.parameters(), model.parameters()):
        assert torch.allclose(one, other, atol=1e-3)


def test_faces_come_from_built_sets_with_their_split(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from limner.data.preparing import portions
    from limner.faces.picture import encode_png
    from limner.models.mditface.prepare import read_faces

    given = list(faces())
    (tmp_path / "data").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    for split, chosen in (("train", given[:2]), ("validation", given[2:3]), ("test", given[3:])):
        rows = [
            {
                "image": {"bytes": encode_png(face.picture), "path": None},
                "regions": {"bytes": encode_png(face.regions), "path": None},
                "prompts": list(face.captions),
                "id": f"face {len(face.captions[0])}",
                "attributes": [
                    {"name": "glasses", "value": "true", "confidence": 0.9, "by": "a test"},
                    {"name": "nose_width", "value": "wide", "confidence": 0.9, "by": "a test"},
                    {"name": "hair_colour", "value": "red", "confidence": 0.1, "by": "a test"},
                ],
            }
            for face in chosen
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{split}-000.parquet")
    parts = portions([tmp_path], partial(read_faces, size=SIZE), size=1)
    assert [part.first for part in parts] == [0, 1, 2]
    found = [face for part in parts for face in part.load()]
    assert [face.validation for face in found] == [False, False, True]  # test faces are never trained on
    for one, other in zip(found, given):
        assert np.array_equal(one.picture, other.picture) and np.array_equal(one.regions, other.regions)
        assert one.captions == other.captions
    assert all(face.facts == {"glasses": True} for face in found)  # sure and salient
    new = read_faces(tmp_path / "data" / "train-000.parquet", "train", 0, 2, prompts=3, keep=0.0, size=SIZE)
    for face, plain in zip(new, found):
        assert face.captions[3:] == plain.captions
        assert not any("nose" in caption for caption in face.captions[:3])
        assert any("glasses" in caption or "spectacles" in caption for caption in face.captions[:3])


def test_rare_faces_are_drawn_more_often(folder: Path) -> None:
    index = load_tensors(folder / INDEX)[0]
    index["weights"][:] = 1
    index["weights"][2] = 4
    save_tensors(folder / INDEX, index, {})
    third = PreparedSet.open(folder).stored.column("latents")[2].float()
    rare = task(folder, rarity_sampling=True)
    drawn = [latents for step in range(200) for latents in rare.batch(step)["latents"]]
    share = np.mean([torch.equal(one, third) for one in drawn])
    expected = 4 / (len(rare.train) + 3)
    assert abs(share - expected) < 0.06
    assert all(torch.equal(rare.batch(3)[name], value) for name, value in rare.batch(3).items())

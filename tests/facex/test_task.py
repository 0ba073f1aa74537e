"""Preparing pairs and training on them: exact rows, the curriculum, dropped conditions, a loss that falls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from facex.tiny import CONTROL, write_editor, write_nano_base
from limner.cli.train import make_task
from limner.codecs.continuous import KLCodec
from limner.data.prepared_set import PreparedSet
from limner.data.preparing import Portion
from limner.data.shards import FIELDS, write_shard
from limner.errors import InputError
from limner.faces.data_folders import data_root
from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.geometry import transform_points, warp
from limner.faces.picture import encode_png
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.assemble import NOWHERE, TEXTURES
from limner.models.facex.base import load_base
from limner.models.facex.config import ControlConfig
from limner.models.facex.control import Controller, load_controller
from limner.models.facex.encoders import load_decomposer
from limner.models.facex.loading import Strength, load_components, strength_of
from limner.models.facex.motion import Motion
from limner.models.facex.pairs import SOURCE, TARGET, TASKS, PreparedPairSet, unpack_factors
from limner.models.facex.plan import FACTORS
from limner.models.facex.portrait import Portrait, portrait_of
from limner.models.facex.prepare import Row, prepare, read_rows
from limner.models.facex.task import FaceXTask
from limner.models.mditface.prepare import Face as TrainingFace
from limner.models.mditface.prepare import Makers
from limner.models.mditface.prepare import prepare as prepare_faces
from limner.training.config import TrainingConfig
from limner.training.loop import train
from limner.weights.tensors import load_sharded, load_tensors, save_tensors
from limner.words.encoder import MiniLM

SIZE = 64


def face_map() -> np.ndarray:
    regions = np.zeros((SIZE, SIZE), np.uint8)
    regions[6:58, 10:54], regions[14:50, 16:48] = Region.HAIR, Region.SKIN
    regions[22:26, 20:28], regions[22:26, 36:44] = Region.RIGHT_EYE, Region.LEFT_EYE
    regions[28:34, 29:35], regions[40:44, 26:38] = Region.NOSE, Region.UPPER_LIP
    return regions


def rows(persons: int = 5, variants: int = 2) -> Iterator[Row]:
    """People of one colour each, each variant with another motion."""
    for person in range(persons):
        random = np.random.default_rng(person)
        colours = random.integers(0, 256, (19, 3))
        for variant in range(variants):
            noise = np.random.default_rng([person, variant])
            motion = Motion(
                noise.random(len(EXPRESSION_NAMES)).astype(np.float32),
                noise.normal(size=6).astype(np.float32) * 5 + [0, 0, 0, 128, 112, 14],
                noise.normal(size=2).astype(np.float32),
            )
            regions = np.roll(face_map(), 3 * variant, 1)
            picture = colours[regions].astype(np.uint8)
            light = noise.normal(size=27).astype(np.float32)
            yield Row(Portrait(picture, regions, motion, light, np.eye(2, 3)), f"p{person}", person == 4)


def cut(given: list, size: int) -> list[Portion]:
    """A few a shard."""
    return [Portion(lambda k=k: given[k : k + size], k, {"of": k}) for k in range(0, len(given), size)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LIMNER_DATA: a base and prepared pairs."""
    root = tmp_path_factory.mktemp("data")
    base = write_nano_base(root / "base")
    codec = KLCodec.load(base / "codec")
    facts = {"codec": str(base / "codec"), "size": SIZE, "region_encoder": "codec", "identity_encoder": "face-identity"}
    config = ControlConfig(**{**CONTROL, "region_encoder": "codec", "level_widths": (4,)})
    prepare(cut(list(rows()), 3), root / "pairs", codec, load_decomposer(config, codec), facts, batch=4)
    return root


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedPairSet:
    monkeypatch.setenv("LIMNER_DATA", str(folder))
    return PreparedPairSet.open(folder / "pairs")


def column(data: PreparedPairSet, name: str) -> np.ndarray:
    return data.stored.column(name).numpy()


def task(**settings) -> FaceXTask:
    quiet = {"identity_weight": 0.0, "lpips_weight": 0.0, "head_steps": 2, "model": {"width": 16}}
    made = make_task({"kind": "facex", "data": "pairs", "base": "base", **quiet, **settings}, 4, 3)
    assert isinstance(made, FaceXTask)
    return made


def test_rows_of_a_prepared_set(data: PreparedPairSet) -> None:
    given = list(rows())
    assert data.header["rows"] == 10 and data.rows(validation=True).tolist() == [8, 9]
    partners = data.partners(np.arange(10), np.full(10, 0.5))
    assert partners.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
    codec = KLCodec.load(data.header["codec"])
    picture = torch.from_numpy(given[5].portrait.picture.copy()).permute(2, 0, 1).float()[None] / 127.5 - 1
    batch = data.batch(np.array([4]), np.array([5]), np.array([TASKS.index("head")]))
    assert torch.allclose(batch["latents"], codec.encode(picture), atol=1e-2)
    hole = batch["mask"] > 0
    assert torch.equal(batch["reference"] * hole, data.take("structure", np.array([4])) * hole)
    pose = torch.from_numpy(given[4].portrait.motion.normalised()[1])
    assert torch.equal(unpack_factors("source", batch).pose[0], pose)


def test_holes_show_the_source_where_they_should(data: PreparedPairSet) -> None:
    sources, targets, tasks = np.full(10, 4), np.full(10, 5), np.tile(np.arange(5), 2)
    batch = data.batch(sources, targets, tasks, np.repeat([True, False], 5))
    masks, plain = column(data, "masks")[5][:, None], column(data, "reference")[5]
    structure, latents = column(data, "structure")[4][None], column(data, "latents")[4][None]
    drafts = {"head": structure, "face": structure, "person": latents, "part": latents, "hole": plain[-1:]}
    for row, task_name in enumerate(TASKS * 2):
        draft = drafts[task_name] if row < 5 or task_name == "head" else plain[tasks[row]][None]
        expected = np.where(masks[tasks[row]][None], draft, plain[tasks[row]])[0].astype(np.float32)
        assert np.array_equal(batch["reference"][row].numpy(), expected), (row, task_name)
    without = data.batch(sources[:5], targets[:5], tasks[:5])
    assert torch.equal(without["reference"], batch["reference"][5:])


def test_a_share_of_drafts_is_left_out(data: PreparedPairSet) -> None:
    chance = np.array([0.0, 0.1, 0.3, 1.0])
    assert task(model={"width": 16, "hole_fill": True}, drop_hole_fill=0.2).hole_fill(chance).tolist() == [0, 0, 1, 1]
    assert not task().hole_fill(chance).any()


def test_rows_of_a_shard_become_portraits(tmp_path: Path, photo: np.ndarray, face: Face, reader: FaceReader) -> None:
    """As `limner data build` writes them, and the same motion as of the face itself."""
    picture, regions = warp(photo, face.crop, 256), warp(face.regions, face.crop, 256, nearest=True, border=0)
    mesh = transform_points(face.landmarks, face.crop)
    about = {"expression": face.expression, "gaze": face.gaze, "light": face.light, "landmarks": mesh.ravel()}
    stored = {"image": {"bytes": encode_png(picture), "path": None}, "regions": {"bytes": encode_png(regions)}}
    row = {**dict.fromkeys(name for name, _ in FIELDS), **about, **stored, "person": "her", "split": "train"}
    write_shard(tmp_path / "data" / "train-00000.parquet", [row], {})
    (tmp_path / "manifest.json").write_text("{}")
    (found,) = read_rows(tmp_path / "data" / "train-00000.parquet", "train", 0, 1, 64)
    expected = portrait_of(photo, face, 64, reader.topology)
    assert found.person == "her" and not found.validation and found.portrait.picture.shape == (64, 64, 3)
    for one, other in zip(found.portrait.motion.normalised(), expected.motion.normalised()):
        assert np.allclose(one, other, atol=1e-3)
    assert (found.portrait.regions == expected.regions).mean() > 0.97


def test_choices_of_the_tasks(data: PreparedPairSet) -> None:
    for task_name, from_source in (("head", {"identity", "hair", "ears"}), ("person", {"cloth", "neck", "hair"})):
        batch = data.batch(np.array([0]), np.array([1]), np.array([TASKS.index(task_name)]))
        choice = dict(zip(FACTORS, batch["choice"][0].tolist()))
        assert {choice[name] for name in from_source} == {SOURCE}
        assert {choice[name] for name in ("expression", "pose", "gaze", "light", "background")} == {TARGET}
    part = data.batch(np.array([0]), np.array([1]), np.array([TASKS.index("part")]))["choice"][0]
    assert 1 <= (part == SOURCE).sum() <= 2 and part[0] == TARGET
    hole = data.batch(np.array([0]), np.array([1]), np.array([TASKS.index("hole")]))["choice"][0]
    hidden = data.stored.column("hidden")[1]
    assert torch.equal(hole[list(TEXTURES)] == NOWHERE, hidden)


def test_holes_hide_what_the_tasks_paint(data: PreparedPairSet) -> None:
    masks = column(data, "masks")  # (N, K, 4, 4)
    head, face, person = (masks[:, TASKS.index(name)] for name in ("head", "face", "person"))
    assert (face.sum((1, 2)) <= head.sum((1, 2))).all() and (head | person).any()
    reference = column(data, "reference").astype(np.float32)
    assert not np.allclose(reference[:, 0], column(data, "latents").astype(np.float32), atol=0.05)


def write_faces(folder: Path, out: Path, length: int, style: str | None = None) -> None:
    """A prepared set of faces with words, on the codec and text encoder of the base in a folder."""
    codec = KLCodec.load(folder / "base" / "codec")
    words = ("a face", "a man")
    faces = [TrainingFace(row.portrait.picture, row.portrait.regions, words, row.person == "p3") for row in rows(4)]
    facts = {"codec": str(folder / "base" / "codec"), "encoder": "minilm"}
    makers = Makers(codec, MiniLM.load(), text_length=length, captions=2, mirror=False, style=style)
    prepare_faces(cut(faces, 3), out, makers, facts)


def test_an_unfinished_set_and_single_people_are_refused(folder: Path, tmp_path: Path, data: PreparedPairSet) -> None:
    with pytest.raises(InputError, match="not a prepared set of pairs"):
        PreparedPairSet.open(tmp_path)
    codec = KLCodec.load(data.header["codec"])
    config = ControlConfig(**{**CONTROL, "region_encoder": "codec", "level_widths": (4,)})
    with pytest.raises(InputError, match="no person has two faces"):
        single = list(rows(3, 1))
        prepare(cut(single, 2), tmp_path / "single", codec, load_decomposer(config, codec), {})
    with pytest.raises(InputError, match=r"task\.task_shares"):
        task(task_shares={"heads": 1.0})


def test_a_batch_is_a_function_of_the_step_and_heads_come_first(data: PreparedPairSet) -> None:
    one, two = task(task_shares={"hole": 1.0}), task(task_shares={"hole": 1.0})
    for step in (0, 5):
        a, b = one.batch(step), two.batch(step)
        assert all(torch.equal(a[key], b[key]) for key in a)
    random = np.random.default_rng(0)
    assert set(one.draw_tasks(1, random)) == {TASKS.index("head")}
    assert set(one.draw_tasks(2, random)) == {TASKS.index("hole")}


def test_conditions_are_dropped_in_their_shares(data: PreparedPairSet) -> None:
    made = task(drop_all=0.25, drop_textures=0.5)
    choice = torch.zeros(4, len(FACTORS), dtype=torch.long)
    dropped = made.dropped(choice, torch.tensor([0.1, 0.3, 0.7, 0.8]))
    assert (dropped[0] == NOWHERE).all() and (dropped[3] == 0).all()
    assert (dropped[1:3][:, list(TEXTURES)] == NOWHERE).all() and (dropped[1:3, 0] == 0).all()
    assert not choice.any()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze_unet": False},
        {"model": {"width": 16, "region_assembler": False}},
        {"model": {"width": 16, "representation_assembler": False}},
        {"model": {"width": 16, "time_factors": True}},
    ],
    ids=["plain", "unet", "no region assembler", "no representation assembler", "factors in the time embedding"],
)
def test_the_loss_falls(data: PreparedPairSet, settings: dict) -> None:
    """Overfitting a few pairs, in every ablation."""
    made = task(drop_all=0.0, drop_textures=0.0, **settings)
    torch.manual_seed(0)
    model = made.build()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(list(model.parameters()))
    assert isinstance(model, Controller) != ("freeze_unet" in settings)
    optimizer = torch.optim.AdamW(trained, 1e-2)
    batch, losses = made.batch(0), []
    for step in range(40):
        loss, _ = made.loss(model, batch, torch.Generator().manual_seed(step % 4), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])


def test_the_unet_goes_on_painting_from_words(data: PreparedPairSet, folder: Path) -> None:
    """The loss of faces with words comes on top of the pairs; it moves the UNet and leaves the controller alone."""
    write_faces(folder, data_root() / "faces", length=8)
    made = task(drop_all=0.0, freeze_unet=False, identity_weight=0.0, faces="faces", face_rows=3)
    model = made.build()
    assert isinstance(model, torch.nn.ModuleDict)
    batch = made.batch(0)
    assert len(batch["words.latents"]) == 3
    assert not torch.equal(batch["words.latents"], made.batch(1)["words.latents"])
    loss, parts = made.loss(model, batch, torch.Generator().manual_seed(0), 0)
    made.words = None
    alone, others = made.loss(model, batch, torch.Generator().manual_seed(0), 0)
    assert "words" not in others
    assert float(parts["words"]) > 0.01 and float(loss - alone) == pytest.approx(float(parts["words"]), abs=1e-5)
    (loss - alone).backward()
    moved = [p.grad is not None and bool(p.grad.abs().max() > 1e-6) for p in model["unet"].parameters()]
    assert np.mean(moved) > 0.8
    assert all(p.grad is None or bool(p.grad.abs().max() < 1e-6) for p in model["controller"].parameters())
    with pytest.raises(InputError, match="freeze_unet = true"):
        task(faces="faces")
    with pytest.raises(InputError, match="not a prepared set"):
        task(freeze_unet=False, faces="nowhere")


def test_latents_outside_the_hole_weigh_less(data: PreparedPairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for weight in (0.0, 0.5, 1.0):
        made = task(outside_weight=weight, identity_weight=0.0)
        model, batch = made.build(), made.batch(0)
        inside = batch["mask"].expand_as(batch["latents"])

        def wrong_outside(model, noisy, times, batch, choice, made=made, inside=inside):
            generator = torch.Generator().manual_seed(0)
            made.schedule.draw(len(noisy), generator)
            noise = torch.randn(noisy.shape, generator=generator)
            return made.schedule.target(batch["latents"], noise, times) + (1 - inside)

        monkeypatch.setattr(made, "_predict", wrong_outside)
        loss, _ = made.loss(model, batch, torch.Generator().manual_seed(0), 0)
        found[weight] = float(loss)
    outside = float((1 - inside).mean())
    expected = {w: w * outside / (1 - outside + w * outside) for w in found}
    assert found == pytest.approx(expected, abs=1e-5) and found[0.0] == 0


def test_losses_on_pictures_reach_the_controller(data: PreparedPairSet) -> None:
    made = task(identity_weight=1.0, image_loss_min_signal=0.01, image_loss_rows=1)
    model = made.build()
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            _, parts = made.loss(model, made.batch(0), torch.Generator().manual_seed(0), 0)
        assert 0 <= float(parts["identity"]) <= 2 and float(parts["diffusion"]) > 0


def test_a_controller_may_begin_at_work(data: PreparedPairSet) -> None:
    for gain in (0.0, 0.7):
        made = task(gamma_init=gain, freeze_unet=False)
        model = made.build()
        gains = [float(value) for name, value in model.named_parameters() if name.endswith("gain")]
        assert gains and gains == pytest.approx([gain] * len(gains))
        assert made.steered is not None and made.steered.controller.reference is not None
        assert bool(made.steered.controller.reference.weight.abs().sum() > 0) == (gain > 0)


def test_ways_in_may_begin_fitted_to_the_set(data: PreparedPairSet) -> None:
    made = task(fit_factors=True)
    model = made.build()
    assert isinstance(model, Controller)
    faces = data.factors(made.train)
    entered = model.assembler.identity[0](faces.identity)  # pyright: ignore[reportIndexIssue]
    assert torch.allclose(entered.mean((0, 1)), torch.zeros(entered.shape[-1]), atol=1e-2)
    shown = model.assembler.textures[0][0](faces.levels[0][faces.present])  # pyright: ignore[reportIndexIssue]
    assert torch.allclose(shown[:, :4].std(0, correction=0), torch.ones(4), atol=1e-2) and not shown[:, 4:].any()


def test_losses_on_pictures_now_and_then(data: PreparedPairSet) -> None:
    made = task(identity_weight=1.0, image_loss_min_signal=0.01, image_loss_rows=1, image_loss_every=3)
    model = made.build()
    steps = [made.loss(model, made.batch(0), torch.Generator().manual_seed(0), step)[1] for step in range(4)]
    assert ["identity" in parts for parts in steps] == [True, False, False, True]


@pytest.mark.parametrize("freeze_unet", [True, False])
def test_a_run_ends_in_weights_that_edit(
    data: PreparedPairSet, folder: Path, tmp_path: Path, freeze_unet: bool
) -> None:
    settings = {"freeze_unet": freeze_unet, "sample_faces": 1}
    made = task(**settings)
    about = {"steps": 2, "batch_size": 4, "precision": "fp32", "device": "cpu", "log_every": 1, "seed": 3, "threads": 1}
    run_config = TrainingConfig.model_validate({"name": "tiny", "task": made.settings.model_dump(), "train": about})
    train(made, run_config, tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    controller, header = load_controller(weights / "controller.safetensors")
    assert strength_of(header) == Strength(2.0, 2.0) and strength_of({}) == Strength(2.0, 0.0)
    assert header["base"] == "base" and controller.config.region_encoder == "codec"
    assert (weights / "base").exists() != freeze_unet
    cpu = torch.device("cpu")
    parts = load_components(weights, None, cpu, torch.float32)
    before = load_base(folder / "base", cpu, torch.float32).unet.state_dict()
    same = all(torch.equal(value, before[key]) for key, value in parts.steered.plain_state().items())
    assert same == freeze_unet
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_a_controller_goes_on_only_with_its_own_base(data: PreparedPairSet, folder: Path) -> None:
    """Its own is the base beside it, else the one whose hash its header has, else the one that it names."""
    for name in ("moved", "other"):
        shutil.copytree(data_root() / "base", data_root() / name)
    unet = data_root() / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    save_tensors(unet, {key: value + 1 for key, value in load_tensors(unet)[0].items()}, {})
    for name, freeze_unet in (("beside", False), ("hashed", True)):
        made = task(freeze_unet=freeze_unet)
        made.export(made.build(), data_root() / name / "weights.safetensors", {})
    alone, tensors = data_root() / "alone", load_tensors(data_root() / "hashed" / "weights" / "controller.safetensors")
    for name, facts in (("named", {"base": "base"}), ("foreign", {})):
        header = {key: value for key, value in tensors[1].items() if key not in ("unet", "base")}
        save_tensors(alone / f"{name}.safetensors", tensors[0], header | facts)
    task(base="beside/weights", init_from="beside/weights").build()
    for start in ("hashed/weights", "alone/named.safetensors", "alone/foreign.safetensors"):
        task(init_from=start).build()
    task(base="other", init_from="alone/foreign.safetensors").build()
    for start in ("hashed/weights", "beside/weights"):
        task(base="moved", init_from=start).build()  # the same weights under another name
    for start in ("beside/weights", "hashed/weights/controller.safetensors", "alone/named.safetensors"):
        with pytest.raises(InputError, match="another base than 'other'"):
            task(base="other", init_from=start).build()


def test_a_base_learns_and_is_written_as_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    write_faces(folder, tmp_path / "faces", length=8)
    assert PreparedSet.open(tmp_path / "faces").header["rows"] == 8
    settings = {
        "kind": "facex-base",
        "data": "faces",
        "widths": [8, 16],
        "heads": 2,
        "sample_faces": 1,
        "sample_steps": 1,
    }
    made = make_task(settings, 4, 0)
    torch.manual_seed(0)
    model = made.build()
    optimizer, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for step in range(40):
        loss, _ = made.loss(model, made.batch(0), torch.Generator().manual_seed(step % 4), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    figures = made.validate(model.eval())
    assert set(figures) == {"words.loss", "alone.loss"}
    made.export(model, tmp_path / "run" / "weights.safetensors", {"step": "40"})
    base = load_base(tmp_path / "run" / "weights", torch.device("cpu"), torch.float32)
    assert base.size == 64 and base.masked and base.schedule["prediction_type"] == "v_prediction"
    for name, value in base.unet.state_dict().items():
        assert torch.allclose(value, model.state_dict()[name].half().float()), name
    going_on = make_task({**settings, "init_from": "run/weights"}, 4, 0).build()
    assert all(p.requires_grad for p in going_on.parameters())


@pytest.mark.parametrize("start", ["base", "editor"])
def test_a_style_keeps_only_what_it_learned(data: PreparedPairSet, folder: Path, tmp_path: Path, start: str) -> None:
    """Part of a base, trained on faces drawn in pencil, is all that its file holds; the rest comes from its base."""
    write_faces(folder, data_root() / "drawn", length=8, style="pencil")
    write_faces(folder, data_root() / "plain", length=8)
    latents = [PreparedSet.open(data_root() / name).stored.column("latents").numpy() for name in ("drawn", "plain")]
    assert not np.allclose(latents[0], latents[1], atol=0.1)
    write_editor(data_root() / "editor")
    settings = {
        "kind": "facex-base",
        "data": "drawn",
        "init_from": start,
        "trainable": ["up_blocks.1.resnets", "conv_out"],
    }
    made = make_task({**settings, "sample_faces": 1, "sample_steps": 1}, 4, 0)
    before = load_base(folder / "base", torch.device("cpu"), torch.float32)
    model = made.build()
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learned} == {"up_blocks", "conv_out"}
    loss, _ = made.loss(model, made.batch(0), torch.Generator().manual_seed(0), 0)
    loss.backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1).step()
    made.export(model, tmp_path / "weights.safetensors", {})
    stored = dict(load_sharded(tmp_path / "weights" / "unet", "diffusion_pytorch_model.safetensors"))
    assert set(stored) == learned
    after = load_base(tmp_path / "weights", torch.device("cpu"), torch.float32)
    for name, value in after.unet.state_dict().items():
        expected = model.state_dict()[name].half().float() if name in learned else before.unet.state_dict()[name]
        assert torch.equal(value, expected), name
    for wrong, says in (
        ({"trainable": ["nothing"]}, "begins with nothing"),
        ({"init_from": "away"}, "below LIMNER_DATA"),
    ):
        with pytest.raises(InputError, match=says):
            make_task({**settings, **wrong}, 4, 0).build()
    with pytest.raises(InputError, match="give that base"):
        make_task({**settings, "init_from": None}, 4, 0)

"""Suites of edits: an editor that paints a known picture gets the figures that picture deserves; files and doors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.metrics
import torch

from codec.tiny import lpips_tensors
from facex.tiny import write_editor
from limner.cli.app import main
from limner.cli.evaluate_facex import SUITES
from limner.codecs.perceptual import LPIPS
from limner.errors import InputError
from limner.evaluation import edit_suites, region_transfer
from limner.evaluation.accessory_removal import erase, wears
from limner.evaluation.combined_edits import YAW, mixed
from limner.evaluation.edit_benchmark import EditBenchmark
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited, EditSampling, analyse_photo, gaze_of
from limner.evaluation.galleries import read_gallery
from limner.evaluation.identity_judge import IdentityJudge
from limner.evaluation.image_similarity import psnr
from limner.evaluation.suites import SUITES as MEASURES
from limner.faces.expression_solver import lids_along
from limner.faces.geometry import warp
from limner.faces.iresnet import IResNet
from limner.faces.motion import EYEBALL_RADIUS, eye_corners, head_pose
from limner.faces.picture import encode_png, read_picture, save_png
from limner.faces.reader import FaceReader
from limner.faces.regions import Region
from limner.models.facex.edit_inputs import EditInputs
from limner.models.facex.engine import FaceX
from limner.models.facex.landmark_warp import Points, pull
from limner.models.facex.masks import part_mask
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.warped_init import placed, points_of
from limner.weights.tensors import save_tensors

FACES = ("face-10015", "face-10016", "face-10018")


class Oracle(FaceX):
    """An editor whose painting is another photo's aligned crop: what a perfect, or a useless, editor would paint. Of an
    edit that does not know that photo: the edited one's own."""

    paints = CANVAS

    def paint(self, prepared: Sequence[EditInputs], *_: Any, **__: Any) -> np.ndarray:
        return np.stack([each.subjects.get(self.paints, each.subjects[CANVAS]).portrait.picture for each in prepared])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people in a folder, each once."""
    folder = tmp_path_factory.mktemp("data") / "people"
    folder.mkdir()
    for name in FACES:
        save_png(
            folder / f"{name}.png", read_picture((files("limner.demo") / "photographs" / f"{name}.jpg").read_bytes())
        )
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor")
    save_tensors(folder / "lpips.safetensors", lpips_tensors(), {})
    return write_editor(folder)


@pytest.fixture(scope="module")
def oracle(weights: Path) -> Oracle:
    loaded = FaceX.load(weights, device="cpu", precision="fp32", reader=FaceReader.load())
    # portraits as large as the reader's, so that what is painted can be read again
    parts = replace(loaded.components, base=replace(loaded.components.base, size=256))
    made: Any = Oracle(parts, loaded.name, loaded.why, loaded.reader)  # the hub's mixin hides the class
    return made


@cache
def firsts(oracle: Oracle, photos: Path) -> list[AnalysedPhoto | None]:
    """The faces of a folder, read once for all suites."""
    return plain_bench(oracle, photos).firsts


def plain_bench(oracle: Oracle, photos: Path, **sampling: Any) -> EditBenchmark:
    return EditBenchmark(
        oracle, read_gallery(photos), EditSampling(**sampling), lambda: LPIPS(lpips_tensors()), lambda *_: None
    )


def bench(oracle: Oracle, photos: Path, paints: str, **sampling: Any) -> EditBenchmark:
    oracle.paints = paints
    made = plain_bench(oracle, photos, **sampling)
    made.firsts = firsts(oracle, photos)
    return made


def test_a_swap_is_judged_by_whose_face_it_is(oracle: Oracle, photos: Path) -> None:
    perfect, cases = edit_suites.swap(bench(oracle, photos, "source"))
    assert perfect["cases"] == 3 and perfect["lost"] == 0 and perfect["gallery"] == 3
    assert perfect["nearer_to_source"] == perfect["top_1"] == perfect["kept"] == 1.0
    useless, _ = edit_suites.swap(bench(oracle, photos, CANVAS))
    assert useless["nearer_to_source"] == useless["top_1"] == 0.0 and useless["top_5"] == 1.0
    assert useless["to_target"] < 0.2 < perfect["to_target"]
    assert useless["pose"] < 1 and useless["expression_share"] < 0.2  # nothing moved
    assert useless["cosine_to_target"] > 0.98 > useless["cosine_to_source"]
    assert perfect["cosine_to_source"] > perfect["cosine_to_target"] and "judge" not in perfect
    assert useless["frechet"] == pytest.approx(0, abs=1e-3)  # the real crops given back
    assert edit_suites.sheet(cases).shape == (3 * 256, 3 * 256, 3)


def test_sources_are_looked_for_among_other_pictures_and_among_their_own(oracle: Oracle, photos: Path) -> None:
    made = bench(oracle, photos, "source")
    made.seconds = made.firsts[1:] + made.firsts[:1]  # other people's
    figures, _ = edit_suites.swap(made)
    assert figures["top_1"] == 0.0 and figures["top_1_of_sources"] == figures["top_5_of_sources"] == 1.0
    useless, _ = edit_suites.swap(bench(oracle, photos, CANVAS))
    assert useless["top_1_of_sources"] == 0.0


def test_heads_are_more_than_faces(oracle: Oracle, photos: Path) -> None:
    changed = []
    for suite in (edit_suites.swap, edit_suites.swap_head):
        figures, cases = suite(bench(oracle, photos, "source"))
        assert figures["nearer_to_source"] == figures["kept"] == 1.0
        changed.append(np.mean([(case.shown[2] != case.shown[1]).any(-1).mean() for case in cases]))
    assert changed[1] > 1.2 * changed[0]


def test_another_network_judges_identity_too(
    oracle: Oracle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    save_tensors(tmp_path / "judge.safetensors", IResNet("iresnet18").state_dict(), {})
    made = bench(oracle, photos, CANVAS)
    made.judge = IdentityJudge.load(tmp_path / "judge.safetensors")
    figures, cases = edit_suites.swap(made)
    judged = figures["judge"]
    assert judged["nearer_to_source"] == judged["top_1"] == 0.0 and judged["top_5"] == 1.0
    assert judged["cosine_to_target"] > 0.98 and judged["cosine_to_source"] < judged["cosine_to_target"]
    for case in cases:  # of length 1, and not the reader's
        record = case.record["judge"]
        assert record["to_source"] ** 2 == pytest.approx(2 - 2 * record["cosine_to_source"], abs=1e-6)
        assert abs(record["cosine_to_source"] - case.record["cosine_to_source"]) > 1e-4
    held = edit_suites.reenact(made)[0]["judge"]
    assert held["top_1"] == 1.0 and held["cosine_to_photo"] > 0.98 and "still_themselves" not in held
    monkeypatch.setattr(Oracle, "paint", lambda self, prepared, *_: np.zeros((len(prepared), 256, 256, 3), np.uint8))
    lost = dict.fromkeys(("nearer_to_source", "top_1", "top_5", "top_1_of_sources", "top_5_of_sources"), 0.0)
    assert edit_suites.swap(made)[0]["judge"] == lost
    save_tensors(tmp_path / "other.safetensors", {"conv1.weight": torch.zeros(1)}, {})
    for name, line in (("other.safetensors", "holds none of iresnet18"), ("nowhere.onnx", "no such file")):
        with pytest.raises(InputError, match=line):
            IdentityJudge.load(tmp_path / name)


def test_what_is_worn_is_gone_or_there(oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    useless, cases = erase(bench(oracle, photos, CANVAS))
    parts = {case.record["part"] for case in cases}
    assert useless["gone"] == 0.0 and useless["kept"] == 1.0 and set(useless["gone_by_part"]) == parts
    bare = next(look for look in firsts(oracle, photos) if look is not None and not wears(look.face, "glasses"))
    monkeypatch.setattr(Oracle, "paint", lambda self, prepared, *_: bare.picture[None])
    erased, _ = erase(bench(oracle, photos, CANVAS))
    assert erased["gone_by_part"]["glasses"] == 1.0 and erased["kept"] == 1.0


def test_one_pass_stands_beside_one_after_another(
    oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, cases = mixed(bench(oracle, photos, "source"))
    for name in ("one_pass", "in_turn"):
        assert figures[name]["nearer_to_source"] == 1.0 and figures[name]["lost"] == 0.0
        assert figures[name]["seconds"] > 0 and "top_1" not in figures[name]
    one_pass, in_turn = cases[0].shown[2:]
    assert not np.array_equal(one_pass, in_turn)
    unmoved, _ = mixed(bench(oracle, photos, CANVAS))
    for name in ("one_pass", "in_turn"):
        assert unmoved[name]["yaw_error"] == pytest.approx(YAW, abs=3) and unmoved[name]["nearer_to_source"] == 0.0
    monkeypatch.setattr(Oracle, "paint", lambda self, prepared, *_: np.zeros((len(prepared), 256, 256, 3), np.uint8))
    figures, _ = mixed(bench(oracle, photos, "source"))
    assert figures["lost"] == 3 and figures["in_turn"]["lost"] == 1.0 and "yaw_error" not in figures["in_turn"]


def test_motion_is_judged_against_the_driver(oracle: Oracle, photos: Path) -> None:
    figures, _ = edit_suites.reenact(bench(oracle, photos, "driver"))
    assert figures["expression"] < 0.5 * figures["expression_between"]
    assert figures["still_themselves"] == 0.0
    still, _ = edit_suites.reenact(bench(oracle, photos, CANVAS))
    assert still["still_themselves"] == still["top_1"] == 1.0 and still["cosine_to_photo"] > 0.98
    assert still["frechet"] == pytest.approx(0, abs=1e-3) and still["frechet_protocol"] == figures["frechet_protocol"]
    assert still["pose"] == pytest.approx(still["pose_between"], abs=1.5)


def test_second_pictures_are_the_truth_of_the_same_person(oracle: Oracle, photos: Path, tmp_path: Path) -> None:
    for name in FACES[:2]:
        (tmp_path / name).mkdir()
        picture = read_picture(photos / f"{name}.png")
        save_png(tmp_path / name / "1.png", picture)
        save_png(tmp_path / name / "2.png", (picture * 0.8).astype(np.uint8))
    with pytest.raises(InputError, match="second pictures"):
        edit_suites.same(bench(oracle, photos, CANVAS))
    perfect, _ = edit_suites.same(bench(oracle, tmp_path, "driver"))
    assert perfect["psnr"] > 100 and perfect["lpips"] < 1e-6 and perfect["frechet"] == pytest.approx(0, abs=1e-3)
    other, _ = edit_suites.same(bench(oracle, tmp_path, CANVAS))
    assert other["psnr"] < 30 and other["lpips"] > 0 and other["frechet"] > 0.01


def test_a_photo_given_back_is_reconstructed(oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans, edit = [], EditBenchmark.edit
    monkeypatch.setattr(EditBenchmark, "edit", lambda self, plan, *rest: plans.append(plan) or edit(self, plan, *rest))
    figures, _ = edit_suites.reconstruct(bench(oracle, photos, CANVAS))
    assert figures["psnr"] > 100 and figures["still_themselves"] == 1.0
    swapped, cases = edit_suites.itself(bench(oracle, photos, "source"))
    assert swapped["psnr"] > 100 and swapped["lpips"] < 1e-6 and swapped["cases"] == len(cases) == 3
    assert plans == [EditPlan.animate()] * 3 + [EditPlan.swap("source")] * 3


def test_sliders_that_do_nothing_do_not_correlate(oracle: Oracle, photos: Path) -> None:
    figures, cases = edit_suites.sliders(bench(oracle, photos, CANVAS))
    assert figures["cases"] == 3 * len(edit_suites.SLIDING) and set(figures["correlation"]) == set(edit_suites.SLIDING)
    assert set(figures["correlation_as_read"]) == set(edit_suites.GAZES)
    assert all(("as_read" in case.record) == (case.record["slider"] in edit_suites.GAZES) for case in cases)
    for case in cases:
        record = case.record
        assert abs(record["measured"]) < (3 if abs(record["value"]) > 1 else 0.15), record
        assert abs(record["asked"]) <= abs(record["value"]) + 1e-6


def test_where_a_face_looks_follows_irises_and_lids(oracle: Oracle, photos: Path) -> None:
    for name in FACES:
        look = analyse_photo(oracle, photos / f"{name}.png", name)
        assert look is not None
        own = points_of(look.subject.portrait, oracle.reader.topology)
        for way in (-4.0, 4.0):
            down = np.array([[0.0, way]] * 2)
            there = Points(lids_along(own.mesh, down), own.irises + down)
            drawn = pull(look.picture, own, there, oracle.reader.topology)
            (face,) = oracle.reader.read_crops(drawn[None])
            assert face is not None
            made = Edited(look.photo, look.picture, look.picture, True, look.face)
            assert edit_suites._looks_further(oracle.reader, look, made) == [0.0, 0.0]
            made = Edited(drawn, look.picture, look.picture, True, face)
            across, up = edit_suites._looks_further(oracle.reader, look, made)
            assert 2 < abs(up) < 16 and (up < 0) == (way > 0) and abs(across) < 4


def test_where_a_face_looks_is_measured_from_the_corners_of_both_networks(
    oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = analyse_photo(oracle, photos / f"{FACES[0]}.png", "a face")
    assert look is not None
    face, reader = look.face, oracle.reader
    scale = head_pose(face.landmarks, reader.topology).scale
    answers = []
    for lower in (-0.4, 0.0, 0.4):  # centimetres by which the iris network puts the corners lower than the mesh
        seen = face.irises, eye_corners(face.landmarks) + np.array([0, lower * scale])
        monkeypatch.setattr(reader.irises, "find_eyes", lambda *_, seen=seen: seen)
        answers.append(gaze_of(reader, look.photo, face))
    assert np.allclose(answers[1], face.gaze, atol=1e-3)
    sines = np.sin(np.radians([answer[1] for answer in answers]))
    assert np.allclose(np.diff(sines), 0.2 / EYEBALL_RADIUS, atol=0.02)


def test_asked_is_what_the_face_can_still_do(oracle: Oracle, photos: Path) -> None:
    look = analyse_photo(oracle, photos / f"{FACES[0]}.png", "a face")
    assert look is not None
    assert edit_suites._asked(look, "yaw", 12.0) == 12.0
    look.subject.portrait.motion.expression[:] = 1.0  # cannot smile more, can smile less
    assert edit_suites._asked(look, "smile", -0.5) < -0.1 and edit_suites._asked(look, "smile", 0.5) < 0.2


def test_regions_are_nearer_to_whom_they_were_painted_from(oracle: Oracle, photos: Path) -> None:
    perfect, _ = region_transfer.regions(bench(oracle, photos, "donor"))
    useless, _ = region_transfer.regions(bench(oracle, photos, CANVAS))
    assert perfect["nearer_in_place"] == perfect["kept"] == 1.0 and useless["nearer_in_place"] == 0.0
    assert perfect["nearer_to_donor"] > 0.6 and useless["nearer_to_donor"] < 0.1
    assert perfect["shows_by_part"]["glasses"] == 1.0 and set(useless["shows_by_part"].values()) == {0.0}
    usual = set(perfect["nearer_to_donor_by_part"]) - {"glasses", "beard"}
    assert usual and usual <= set(region_transfer.TRANSPLANTS) and "shows" not in perfect


def test_a_part_is_compared_where_it_belongs_and_at_one_brightness(oracle: Oracle, photos: Path) -> None:
    """The donor's nose, turned, shifted and at a third of its light, is the donor's; so is none where none is found."""
    donor, look = (each for each in firsts(oracle, photos)[:2])
    assert donor is not None and look is not None
    giver, portrait = donor.subject.portrait, look.subject.portrait
    assert portrait.mesh is not None
    nose = part_mask(giver.regions, "nose")
    brought = warp(giver.picture, placed(giver, nose, portrait.mesh), 256, border="edge")
    shown = np.where(part_mask(portrait.regions, "nose")[..., None], brought // 3, portrait.picture)
    made = Edited(look.photo, shown, shown, True, look.face)
    record = region_transfer._whose_part(LPIPS(lpips_tensors()), made, "nose", donor, look)
    assert record["nearer_to_donor"] and record["to_donor"] < 0.1 * record["to_photo"]
    assert region_transfer._whose_part(LPIPS(lpips_tensors()), made, "nose", look, donor)["nearer_to_donor"] is False
    lost = region_transfer._whose_part(LPIPS(lpips_tensors()), replace(made, face=None), "nose", donor, look)
    assert lost == {"nearer_to_donor": False, "nearer_as_lit": False}


def test_nobody_gives_hair_from_under_a_hat(oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_transfer, "TRANSPLANTS", ("hair",))
    made = bench(oracle, photos, "donor")
    _, cases = region_transfer.regions(made)
    assert [case.record["part"] for case in cases].count("hair") == 3
    hatted = []
    for look in made.firsts:
        assert look is not None
        regions = look.subject.portrait.regions.copy()
        regions[:20] = Region.HAT
        portrait = replace(look.subject.portrait, regions=regions)
        hatted.append(replace(look, subject=replace(look.subject, portrait=portrait)))
    made.firsts = hatted
    _, cases = region_transfer.regions(made)
    assert "hair" not in [case.record["part"] for case in cases] and cases


def test_a_true_filling_beats_a_smooth_one(oracle: Oracle, photos: Path) -> None:
    figures, cases = edit_suites.inpaint(bench(oracle, photos, CANVAS))
    assert figures["better_by"] == pytest.approx(1.0) and figures["lpips_biharmonic"] > 1e-4
    again, _ = edit_suites.inpaint(bench(oracle, photos, CANVAS, seed=1))
    assert again["lpips_biharmonic"] != figures["lpips_biharmonic"]
    holed, plain, ours = cases[0].shown
    outside = (holed == ours).all(-1)
    assert 0.02 < 1 - outside.mean() < 0.2 and np.array_equal(plain[outside], ours[outside])


def test_pictures_without_a_face_are_counted(oracle: Oracle, photos: Path, tmp_path: Path) -> None:
    for name in FACES[:2]:
        (tmp_path / f"{name}.png").write_bytes((photos / f"{name}.png").read_bytes())
    save_png(tmp_path / "wall.png", np.full((200, 200, 3), 90, np.uint8))
    figures, _ = edit_suites.swap(bench(oracle, tmp_path, "source"))
    assert (figures["cases"], figures["of"], figures["refused"], figures["gallery"]) == (1, 3, 1, 2)


def test_faces_painted_over_are_lost(oracle: Oracle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Oracle, "paint", lambda self, prepared, *_: np.zeros((len(prepared), 256, 256, 3), np.uint8))
    figures, _ = edit_suites.swap(bench(oracle, photos, CANVAS))
    assert figures["lost"] == 3 and figures["nearer_to_source"] == 0.0 and figures["frechet"] > 1.0


def test_psnr_is_that_of_scikit_image() -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3)).astype(np.uint8)
    assert psnr(one, other) == pytest.approx(skimage.metrics.peak_signal_noise_ratio(one, other))


def test_faceforensics_has_its_own_pairs(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "original_sequences" / "youtube" / "c23" / "images"
    for name, number in zip(FACES, ("033", "097", "144"), strict=True):
        (root / number).mkdir(parents=True)
        (root / number / "0000.png").write_bytes((photos / f"{name}.png").read_bytes())
    ring = read_gallery(tmp_path)
    assert [person.id for person in ring.people] == ["033", "097", "144"] and ring.pairs == ((0, 1), (1, 2), (2, 0))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "test.json").write_text('[["033", "144"], ["555", "666"]]')
    gallery = read_gallery(tmp_path)
    assert [person.id for person in gallery.people] == ["033", "144"] and gallery.pairs == ((0, 1), (1, 0))
    (tmp_path / "splits" / "test.json").write_text("[1]")
    with pytest.raises(InputError, match="no list of pairs"):
        read_gallery(tmp_path)


def test_people_in_folders_show_two_pictures(photos: Path, tmp_path: Path) -> None:
    frames = [read_picture(photos / f"{FACES[0]}.png")] * 2
    for person in ("id10270", "id10271"):
        for clip, frame in zip(("a", "b"), frames, strict=True):
            (tmp_path / person / clip).mkdir(parents=True)
            for k in range(3):
                shifted = warp(frame, np.array([[1, 0, k], [0, 1, 0]], float), frame.shape[:2][::-1])
                (tmp_path / person / clip / f"{k}.png").write_bytes(encode_png(shifted))
    gallery = read_gallery(tmp_path, 2)
    assert [person.id for person in gallery.people] == ["id10270", "id10271"]
    first, last = gallery.people[0].pictures
    assert not np.array_equal(first, last)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 people"):
        read_gallery(tmp_path, 1)


def test_several_frames_of_a_clip_are_all_edited(oracle: Oracle, photos: Path, tmp_path: Path) -> None:
    """As papers measure on videos: one frame of the source with every frame of the target, and the first frame of a
    person with all that follow."""
    for person, name in (("id1", FACES[0]), ("id2", FACES[1])):
        frame = read_picture(photos / f"{name}.png")
        (tmp_path / person / "clip").mkdir(parents=True)
        for k in range(12):
            shifted = warp(frame, np.array([[1, 0, k], [0, 1, 0]], float), frame.shape[:2][::-1])
            (tmp_path / person / "clip" / f"{k:02}.png").write_bytes(encode_png(shifted))
    gallery = read_gallery(tmp_path, frames=3)
    assert [len(person.pictures) for person in gallery.people] == [3, 3]
    made = EditBenchmark(oracle, gallery, EditSampling(), lambda: LPIPS(lpips_tensors()), lambda *_: None)
    pairs, motions = made.pairs(), made.motions()
    assert [(source, target) for source, target, *_ in pairs] == [(0, 1)] * 3 + [(1, 0)] * 3
    assert all(one is made.firsts[source] for source, _, one, _ in pairs)
    assert len({id(other) for *_, other in pairs}) == 6
    assert [k for k, *_ in motions] == [0, 0, 1, 1] and all(one is made.firsts[k] for k, one, _ in motions)
    with pytest.raises(InputError, match="no clips of more than two"):
        read_gallery(photos, frames=3)


def test_clips_that_cannot_be_read_are_skipped(photos: Path, tmp_path: Path) -> None:
    for person in ("id1", "id2", "id3"):
        (tmp_path / person / "clip").mkdir(parents=True)
        (tmp_path / person / "a.mp4").write_bytes(b"no video")
        if person != "id1":
            (tmp_path / person / "clip" / "0.png").write_bytes((photos / f"{FACES[0]}.png").read_bytes())
    gallery = read_gallery(tmp_path, 2)
    assert [person.id for person in gallery.people] == ["id2", "id3"]
    assert all(len(person.pictures) == 1 for person in gallery.people) and len(gallery.skipped) == 4
    assert "id1: no clip" in gallery.skipped[1] and "no video that can be read" in gallery.skipped[0]
    (tmp_path / "id3" / "clip" / "0.png").unlink()
    with pytest.raises(InputError, match=r"1 people: .* no video that can be read"):
        read_gallery(tmp_path)


def test_the_command_stores_what_it_measured(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(photos.parent))
    words = ["evaluate", "facex", "people", "--weights", str(weights), "--steps", "1", "--out", str(tmp_path)]
    log, sheet = tmp_path / "log.json", tmp_path / "sheet.png"
    assert main([*words, "--log", str(log), "--sheet", str(sheet)]) == 0
    stored = json.loads((tmp_path / "facex-swap.people.json").read_text())
    assert stored["figures"]["cases"] == 3 and stored["figures"]["kept"] == 1.0
    assert stored["settings"]["published"]["models"]["Face-Adapter"]["pose"] == 0.0319
    settings = stored["settings"]
    assert (settings["guidance"], settings["identity_guidance"], settings["gallery"]) == (2.0, 0.0, "same photo")
    assert set(settings["hashes"]) == {"controller", "unet", "codec"}
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines() if "|" in line}
    assert "published (FaceForensics++, other judges)" in rows[""]
    assert "ID retrieval (%, higher is better): HifiFace 94.26" in rows["top_1"] and rows["kept"].endswith("| 1 |  |")
    assert set(SUITES) == set(MEASURES)
    assert len(json.loads(log.read_text())) == 3 and read_picture(sheet).shape == (3 * 64, 3 * 64, 3)
    assert main([*words, "--suite", "inpaint", "--lpips", str(weights / "lpips.safetensors"), "--count", "2"]) == 0
    assert json.loads((tmp_path / "facex-inpaint.people.json").read_text())["figures"]["cases"] == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["people", "--suite", "flying"], "--suite flying: choose swap"),
        (["nowhere"], "there is no folder"),
        (["people", "--judge", "nowhere.onnx"], "--judge nowhere.onnx: there is no such file"),
        (["people", "--guidance", "-1"], "guidance"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: list[str], line: str, photos: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("LIMNER_DATA", str(photos.parent))
    assert main(["evaluate", "facex", *words, "--weights", str(weights)]) == 2
    said = capsys.readouterr().err
    assert line in said and "Traceback" not in said

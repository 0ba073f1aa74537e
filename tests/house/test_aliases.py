"""Old names are read: weight headers, training configs, recipes of pictures, options. New ones alone are written."""

from __future__ import annotations

import importlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner import aliases
from limner.cli.app import main
from limner.cli.train import TASKS, make_task
from limner.errors import InputError
from limner.models.facex.config import ControlConfig
from limner.models.facex.loading import Strength, strength_of
from limner.models.unif2ace.config import UniF2aceConfig
from limner.serving.job_store import JobStore
from limner.training.config import TrainSettings, check_same_run, read_training_config

SETTINGS = {"parser": "ParserSettings", "codec": "CodecSettings", "lfq": "LFQSettings", "mditface": "MDiTFaceSettings",
            "facex-base": "BaseSettings", "facex": "FaceXSettings", "unif2ace": "UniF2aceSettings"}  # fmt: skip


@pytest.mark.parametrize("kind", TASKS)
def test_every_new_key_is_a_field_and_no_old_one_is(kind: str) -> None:
    fields = getattr(importlib.import_module(TASKS[kind][0]), SETTINGS[kind]).model_fields.keys()
    names = aliases.TASK_KEYS[kind]
    assert set(names.values()) <= fields and not names.keys() & fields
    assert set(aliases.TRAIN_KEYS.values()) <= TrainSettings.model_fields.keys()


def test_old_weight_headers() -> None:
    new = UniF2aceConfig(learned_positions=True, mlp_width=512, expert_width=32, partial_rotary_factor=0.25)
    back = {new_name: old for old, new_name in aliases.CONFIG_FIELDS["UniF2aceConfig"].items()}
    old = {back.get(name, name): value for name, value in new.to_dict().items()}
    assert {"places", "hidden", "rotary", "expert_hidden"} <= old.keys()
    assert UniF2aceConfig.from_dict(old) == new
    assert ControlConfig.from_dict({"drafts": True}).hole_fill
    assert "drafts" not in ControlConfig().to_dict()
    with pytest.raises(ValueError, match="hidden and mlp_width are the same setting"):
        UniF2aceConfig.from_dict({"hidden": 8, "mlp_width": 8})
    assert strength_of({"likeness": 3.0, "draft": 0.5}) == Strength(identity_guidance=3.0, warp_strength=0.5)


def test_old_training_configs(tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(
        'name = "old"\n[task]\nkind = "unif2ace"\ndata = "set"\nturns = 3\nonly = "paint"\nmodel = {hidden = 24}\n'
        "[train]\nsteps = 4\nbatch_size = 2\nloaders = 3\n"
    )
    read = read_training_config(old, ["task.apart=0.5", "train.steps=5"])
    assert read.task == {
        "kind": "unif2ace", "data": "set", "questions_per_face": 3, "train_only": "paint", "model": {"mlp_width": 24},
        "isolated_share": 0.5,
    }  # fmt: skip
    assert read.train.loader_threads == 3 and read.train.steps == 5
    run = tmp_path / "run"
    run.mkdir()
    stored = {"name": "old", "task": {"kind": "unif2ace", "data": "set", "turns": 3, "only": "paint", "apart": 0.5,
              "model": {"hidden": 24}}, "train": {"seed": 0, "batch_size": 2, "accumulate": 1}}  # fmt: skip
    (run / "recipe.json").write_text(json.dumps(stored))
    check_same_run(run, read)
    (run / "recipe.json").write_text(json.dumps({**stored, "task": {**stored["task"], "turns": 4}}))
    with pytest.raises(InputError, match="questions_per_face = 4, not 3"):
        check_same_run(run, read)
    old.write_text(old.read_text().replace("turns = 3", "turns = 3\nquestions_per_face = 3"))
    with pytest.raises(InputError, match=r"old\.toml: turns and questions_per_face are the same setting"):
        read_training_config(old)


def test_an_unknown_key_is_still_refused() -> None:
    with pytest.raises(InputError, match=r"task\.turn"):
        make_task({"kind": "unif2ace", "data": "x", "turn": 3}, 2, 0)


def test_old_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a.jpg", "--likeness", "2", "--draft=0.5", "--no-repeat", "3", "--", "--likeness"]
    assert aliases.renamed_options(words) == [
        "a.jpg", "--identity-guidance", "2", "--warp-strength=0.5", "--no-repeat-ngram-size", "3", "--", "--likeness"
    ]  # fmt: skip
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    photo = str(tmp_path / "black.png")
    assert main(["edit", photo, "--smile", "0.5", "--draft", "2", "--out", str(tmp_path / "out")]) == 2
    assert "--warp-strength" in capsys.readouterr().err, "the option was understood, and its value refused"


def test_old_recipes_of_pictures() -> None:
    old = {"seed": 1, "likeness": 2.0, "draft": 1.0, "drawn_as": 7, "painted_with": 3}
    assert aliases.renamed(old, aliases.PICTURE_RECIPE) == {
        "seed": 1, "identity_guidance": 2.0, "warp_strength": 1.0, "render_version": 7, "batched_with": 3
    }  # fmt: skip


def test_old_job_stores(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = store.add("paint", {"text": "a man"}, "key", 10)
    store.close()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        db.execute("ALTER TABLE jobs RENAME COLUMN batch_key TO likeness")
    again = JobStore(tmp_path)
    assert again.get(job.id).batch_key == "key"
    again.close()

"""Old names that are still read: one table for weight headers, training configs, picture recipes and the command line.

Files and command lines written before version 0.2 use the names on the left; everything is written with the names on
the right. docs/glossary.md says what each term means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CONFIG_FIELDS: Mapping[str, Mapping[str, str]] = {
    "UniF2aceConfig": {
        "places": "learned_positions",
        "rotary": "partial_rotary_factor",
        "hidden": "mlp_width",
        "expert_hidden": "expert_width",
    },
    "ControlConfig": {"drafts": "hole_fill"},
}
"""Class of a model's configuration → its fields, as weight headers and the ``model`` table of a training config have
them."""

CONTROLLER_HEADER: Mapping[str, str] = {"likeness": "identity_guidance", "draft": "warp_strength"}
"""Entries of a FaceX controller's header."""

TRAIN_KEYS: Mapping[str, str] = {"loaders": "loader_threads"}
"""Keys of the ``[train]`` table."""

TASK_KEYS: Mapping[str, Mapping[str, str]] = {
    "parser": {"start": "init_from", "sure": "min_confidence", "clean": "undistorted_share"},
    "codec": {"start": "init_from"},
    "lfq": {"start": "init_from"},
    "mditface": {"start": "init_from", "balanced": "rarity_sampling"},
    "facex-base": {"start": "init_from", "learns": "trainable"},
    "facex": {
        "start": "init_from",
        "gain": "gamma_init",
        "shares": "task_shares",
        "fix_unet": "freeze_unet",
        "likeness": "identity_guidance",
        "drop_draft": "drop_hole_fill",
        "low_noise": "image_loss_min_signal",
        "picture_every": "image_loss_every",
        "picture_rows": "image_loss_rows",
    },
    "unif2ace": {
        "start": "init_from",
        "only": "train_only",
        "understand": "understand_share",
        "paint": "paint_share",
        "turns": "questions_per_face",
        "apart": "isolated_share",
        "long": "long_caption_share",
        "foils": "foil_weight",
        "sharpness": "foil_beta",
        "foiled": "foil_share",
        "bits": "share_code_bits",
        "sheets": "sample_sheets",
        "balanced": "rarity_sampling",
        "balance": "balance_weight",
        "balance_paint": "balance_weight_paint",
        "balance_understand": "balance_weight_understand",
    },
}
"""Kind of task → keys of its ``[task]`` table."""

TASK_MODELS: Mapping[str, str] = {"unif2ace": "UniF2aceConfig", "facex": "ControlConfig"}
"""Kind of task → class whose fields its ``model`` table has."""

PICTURE_RECIPE: Mapping[str, str] = {
    "likeness": "identity_guidance",
    "draft": "warp_strength",
    "drawn_as": "render_version",
    "painted_with": "batched_with",
}
"""Entries of the recipe inside a picture."""

JOB_COLUMNS: Mapping[str, str] = {"likeness": "batch_key"}
"""Columns of a server's table of jobs."""

RUN_CONFIGS = ("config.json", "recipe.json")
"""Names of the training config in a run's folder, the present one first."""

OPTIONS: Mapping[str, str] = {
    "--likeness": "--identity-guidance",
    "--draft": "--warp-strength",
    "--no-repeat": "--no-repeat-ngram-size",
}
"""Options of the command line."""


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """``values`` with old keys replaced by their new names, in the same order.

    Raises ``ValueError`` where a value is given under both names.
    """
    for old, new in names.items():
        if old in values and new in values:
            raise ValueError(f"{old} and {new} are the same setting: remove {old}, which is its old name")
    return {names.get(key, key): value for key, value in values.items()}


def renamed_training(data: Mapping[str, Any]) -> dict[str, Any]:
    """A training config (``name``, ``[task]``, ``[train]``) with new keys. Raises ``ValueError`` like ``renamed``."""
    out = dict(data)
    task, train = out.get("task"), out.get("train")
    if isinstance(train, Mapping):
        out["train"] = renamed(train, TRAIN_KEYS)
    if isinstance(task, Mapping):
        kind = task.get("kind")
        known = kind if isinstance(kind, str) else ""
        new = renamed(task, TASK_KEYS.get(known, {}))
        if isinstance(new.get("model"), Mapping):
            new["model"] = renamed(new["model"], CONFIG_FIELDS.get(TASK_MODELS.get(known, ""), {}))
        out["task"] = new
    return out


def renamed_options(words: Sequence[str]) -> list[str]:
    """Command line words with old options replaced; words after ``--`` are left as they are."""
    out: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return [*out, *words[place:]]
        name, equals, value = word.partition("=")
        out.append(f"{OPTIONS.get(name, name)}{equals}{value}")
    return out

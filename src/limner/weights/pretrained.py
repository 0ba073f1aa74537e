"""``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of the engines, by huggingface_hub's mixin.

What is saved is a folder: the engine's own weight files as they were loaded (safetensors), ``config.json`` that says
which engine they are of, and a card, ``README.md``. Weights that come with Limner, such as the nano codecs, are named
in the files' headers and not copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from limner import __version__
from limner.errors import InputError
from limner.files import atomic_write, write_json_atomic
from limner.weights.registry import registry
from limner.weights.tensors import read_config

CONFIG = "config.json"
KEPT = (".safetensors", ".json", ".txt", ".model")  # nothing pickled
E = TypeVar("E", bound="PretrainedEngine")


class PretrainedEngine(ModelHubMixin):
    """An engine that is saved to a folder or the Hugging Face hub, and loaded from there."""

    ENGINE: ClassVar[str]
    """The engine's name in recipes, and in ``config.json``."""
    PAPER: ClassVar[str]
    """Address of the paper."""
    name: str

    def __new__(cls, *args: Any, **kwargs: Any) -> PretrainedEngine:
        """Without the mixin's own, which would copy every tensor of the parts to keep them as configuration."""
        return object.__new__(cls)

    @classmethod
    def load(cls: type[E], source: Any, **settings: Any) -> E:
        """As each engine documents it."""
        raise NotImplementedError

    def pretrained_files(self) -> Mapping[str, Path]:
        """The engine's own files: path in the saved folder → file. ``InputError`` where they cannot be saved."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] (settings: those of ``load``)
        cls: type[E],
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **settings: Any,
    ) -> E:
        """An engine from a folder that ``save_pretrained`` wrote, from a repository on the hub, or by registry name.

        settings: as ``load`` takes them (``device``, ``precision``, …). The other arguments are huggingface_hub's. Of a
        repository only safetensors and texts are fetched. Raises ``InputError`` for the folder of another engine, and
        huggingface_hub's errors for a repository that cannot be fetched.
        """
        source = pretrained_model_name_or_path
        if str(source) in registry():
            return cls.load(str(source), **settings)
        if not Path(source).expanduser().exists():
            source = snapshot_download(
                str(source),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[f"*{suffix}" for suffix in KEPT],
            )
        folder = Path(source).expanduser()
        _check_engine(folder, cls.ENGINE)
        return cls.load(folder, **settings)

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> str | None:
        """Write the engine's files, ``config.json`` and, where there is none, a card to a folder.

        settings: huggingface_hub's, such as ``push_to_hub=True, repo_id="me/mine"``. ``InputError`` for the folder
        that the weights were loaded from.
        """
        for name, file in self.pretrained_files().items():
            target = Path(save_directory) / name
            if target.exists() and target.samefile(file):
                raise InputError(f"{save_directory} is where these weights were loaded from: name another folder")
        return super().save_pretrained(save_directory, **settings)

    def _save_pretrained(self, save_directory: Path) -> None:
        files = self.pretrained_files()
        for name, file in files.items():
            with atomic_write(save_directory / name) as temporary:
                shutil.copyfile(file, temporary)
        headers = {name: _header(file) for name, file in files.items() if file.suffix == ".safetensors"}
        write_json_atomic(save_directory / CONFIG, {"engine": self.ENGINE, "limner": __version__, "headers": headers})

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card that ``save_pretrained`` writes where there is none: what it is, how to load it, its licence."""
        entry = registry().get(self.name)
        licence = "not stated" if entry is None else entry.licence
        about = "" if entry is None else f"{entry.summary}\n\nTrained on: {entry.trained_on}\n\n"
        cls = type(self)
        return ModelCard(
            f"---\nlibrary_name: limner\ntags:\n- {self.ENGINE}\n- face\n---\n\n# {cls.__name__}\n\n{about}"
            f"Weights of {cls.__name__} ({self.PAPER}) for Limner {__version__}.\n\n```python\n"
            f"from {cls.__module__} import {cls.__name__}\n\n"
            f'engine = {cls.__name__}.from_pretrained("this repository or folder")\n```\n\nLicence: {licence}\n'
        )


def files_below(folder: Path, into: str = "") -> dict[str, Path]:
    """Every file of a folder that is saved: path in the saved folder, below ``into`` → file."""
    found = sorted(file for file in folder.rglob("*") if file.suffix in KEPT and file.is_file())
    return {(Path(into) / file.relative_to(folder)).as_posix(): file for file in found}


def _header(file: Path) -> dict[str, Any]:
    """What a weight file says of itself; how it was trained is a text of its own there."""
    return {key: value for key, value in read_config(file).items() if key != "recipe"}


def _check_engine(folder: Path, engine: str) -> None:
    """``InputError`` for a folder that another engine saved; one without a ``config.json`` is left to ``load``."""
    file = folder / CONFIG
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
    name = found.get("engine", engine) if isinstance(found, dict) else engine
    if name != engine:
        raise InputError(f"{folder} holds weights of the engine {name!r}, not {engine!r}: load it with that engine")

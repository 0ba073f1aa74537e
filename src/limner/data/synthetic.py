"""The synthetic source: faces of people who do not exist, each a function of its index alone.

Face i: psi and z are drawn from `default_rng(10_000 + i)`, psi uniform in [.7, 1], z standard normal in 512 dimensions;
w = mean + psi · (mapping(z) − mean). Its picture is what the generator codec decodes from the latents of w: a painter
that learns those latents is shown, and told about, what it will paint itself.

The generator takes w at 23 places, from 4² to 512²: the first shape head and hair, the middle ones features and their
movement, the last colour and light. `synthesise` takes one w for all places or one for each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.codecs.truncation import PSI
from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.picture import save_picture
from limner.files import atomic_write, write_json_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from limner.codecs.generator_codec import GeneratorCodec

WIDTH = 512  # of z and w
LAYERS = 23  # places of the generator that take w
RESOLUTIONS = (0, 2, 5, 8, 11, 14, 17, 20, 23)  # where the places of 4², 8², … 512² begin, and the end
SIDE = 256  # pixels of a finished face
CODEC = "generator-codec"
W_FILE = "w.npz"
INFO_FILE = "synth.json"
LICENCE = "research and demonstration; not for commercial use (random-face: Apache-2.0, trained on FFHQ)"
_FIRST_SEED = 10_000


class FaceGenerator:
    """Styles of synthetic faces, and their pictures."""

    varied = False  # whether a face is more than its index's draw (balanced_generator.py)

    def __init__(self, codec: GeneratorCodec) -> None:
        from limner.weights.device import choose

        self.codec = codec
        self.dtype = choose("cpu", "auto")[1]  # of pictures; 16 bits where they are faster: less than half a grey level

    @classmethod
    def load(cls, threads: int | None = None, codec: str | os.PathLike[str] = CODEC) -> FaceGenerator:
        """The generator of a codec (registry name or folder). threads: of this process; None leaves them."""
        import torch

        from limner.codecs.generator_codec import GeneratorCodec

        if threads is not None:
            torch.set_num_threads(threads)
        return cls(GeneratorCodec.load(Path(codec) if isinstance(codec, os.PathLike) else codec))

    def map(self, z: np.ndarray) -> np.ndarray:
        """The mapping network: z (512,) to w (512,) float32, not truncated."""
        return self.map_all(z.reshape(1, WIDTH))[0]

    def map_all(self, z: np.ndarray) -> np.ndarray:
        """The same of many: z (N, 512) to w (N, 512)."""
        return self.codec.generator.mapping(_tensor(z)).numpy()

    @property
    def mean(self) -> np.ndarray:
        """The mean w (512,) that faces are drawn towards."""
        return self.codec.generator.get_buffer("mean_style").numpy()

    def w_of(self, index: int) -> np.ndarray:
        """The w (512,) float32 of face `index` ≥ 0."""
        draws = np.random.default_rng(_FIRST_SEED + index)
        psi = draws.uniform(*PSI)
        w = self.map(draws.standard_normal((1, WIDTH)))
        return (self.mean + psi * (w - self.mean)).astype(np.float32)

    def synthesise(self, w: np.ndarray) -> np.ndarray:
        """The generator's own picture of w (512,), or of a w for each place (23, 512): (1024, 1024, 3) uint8 RGB."""
        return _pixels(self.codec.generator(_tensor(np.asarray(w)[None])))

    def face(self, index: int) -> np.ndarray:
        """Face `index` as (256, 256, 3) uint8 RGB, FFHQ alignment."""
        return self.face_of(self.w_of(index))

    def face_of(self, w: np.ndarray, side: int = SIDE) -> np.ndarray:
        """The face of w as (side, side, 3) uint8 RGB: of w (512,) what the codec decodes from its latents; of a w for
        each place (23, 512), which has no latents, the generator's features through the codec's head, or above 256
        pixels the generator's own picture. ``ValueError`` for a side that the codec does not offer.
        """
        styles = _tensor(np.asarray(w)[None])
        if styles.ndim == 2:
            latents = self.codec.encode_style(styles)
            with self._autocast():
                return _pixels(self.codec.decode(latents, side))
        if side != SIDE:
            return resize(self.synthesise(w), (side, side))
        blocks = self.codec.config.head[0]
        with self._autocast():
            features = self.codec.generator.features(styles, blocks)
            return _pixels(self.codec.head(features, styles[:, 1 + 3 * blocks]))

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def _tensor(values: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _pixels(pictures: Tensor) -> np.ndarray:
    from limner.faces.image_tensors import to_pictures

    return to_pictures(pictures.clamp(-1, 1))[0]


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
    info = {"codec": CODEC, "licence": LICENCE, "side": SIDE, "varied": generator.varied}
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

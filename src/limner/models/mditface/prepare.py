"""From built shards to a prepared set: codec latents, region maps and text features, computed once.

    python -m limner.models.mditface.prepare SHARDS... --out FOLDER [--codec kl-codec-nano | --flux FLUX_FOLDER]

Legend: N faces, K captions, P captions a face, T text tokens.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from limner.codecs.continuous import KLCodec
from limner.data.arrays import ArrayFolder, groups
from limner.data.balance import rarity_weights
from limner.data.empty_prompt import write_empty_prompt
from limner.data.prepared import Prepared
from limner.errors import InputError
from limner.faces.batches import to_model
from limner.faces.picture import read_picture, read_region_map
from limner.faces.regions import colourise, flip
from limner.faces.styles import STYLES
from limner.words.captions import compose_prompts
from limner.words.encoder import MiniLM, TextEncoder
from limner.words.facts import salient_facts
from limner.words.grammar import Value
from limner.words.mirror import mirror_words

from .loading import flux_encoder


class Encoder(Protocol):
    """The half of a codec that is needed."""

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to latents (B, C, h, w)."""
        ...


@dataclass(frozen=True)
class Face:
    """What of a shard's row is needed: an aligned picture (H, W, 3), its regions (H, W), captions, its split, and its
    salient facts, by whose rarity it is drawn."""

    picture: np.ndarray
    regions: np.ndarray
    captions: tuple[str, ...]
    validation: bool
    facts: Mapping[str, Value] = field(default_factory=dict)

    def mirrored(self) -> Face:
        """The mirrored face: left and right change places in the regions and in the words."""
        captions = tuple(map(mirror_words, self.captions))
        return Face(self.picture[:, ::-1], flip(self.regions), captions, self.validation, self.facts)


def read_faces(folders: Sequence[Path], prompts: int = 0, keep: float = 1.0) -> Iterator[Face]:
    """The training and validation faces of built sets, folder after folder; test faces stay where they are.

    Their words are the set's prompts, which fit the text encoder, not its longer captions, and before them `prompts`
    new ones that keep to the salient facts (``keep`` of `compose_prompts`).
    """
    from limner.data.shards import iterate, unpack_attributes

    columns = ["id", "image", "regions", "prompts", "attributes"]
    for folder in folders:
        for split in ("train", "validation"):
            for row in iterate(folder, split, columns=columns):
                picture, regions = read_picture(row["image"]["bytes"]), read_region_map(row["regions"]["bytes"])
                attributes = unpack_attributes(row["attributes"])
                random = np.random.default_rng(zlib.crc32(row["id"].encode()))
                new = [caption.text for caption in compose_prompts(attributes, random, prompts, keep=keep)]
                facts = salient_facts(attributes)
                yield Face(picture, regions, (*new, *row["prompts"]), split == "validation", facts)


def count_faces(folders: Sequence[Path], mirror: bool) -> int:
    """How many faces ``read_faces`` gives; training faces count twice where they are mirrored, too."""
    from limner.data.shards import count_rows

    training, validation = (sum(count_rows(folder, split) for folder in folders) for split in ("train", "validation"))
    return (1 + mirror) * training + validation


class Texts:
    """Different captions, each once, in the order they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, caption: str) -> int:
        """The row the caption has, or gets, in the text arrays."""
        return self.numbers.setdefault(caption, len(self.numbers))


def prepare(
    faces: Iterable[Face],
    rows: int,
    out: Path,
    codec: Encoder,
    encoder: TextEncoder,
    facts: dict[str, str],
    text_length: int = 32,
    captions: int = 6,
    mirror: bool = True,
    palette: bool = False,
    style: str | None = None,
    batch: int = 16,
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Prepared:
    """Write a prepared set to ``out``.

    rows: how many faces there will be, mirrored ones included (``count_faces``). captions: kept per face (P); a face
    with fewer repeats them. mirror: training faces also mirrored (our choice: twice the faces for the price of one
    codec pass). palette: also the latents of the coloured region maps, for models with ``mask_embedding="palette"``.
    style: one of STYLES, for faces drawn in it. facts: goes into the header. Raises ``InputError`` if there is no face,
    or one without captions.
    """
    if rows == 0:
        raise InputError("no faces in these shards: build some with `limner data build`")
    drawn = STYLES[style] if style is not None else lambda picture: picture
    folder = ArrayFolder(out)
    texts, validation, choices = Texts(), np.zeros(rows, bool), np.zeros((rows, captions), np.int32)
    facts_of: list[Mapping[str, Value]] = []
    start = 0
    for group in groups(_both(faces, mirror), batch):
        regions = np.stack([face.regions for face in group])  # (B, H, W)
        made = {"regions": regions, "latents": _encode(codec, np.stack([drawn(face.picture) for face in group]))}
        if palette:
            made["palette"] = _encode(codec, colourise(regions))
        folder.write(made, start, rows)
        for row, face in enumerate(group, start):
            if not face.captions:
                raise InputError("a face has no captions: build the shards again with captions")
            validation[row] = face.validation
            facts_of.append(face.facts)
            numbers = [texts.number(face.captions[i % len(face.captions)]) for i in range(captions)]
            choices[row] = numbers
        start += len(group)
        report("faces", start, rows)
    if start != rows:
        raise InputError(f"{rows} faces were to come, and {start} came: the sets changed meanwhile; prepare again")
    _write_texts(folder, list(texts.numbers), encoder, text_length, report)
    write_empty_prompt(out, encoder, text_length)
    np.save(out / "captions.npy", choices)
    np.save(out / "validation.npy", validation)
    np.save(out / "weights.npy", rarity_weights(facts_of))
    header = {"rows": rows, "captions": len(texts.numbers), "mirrored": mirror, "palette": palette, "style": style}
    folder.finish({**facts, **header})
    return Prepared.open(out)


def _both(faces: Iterable[Face], mirror: bool) -> Iterator[Face]:
    for face in faces:
        yield face
        if mirror and not face.validation:
            yield face.mirrored()


def _write_texts(folder: ArrayFolder, captions: list[str], encoder: TextEncoder, length: int, report) -> None:
    tokens = folder.create("tokens", np.float16, (len(captions), length, encoder.width))
    lengths, pooled = np.zeros(len(captions), np.int32), []
    for start in range(0, len(captions), 64):
        with torch.no_grad():
            features = encoder.encode(captions[start : start + 64], length)
        stop = start + features.tokens.shape[0]
        tokens[start:stop] = (features.tokens * features.mask[:, :, None]).half().numpy()
        lengths[start:stop] = features.mask.sum(1).numpy()
        pooled.append(features.pooled.numpy())
        report("captions", stop, len(captions))
    np.save(folder.folder / "lengths.npy", lengths)
    np.save(folder.folder / "pooled.npy", np.concatenate(pooled).astype(np.float32))


@torch.no_grad()
def _encode(codec: Encoder, pictures: np.ndarray) -> np.ndarray:
    return codec.encode(to_model(pictures)).half().numpy()  # (B, C, h, w)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.mditface.prepare", description=__doc__)
    parser.add_argument("shards", nargs="+", type=Path, help="folders of built shards")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--codec", default="kl-codec-nano", help="registry name or folder of a codec")
    parser.add_argument("--captions", type=int, default=6, help="prompts kept per face")
    parser.add_argument("--salient", type=int, default=0, help="prompts written anew about what people ask for first")
    parser.add_argument("--keep", type=float, default=0.2, help="how likely a new prompt may state each other fact")
    parser.add_argument("--text-length", type=int, default=32, help="text tokens a caption is padded or cut to")
    parser.add_argument("--no-mirror", action="store_true", help="do not add mirrored faces")
    parser.add_argument("--palette", action="store_true", help="also encode the coloured region maps")
    parser.add_argument("--style", choices=sorted(STYLES), help="draw the faces in a style first")
    parser.add_argument("--flux", type=Path, help="FLUX.1 pipeline whose codec and text encoders to use instead")
    given = parser.parse_args(arguments)

    def report(what: str, done: int, total: int) -> None:
        print(f"\r{what} {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    if given.flux is not None:
        source = str(given.flux / "vae")
        encoder, facts = flux_encoder(given.flux, "cpu", torch.float32), {"codec": source, "encoder": str(given.flux)}
    else:
        source = str(given.codec)
        encoder, facts = MiniLM.load(), {"codec": source, "encoder": "minilm"}
    prepare(
        read_faces(given.shards, given.salient, given.keep),
        count_faces(given.shards, not given.no_mirror),
        given.out,
        KLCodec.load(source),
        encoder,
        facts,
        text_length=given.text_length,
        captions=given.captions,
        mirror=not given.no_mirror,
        palette=given.palette or given.flux is not None,
        style=given.style,
        report=report,
    )


if __name__ == "__main__":
    main()

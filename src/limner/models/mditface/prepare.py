"""From built shards to a prepared set: codec latents, region maps and text features, computed once.

    python -m limner.models.mditface.prepare SHARDS... --out FOLDER [--codec kl-codec-nano | --flux FLUX_FOLDER]
    torchrun --nproc-per-node 8 -m limner.models.mditface.prepare …     # the same, by eight processes

Faces are prepared a few at a time, each portion into a shard of its own (`limner.data.preparing`): memory does not
grow with their number, and a preparation that was stopped continues after its last shard.

Legend: n faces of a shard, K different captions of a shard, P captions a face, T text tokens.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from limner.codecs.generator_codec import GeneratorCodec
from limner.codecs.latent_codec import load_latent_codec
from limner.data.groups import groups
from limner.data.pictures import fit
from limner.data.prepared_set import PreparedSet
from limner.data.preparing import Portion, Share, device_of, join, portions, write_shards
from limner.data.sampling_weights import looks_of, rarity_weights
from limner.data.tensor_shards import columns, finish, flatten, pack
from limner.data.texts import CHOICES, missing, texts_of
from limner.errors import InputError
from limner.faces.image_tensors import to_model
from limner.faces.regions import colourise, flip
from limner.faces.styles import STYLES
from limner.words.captions import compose_prompts
from limner.words.encoder import MiniLM, TextEncoder
from limner.words.facts import SALIENT, salient_facts
from limner.words.grammar import Value
from limner.words.mirror import mirror_words
from limner.words.requests import compose_requests

from .loading import flux_text_length

CPU = torch.device("cpu")
LOOKS = sorted(SALIENT)


class Encoder(Protocol):
    """The half of a codec that is needed."""

    def encode(self, pictures: Tensor) -> Any:
        """(B, 3, H, W) in [-1, 1] to latents (B, C, h, w), or to several tensors (a tuple or dict), B first."""
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
    style: np.ndarray | None = None
    """(512,) of a synthetic face, whose latents a generator codec takes from it."""

    def mirrored(self) -> Face:
        """The mirrored face: left and right change places in the regions and in the words."""
        captions = tuple(map(mirror_words, self.captions))
        return Face(self.picture[:, ::-1], flip(self.regions), captions, self.validation, self.facts)


@dataclass(frozen=True)
class Makers:
    """What turns pictures and words into numbers, where, and how many of them.

    text_length: tokens a caption is cut to. captions: kept a face (P); a face with fewer repeats them. mirror: training
    faces also mirrored (our choice: twice the faces). palette: also the latents of the coloured region maps, for models
    with ``mask_embedding="palette"``. style: one of STYLES, for faces drawn in it. live: keep the captions as words, to
    be encoded in training; else their features are kept, as many as a caption has tokens.
    """

    codec: Encoder | GeneratorCodec
    encoder: TextEncoder | None
    text_length: int = 32
    captions: int = 6
    mirror: bool = True
    palette: bool = False
    style: str | None = None
    live: bool = False
    device: torch.device = CPU

    def how(self) -> dict[str, Any]:
        """What decides the shards, besides the networks."""
        names = ("text_length", "captions", "mirror", "palette", "style", "live")
        return {name: getattr(self, name) for name in names}


def read_faces(
    file: Path,
    split: str,
    start: int,
    stop: int,
    prompts: int = 0,
    keep: float = 1.0,
    texts: str = "grammar",
    size: int = 256,
    requests: int = 0,
) -> Iterator[Face]:
    """Faces of one file of a built set.

    texts: "grammar" for the set's prompts, which fit a small text encoder, "carried" for the captions the source
    brought along, "both" for both. First come `requests` texts in the words people type, then `prompts` that keep
    to the salient facts (``keep`` of `compose_prompts`); neither where only carried ones are wanted. size: side of the
    pictures; InputError for smaller ones.
    """
    from limner.data.shards import read_range, unpack_attributes

    wanted = ["id", "image", "regions", "prompts", "captions", "stated", "questions", "attributes", "w"]
    for row in read_range(file, start, stop, wanted):
        picture, regions = fit(row, size)
        attributes = unpack_attributes(row["attributes"])
        random = np.random.default_rng(zlib.crc32(row["id"].encode()))
        count = 0 if texts == "carried" else prompts
        new = [caption.text for caption in compose_prompts(attributes, random, count, keep=keep)] if count else []
        asked = compose_requests(attributes, random, 0 if texts == "carried" else requests)
        words = (*(caption.text for caption in asked), *new, *texts_of(row, texts).prompts)
        if not words:
            raise missing(texts, file, ("captions",) if texts == "carried" else ("prompts",))
        yield Face(picture, regions, words, split == "validation", salient_facts(attributes), row.get("w"))


def make_shard(faces: Iterable[Face], makers: Makers, batch: int = 16) -> tuple[dict[str, Tensor], int]:
    """The tensors of one shard (see `limner.data.prepared_set`), and how many faces they hold."""
    drawn = STYLES[makers.style] if makers.style is not None else lambda picture: picture
    numbers: dict[str, int] = {}
    parts: dict[str, list[Tensor]] = {}
    given: list[Face] = []
    for group in groups(_both(faces, makers.mirror), batch):
        regions = np.stack([face.regions for face in group])  # (B, H, W)
        made = {"regions": torch.from_numpy(regions)}
        made |= _latents(makers, group, drawn)
        if makers.palette:
            made |= _encode("palette", makers, colourise(regions))
        for name, value in made.items():
            parts.setdefault(name, []).append(value)
        given += group
    if not given:
        return {}, 0
    choices = np.zeros((len(given), makers.captions), np.int32)
    for row, face in enumerate(given):
        if not face.captions:
            raise InputError("a face has no captions: build the shards again with captions")
        several = (face.captions[place % len(face.captions)] for place in range(makers.captions))
        choices[row] = [numbers.setdefault(caption, len(numbers)) for caption in several]
    tensors = {name: torch.cat(several) for name, several in parts.items()}
    tensors |= {
        "captions": torch.from_numpy(choices),
        "validation": torch.tensor([face.validation for face in given]),
        "looks": torch.from_numpy(looks_of([face.facts for face in given], LOOKS)),
    }
    return tensors | _texts(list(numbers), makers), len(given)


def _latents(makers: Makers, group: Sequence[Face], drawn: Callable[[np.ndarray], np.ndarray]) -> dict[str, Tensor]:
    """Latents of faces: of their styles, with a generator codec, or of their pictures."""
    if not isinstance(makers.codec, GeneratorCodec):
        return _encode("latents", makers, np.stack([drawn(face.picture) for face in group]))
    styles = [face.style for face in group]
    if makers.style is not None or makers.palette or any(style is None for style in styles):
        raise InputError(
            "a generator codec has latents of synthetic faces only, as they are: prepare sets that were built from "
            "`limner data synth`, without --style and --palette"
        )
    w = torch.from_numpy(np.stack([np.asarray(style, np.float32) for style in styles])).to(makers.device)
    with torch.no_grad():
        return {"latents": makers.codec.encode_style(w).half().cpu()}


def _both(faces: Iterable[Face], mirror: bool) -> Iterator[Face]:
    for face in faces:
        yield face
        if mirror and not face.validation:
            yield face.mirrored()


def _texts(captions: list[str], makers: Makers) -> dict[str, Tensor]:
    """The table of a shard's texts."""
    table = pack("words", [torch.tensor(list(caption.encode("utf-8")), dtype=torch.uint8) for caption in captions])
    if makers.live:
        return table
    assert makers.encoder is not None
    tokens, pooled = [], []
    for group in groups(captions, 64):
        with torch.no_grad():
            features = makers.encoder.encode(group, makers.text_length)
        lengths = features.mask.sum(1).tolist()
        tokens += [row[:length].half().cpu() for row, length in zip(features.tokens, lengths, strict=True)]
        pooled.append(features.pooled.float().cpu())
    return table | pack("tokens", tokens) | {"pooled": torch.cat(pooled)}


@torch.no_grad()
def _encode(name: str, makers: Makers, pictures: np.ndarray) -> dict[str, Tensor]:
    assert not isinstance(makers.codec, GeneratorCodec)
    found = makers.codec.encode(to_model(pictures).to(makers.device))
    return {key: value.half().cpu() for key, value in flatten(name, found).items()}


def prepare(
    given: Sequence[Portion[Face]],
    out: Path,
    makers: Makers,
    facts: dict[str, Any],
    share: Share = Share(),  # noqa: B008 (frozen)
    report: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedSet | None:
    """Write a prepared set to ``out``; None from all processes but the first.

    given: of built sets (``limner.data.preparing.portions``). facts: what the makers are; goes into the header. Raises
    ``InputError`` if there is no face, or one without captions.
    """
    if not given:
        raise InputError("no faces in these shards: build some with `limner data build`")
    how = {**facts, **makers.how()}
    counts = write_shards(given, out, lambda faces, _: make_shard(faces, makers), how, share, report)
    if not share.first:
        return None

    def column(name: str) -> Iterator[np.ndarray]:
        return (part.numpy() for part in columns(out, len(counts), name))

    index = {"validation": np.concatenate(list(column("validation")))}
    index["weights"] = rarity_weights(lambda: column("looks"))
    finish(out, how, counts, index)
    return PreparedSet.open(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.mditface.prepare", description=__doc__)
    parser.add_argument("shards", nargs="+", type=Path, help="folders of built shards")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--codec", default="kl-codec-nano", help="registry name or folder of a codec")
    parser.add_argument("--captions", type=int, default=6, help="captions or prompts kept per face")
    parser.add_argument("--salient", type=int, default=0, help="prompts written anew about what people ask for first")
    parser.add_argument("--requests", type=int, default=0, help="texts in the words people type, new for each face")
    parser.add_argument("--keep", type=float, default=0.2, help="how likely a new prompt may state each other fact")
    parser.add_argument(
        "--text-length", type=int, help="text tokens a caption is cut to; default: 32, of FLUX.1-dev 512, schnell 256"
    )
    parser.add_argument(
        "--texts", choices=CHOICES, default="grammar", help="captions of the source, the grammar's prompts, or both"
    )
    parser.add_argument(
        "--live-text", action="store_true", help="keep captions as words, encoded in training (always with --flux)"
    )
    parser.add_argument("--size", type=int, help="side of the pictures; default: 256, with --flux 512")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument(
        "--no-mirror", action="store_true", help="do not add mirrored faces (never done with a generator codec)"
    )
    parser.add_argument("--palette", action="store_true", help="also encode the coloured region maps")
    parser.add_argument("--style", choices=sorted(STYLES), help="draw the faces in a style first")
    parser.add_argument("--flux", type=Path, help="FLUX.1 pipeline whose codec and text encoders to use instead")
    given = parser.parse_args(arguments)

    def report(done: int, total: int) -> None:
        print(f"\rshards {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    with join() as share:
        device = device_of(given.device)
        if given.flux is not None:
            source, live, length = (
                str(given.flux / "vae"),
                True,
                flux_text_length(given.flux, given.text_length),
            )
            encoder, facts = None, {"codec": source, "encoder": str(given.flux)}
        else:
            source, live, length = str(given.codec), given.live_text, given.text_length or 32
            encoder, facts = MiniLM.load(device=device), {"codec": source, "encoder": "minilm"}
        codec = load_latent_codec(source).to(device)
        makers = Makers(
            codec,
            encoder,
            text_length=length,
            captions=given.captions,
            mirror=not given.no_mirror and not isinstance(codec, GeneratorCodec),
            palette=given.palette or given.flux is not None,
            style=given.style,
            live=live,
            device=device,
        )
        size = given.size or (512 if given.flux is not None else 256)
        load = partial(read_faces, prompts=given.salient, keep=given.keep, texts=given.texts, size=size,
                       requests=given.requests)  # fmt: skip
        words = {
            "texts": given.texts,
            "salient": given.salient,
            "requests": given.requests,
            "keep": given.keep,
            "size": size,
        }
        silent = lambda done, total: None  # noqa: E731
        cut = portions(given.shards, load)
        prepare(cut, given.out, makers, {**facts, **words}, share, report if share.first else silent)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")

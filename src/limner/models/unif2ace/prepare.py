"""From built sets to a prepared set: codes, features and token ids, computed once.

    python -m limner.models.unif2ace.prepare SETS... --codec lfq-codec-nano --out FOLDER
    torchrun --nproc-per-node 8 -m limner.models.unif2ace.prepare …     # the same, by eight processes

Every training face is stored twice, as it is and mirrored. The prompts of generation describe what the face's codes
show (recaption.py). Questions and answers are those of the set, many questions rephrased (`limner.words.rephrase`).
Faces are prepared in portions, each stored as a shard (`limner.data.preparing`). Memory does not grow with their
number, and a preparation that was stopped continues after its last shard.

Legend: F faces, N image tokens.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from limner.codecs.discrete import LFQCodec
from limner.data.pictures import fit
from limner.data.preparing import Portion, Share, device_of, join, portions, write_shards
from limner.data.sampling_weights import looks_of, rarity_weights
from limner.data.tensor_shards import columns, finish
from limner.data.texts import CHOICES, COLUMNS, missing, texts_of
from limner.errors import InputError
from limner.faces.image_tensors import to_model
from limner.faces.reader import FaceReader
from limner.weights.fingerprint import weights_hash
from limner.words.captions import compose_prompts
from limner.words.facts import SALIENT, salient_facts
from limner.words.foils import FOILED_AS, FoilPair, compose_foils
from limner.words.grammar import Value
from limner.words.mirror import mirror_words
from limner.words.rephrase import rephrase, rephrased_as

from .caption_instructions import LONG, SHORT
from .encoders import CLIP, FACE, load_encoder, move_encoder
from .features import FeatureEncoder
from .prepared import FOILS, SHOWN, PreparedConversations, count_texts, pad_texts
from .recaption import KEEP, SHOWN_AS, Decoder, Shown, recaption
from .tokenizer import Tokenizer

CPU = torch.device("cpu")
PAIRS = 4
"""True prompts with a foil, a face."""

Report = Callable[[int, int], None]
"""(parts done, parts in all)."""


class Codec(Decoder, Protocol):
    """What of a discrete codec is needed."""

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to codes (B, N)."""
        ...


@dataclass(frozen=True)
class Face:
    """What of a built set's row is needed: the aligned picture (H, W, 3), its words, its split."""

    picture: np.ndarray
    captions: tuple[str, ...]
    prompts: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    validation: bool
    looks: Mapping[str, Value]
    """The salient facts."""
    seed: int = 0
    """Of words that are written anew."""
    mirror: bool = False
    """Whether this is the mirror image of the face before."""

    def mirrored(self) -> Face:
        """The mirrored face: left and right change places in the words, too."""
        return replace(
            self,
            picture=np.ascontiguousarray(self.picture[:, ::-1]),
            captions=tuple(map(mirror_words, self.captions)),
            prompts=tuple(map(mirror_words, self.prompts)),
            questions=tuple((mirror_words(q), mirror_words(a)) for q, a in self.questions),
            mirror=not self.mirror,
        )


@dataclass(frozen=True)
class PrepareModels:
    """What turns pictures and words into numbers. reader: of what the codes show; without it the words of a set serve
    for painting, too."""

    codec: Codec
    clip: FeatureEncoder
    face: FeatureEncoder
    tokenizer: Tokenizer
    reader: FaceReader | None = None
    device: torch.device = CPU


def read_faces(
    file: Path, split: str, start: int, stop: int, mirror: bool, salient: int = 0, texts: str = "both", size: int = 256
) -> Iterator[Face]:
    """Faces of one file of a built set; training faces are followed by their mirror images.

    salient: new prompts before the set's own that mostly keep to the salient facts, those that people ask for. texts:
    the source's own ("carried"), the grammar's, or both; of carried ones alone, questions may be missing.
    """
    from limner.data.shards import read_range, unpack_attributes

    validation = split == "validation"
    for row in read_range(file, start, stop, ["id", "image", "attributes", *COLUMNS]):
        said = texts_of(row, texts)
        seed, attributes = zlib.crc32(row["id"].encode()), unpack_attributes(row["attributes"])
        count = 0 if texts == "carried" else salient
        new = compose_prompts(attributes, np.random.default_rng(seed), count, keep=KEEP) if count else []
        words = said.captions, (*(caption.text for caption in new), *said.prompts)
        picture, looks = fit(row, size, regions=False)[0], salient_facts(attributes)
        face = Face(picture, *words, said.questions, validation, looks, seed)
        if not (face.captions and face.prompts and (face.questions or texts == "carried")):
            raise missing(texts, file, ("captions",) if texts == "carried" else ("captions", "prompts", "questions"))
        yield face
        if mirror and not validation:
            yield face.mirrored()


def make_part(faces: Sequence[Face], makers: PrepareModels, batch: int = 16, salient: int = 0) -> dict[str, Tensor]:
    """The tensors of ``Prepared`` for some faces, requests left out."""
    codes, clip, face = [], [], []
    for start in range(0, len(faces), batch):
        pictures = to_model(np.stack([face.picture for face in faces[start : start + batch]])).to(makers.device)
        with torch.no_grad():
            codes.append(makers.codec.encode(pictures).to(torch.int32).cpu())
            clip.append(makers.clip.encode(pictures).half().cpu())
            face.append(makers.face.encode(pictures).half().cpu())
    looks = [face.looks for face in faces]
    ids, texts = makers.tokenizer.encode, {}
    if makers.reader is not None:
        shown = _shown(faces, torch.cat(codes), makers, batch, salient)
        looks = [found.looks for found in shown]
        texts = {name: [ids(getattr(found, part)) for found in shown] for name, part in SHOWN.items()}
    texts |= {
        "captions": [ids(each.captions) for each in faces],
        "prompts": [ids(each.prompts) for each in faces],
        "questions": [[makers.tokenizer.question(q) for q in _rephrased(each)] for each in faces],
        "answers": [ids([a for _, a in each.questions]) for each in faces],
    }
    texts |= {name: [ids(some) for some in several] for name, several in zip(FOILS, _foils(faces, looks))}
    return {
        "codes": torch.cat(codes),
        "clip": torch.cat(clip),
        "face": torch.cat(face),
        **{name: pad_texts(several) for name, several in texts.items()},
        "validation": torch.tensor([each.validation for each in faces]),
        "looks": torch.from_numpy(looks_of(looks, sorted(SALIENT))),
    }


def _shown(faces: Sequence[Face], codes: Tensor, makers: PrepareModels, batch: int, salient: int) -> list[Shown]:
    """What the codes (F, N) of faces show; the face's own words where that cannot be read, and of mirror images the
    mirrored words of the picture."""
    assert makers.reader is not None
    plain = [k for k, face in enumerate(faces) if not face.mirror]
    shown: list[Shown] = [Shown(face.captions, face.prompts, face.looks) for face in faces]
    for start in range(0, len(plain), batch):
        some = plain[start : start + batch]
        seeds = [faces[k].seed for k in some]
        found = recaption(makers.codec, makers.reader, codes[some].to(makers.device), seeds, salient)
        for k, read in zip(some, found, strict=True):
            shown[k] = read or shown[k]
    for k, face in enumerate(faces):
        if face.mirror:
            shown[k] = shown[k - 1].mirrored()
    return shown


def _foils(faces: Sequence[Face], looks: Sequence[Mapping[str, Value]]) -> tuple[list[list[str]], list[list[str]]]:
    """True prompts of faces with these looks, and their foils; a mirror image's are those of the picture."""
    pairs: list[list[FoilPair]] = []
    for face, look in zip(faces, looks, strict=True):
        if face.mirror:
            pairs.append(pairs[-1])
        else:
            pairs.append(compose_foils(look, np.random.default_rng([face.seed, 1]), PAIRS))
    return [[pair.text for pair in some] for some in pairs], [[pair.foil for pair in some] for some in pairs]


def _rephrased(face: Face) -> list[str]:
    """The questions on a face, many in other words than the set's."""
    random = np.random.default_rng([face.seed, 2, face.mirror])
    return [rephrase(question, random) for question, _ in face.questions]


def prepare(
    given: Sequence[Portion[Face]],
    out: Path,
    makers: PrepareModels,
    made: dict[str, Any],
    salient: int = 0,
    share: Share = Share(),  # noqa: B008 (frozen)
    report: Report = lambda done, total: None,
) -> PreparedConversations | None:
    """Write a prepared set to the folder ``out`` and return it; None from all processes but the first.

    given: of built sets (``limner.data.preparing.portions``). made: what the makers are; shards that others made are
    made again. Raises ``InputError`` where there is no face.
    """
    if not given:
        raise InputError("there are no faces in these sets: build some with `limner data build`")
    how = {**made, "salient": salient, "foils": [PAIRS, FOILED_AS], "questions": rephrased_as()}

    def make(faces: list[Face], first: int) -> tuple[dict[str, Tensor], int]:
        return make_part(faces, makers, salient=salient), len(faces)

    counts = write_shards(given, out, make, how, share, report)
    if not share.first:
        return None
    index = {"validation": np.concatenate([part.numpy() for part in columns(out, len(counts), "validation")])}
    index["foils"] = np.concatenate([count_texts(part) for part in columns(out, len(counts), "foils")])
    index["weights"] = rarity_weights(lambda: (part.numpy() for part in columns(out, len(counts), "looks")))
    for name, requests in (("ask_long", LONG), ("ask_short", SHORT)):
        index[name] = pad_texts([[makers.tokenizer.question(request)] for request in requests])[:, 0].numpy()
    finish(out, {**how, "faces": sum(counts), "model": _sizes(makers, out, len(counts))}, counts, index)
    return PreparedConversations.open(out)


def _sizes(makers: PrepareModels, out: Path, shards: int) -> dict[str, int]:
    """The fields of UniF2aceConfig that this set decides."""
    codec, codes = makers.codec, next(columns(out, shards, "codes"))
    if isinstance(codec, LFQCodec):
        codebook = codec.config.codebook
    else:
        codebook = max(int(part.max()) for part in columns(out, shards, "codes")) + 1
    return {
        "text_vocabulary": makers.tokenizer.size,
        "codebook": codebook,
        "image_tokens": codes.shape[1],
        "clip_width": makers.clip.width,
        "face_width": makers.face.width,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.unif2ace.prepare", description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path, help="folders that `limner data build` made")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--codec", default="lfq-codec-nano", help="registry name or folder of a discrete codec")
    parser.add_argument("--tokenizer", default="unif2ace-words", help="registry name or folder with tokenizer.json")
    parser.add_argument("--clip", default=CLIP, help="semantic features: a registry name, or a CLIP model's folder")
    parser.add_argument(
        "--face", default=FACE, help="identity features: face-features, face-identity, or an ArcFace .onnx file"
    )
    parser.add_argument(
        "--salient",
        type=int,
        default=8,
        help="new prompts a face that keep to the salient facts: age, hair, glasses, … (default: %(default)s)",
    )
    parser.add_argument(
        "--own-words", action="store_true", help="paint by the set's words, not by words about what the codes show"
    )
    parser.add_argument("--no-mirror", action="store_true", help="do not add mirrored faces")
    parser.add_argument("--texts", choices=CHOICES, default="both", help="the source's own, the grammar's, or both")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    given = parser.parse_args(arguments)

    def report(done: int, total: int) -> None:
        print(f"\rshards {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    with join() as share:
        device = device_of(given.device)
        codec, tokenizer = LFQCodec.load(given.codec).to(device), Tokenizer.load(given.tokenizer)
        own_words = given.own_words or given.texts == "carried"
        reader = None if own_words else FaceReader.load()
        clip, face = (load_encoder(given.clip, "clip"), load_encoder(given.face, "face"))
        for encoder in (clip, face):
            move_encoder(encoder, device)
        makers = PrepareModels(codec, clip, face, tokenizer, reader, device)
        made = {"codec": given.codec, "tokenizer": given.tokenizer, "clip": given.clip, "face": given.face}
        made |= {"codec_hash": weights_hash(codec.encoder), "tokenizer_hash": tokenizer.hash}
        made |= {"texts": given.texts, "mirror": not given.no_mirror, "size": given.size}
        if reader is not None:
            made |= {"shown": SHOWN_AS, "decoder_hash": weights_hash(codec.decoder)}
        load = partial(
            read_faces, mirror=not given.no_mirror, salient=given.salient, texts=given.texts, size=given.size
        )
        silent = lambda done, total: None  # noqa: E731
        prepared = prepare(
            portions(given.sets, load), given.out, makers, made, given.salient, share, report if share.first else silent
        )
    if prepared is not None:
        faces, unseen = prepared.header["faces"], len(prepared.rows(validation=True))
        print(f"{faces} faces, {unseen} of them for validation, in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")

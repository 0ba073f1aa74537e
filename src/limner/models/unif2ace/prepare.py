"""From built sets to a prepared set: codes, features and token ids, computed once.

    python -m limner.models.unif2ace.prepare SETS... --codec lfq-codec-nano --out FOLDER

Every training face is there twice, as it is and mirrored. The words a face is painted by are about what its codes show
(shown.py); those it is asked about are the set's, many questions in other words (`limner.words.rephrase`). Each file of
a built set becomes one part in FOLDER/parts; a run that was stopped goes on after the last whole part. At the end the
parts become FOLDER/set.safetensors.

Legend: F faces, N image tokens.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from limner.codecs.discrete import LFQCodec
from limner.data.balance import rarity_weights
from limner.errors import InputError
from limner.faces.batches import to_model
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader
from limner.files import make_folder
from limner.weights.fingerprint import weights_hash
from limner.weights.registry import hash_file
from limner.weights.tensors import load_tensors, save_tensors
from limner.words.captions import compose_prompts
from limner.words.facts import SALIENT, salient_facts
from limner.words.foils import FOILED_AS, Foiled, compose_foils
from limner.words.grammar import Value
from limner.words.mirror import mirror_words
from limner.words.rephrase import rephrase, rephrased_as

from .encoders import CLIP, FACE, load_encoder
from .features import FeatureEncoder
from .prepared import ABSENT, FILE, FOILS, SHOWN, TEXTS, Prepared, pad_texts
from .requests import LONG, SHORT
from .shown import KEEP, SHOWN_AS, Decoder, Shown, read_shown
from .tokenizer import Tokenizer

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
class Makers:
    """What turns pictures and words into numbers. reader: of what the codes show; without it the words of a set serve
    for painting, too."""

    codec: Codec
    clip: FeatureEncoder
    face: FeatureEncoder
    tokenizer: Tokenizer
    reader: FaceReader | None = None


def read_faces(file: Path, mirror: bool, salient: int = 0) -> Iterator[Face]:
    """The faces of one file of a built set; training faces are followed by their mirror images.

    salient: new prompts before the set's own that mostly keep to the salient facts, those that people ask for.
    """
    from limner.data.shards import read_rows, unpack_attributes

    validation = file.name.startswith("validation")
    for row in read_rows(file, None, ["id", "image", "captions", "prompts", "questions", "attributes"]):
        asked = tuple((q["question"], q["answer"]) for q in row["questions"])
        seed, attributes = zlib.crc32(row["id"].encode()), unpack_attributes(row["attributes"])
        new = compose_prompts(attributes, np.random.default_rng(seed), salient, keep=KEEP)
        words = tuple(row["captions"]), (*(caption.text for caption in new), *row["prompts"])
        face = Face(read_picture(row["image"]["bytes"]), *words, asked, validation, salient_facts(attributes), seed)
        if not (face.captions and face.prompts and face.questions):
            raise InputError(f"{file} has a face without captions, prompts or questions: build the set again with them")
        yield face
        if mirror and not validation:
            yield face.mirrored()


def make_part(faces: Sequence[Face], makers: Makers, batch: int = 16, salient: int = 0) -> dict[str, Tensor]:
    """The tensors of ``Prepared`` for some faces, requests left out."""
    codes, clip, face = [], [], []
    for start in range(0, len(faces), batch):
        pictures = to_model(np.stack([face.picture for face in faces[start : start + batch]]))
        with torch.no_grad():
            codes.append(makers.codec.encode(pictures).to(torch.int32))
            clip.append(makers.clip.encode(pictures).half())
            face.append(makers.face.encode(pictures).half())
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
        "looks": torch.tensor([[_told(look.get(name)) for name in sorted(SALIENT)] for look in looks]),
    }


def _shown(faces: Sequence[Face], codes: Tensor, makers: Makers, batch: int, salient: int) -> list[Shown]:
    """What the codes (F, N) of faces show; the face's own words where that cannot be read, and of mirror images the
    mirrored words of the picture."""
    assert makers.reader is not None
    plain = [k for k, face in enumerate(faces) if not face.mirror]
    shown: list[Shown] = [Shown(face.captions, face.prompts, face.looks) for face in faces]
    for start in range(0, len(plain), batch):
        some = plain[start : start + batch]
        found = read_shown(makers.codec, makers.reader, codes[some], [faces[k].seed for k in some], salient)
        for k, read in zip(some, found, strict=True):
            shown[k] = read or shown[k]
    for k, face in enumerate(faces):
        if face.mirror:
            shown[k] = shown[k - 1].mirrored()
    return shown


def _foils(faces: Sequence[Face], looks: Sequence[Mapping[str, Value]]) -> tuple[list[list[str]], list[list[str]]]:
    """True prompts of faces with these looks, and their foils; a mirror image's are those of the picture."""
    pairs: list[list[Foiled]] = []
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


def _told(value: Value | None) -> int:
    """A number for a fact's value, to tell it from others by; 0 where there is none."""
    return 0 if value is None else zlib.crc32(str(value).encode()) or 1


def prepare(
    files: Sequence[Path],
    out: Path,
    makers: Makers,
    made: dict[str, Any],
    mirror: bool = True,
    salient: int = 0,
    report: Report = lambda done, total: None,
) -> Prepared:
    """Write a prepared set to the folder ``out`` and return it.

    files: of built sets. made: what the makers are; parts that others made are made again. Raises ``InputError`` where
    there is no face.
    """
    if not files:
        raise InputError("there are no faces in these sets: build some with `limner data build`")
    parts, how = [], {**made, "mirror": mirror, "salient": salient}
    how |= {"foils": [PAIRS, FOILED_AS], "questions": rephrased_as()}
    make_folder(out)
    report(0, len(files))
    for number, file in enumerate(files):
        part = out / "parts" / f"{number:05d}-{file.stem}.safetensors"
        facts = {**how, "of": hash_file(file)}
        if not (part.is_file() and load_tensors(part)[1] == facts):
            save_tensors(part, make_part(list(read_faces(file, mirror, salient)), makers, salient=salient), facts)
        parts.append(part)
        report(number + 1, len(files))
    tensors = _joined([load_tensors(part)[0] for part in parts])
    for name, requests in (("ask_long", LONG), ("ask_short", SHORT)):
        tensors[name] = pad_texts([[makers.tokenizer.question(request)] for request in requests])[:, 0]
    looks = [dict(zip(sorted(SALIENT), row)) for row in tensors.pop("looks").tolist()]
    known = [{name: value for name, value in look.items() if value} for look in looks]
    tensors["weights"] = torch.from_numpy(rarity_weights(known))
    header = {**how, "faces": len(tensors["codes"]), "model": _sizes(makers, tensors)}
    prepared = Prepared(tensors, header)
    prepared.save(out / FILE)
    return prepared


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Parts one after another, texts padded to the longest of all."""
    joined = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if name in (*TEXTS, *SHOWN, *FOILS):
            most, longest = (max(t.shape[d] for t in tensors) for d in (1, 2))
            pads = [(0, longest - t.shape[2], 0, most - t.shape[1]) for t in tensors]
            tensors = [torch.nn.functional.pad(t, pad, value=ABSENT) for t, pad in zip(tensors, pads)]
        joined[name] = torch.cat(tensors)
    return joined


def _sizes(makers: Makers, tensors: dict[str, Tensor]) -> dict[str, int]:
    """The fields of UniF2aceConfig that this set decides."""
    codec = makers.codec
    codebook = codec.config.codebook if isinstance(codec, LFQCodec) else int(tensors["codes"].max()) + 1
    return {
        "text_vocabulary": makers.tokenizer.size,
        "codebook": codebook,
        "image_tokens": tensors["codes"].shape[1],
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
    given = parser.parse_args(arguments)

    from limner.data.shards import shard_files

    def report(done: int, total: int) -> None:
        print(f"\rparts {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    codec, tokenizer = LFQCodec.load(given.codec), Tokenizer.load(given.tokenizer)
    reader = None if given.own_words else FaceReader.load()
    makers = Makers(codec, load_encoder(given.clip, "clip"), load_encoder(given.face, "face"), tokenizer, reader)
    made = {"codec": given.codec, "tokenizer": given.tokenizer, "clip": given.clip, "face": given.face}
    made |= {"codec_hash": weights_hash(codec.encoder), "tokenizer_hash": tokenizer.hash}
    if reader is not None:
        made |= {"shown": SHOWN_AS, "decoder_hash": weights_hash(codec.decoder)}
    files = [file for folder in given.sets for split in ("train", "validation") for file in shard_files(folder, split)]
    prepared = prepare(files, given.out, makers, made, not given.no_mirror, given.salient, report)
    faces, unseen = prepared.header["faces"], len(prepared.rows(validation=True))
    print(f"{faces} faces, {unseen} of them for validation, in {given.out / FILE}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")

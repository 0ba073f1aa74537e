"""Words ↔ token ids, and the command that learns the nano vocabulary from the words of built sets.

    python -m limner.models.unif2ace.tokenizer SETS... --out FOLDER [--size 4096]

Byte-level byte-pair encoding: every text has ids, and the ids give the text back. Phi-1.5's tokenizer.json, of the same
kind, is read by the same class.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from limner.errors import InputError
from limner.files import atomic_write, make_folder
from limner.weights.registry import hash_file
from limner.weights.store import locate

from .caption_instructions import LONG, SHORT
from .sequence import question_text

FILE = "tokenizer.json"
MARKS = ("<sot>", "<eot>")
"""Start and end of text at nano: ids 0 and 1, as `UniF2aceConfig` has them by default."""


class Tokenizer:
    """Ids of texts, without start and end of text, and texts of ids."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        from tokenizers import Tokenizer as Reader

        self._reader = Reader.from_file(os.fspath(file))
        self._reader.no_padding()
        self._reader.no_truncation()
        self._reader.encode_special_tokens = True  # a mark that someone types is no mark
        self.hash = hash_file(Path(file))[:16]

    @classmethod
    def load(cls, source: str | os.PathLike[str] = "unif2ace-words") -> Tokenizer:
        """From a registry name, a tokenizer.json, or a folder with one. ``InputError`` where there is none."""
        place = locate(source)
        file = place / FILE if place.is_dir() else place
        if not file.is_file():
            raise InputError(f"{place} holds no {FILE}: give a folder with one, or a name from `limner models list`")
        return cls(file)

    @property
    def size(self) -> int:
        """How many ids there are; ids go from 0 to one less."""
        return self._reader.get_vocab_size()

    def id_of(self, token: str) -> int:
        """The id of one token as it is written in the vocabulary, marks included. ``InputError`` for none."""
        found = self._reader.token_to_id(token)
        if found is None:
            raise InputError(f"this tokenizer has no token {token!r}: its files belong to different models")
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return [found.ids for found in self._reader.encode_batch(list(texts), add_special_tokens=False)]

    def question(self, question: str) -> list[int]:
        """Ids of a question as a model is asked it, start of text left out."""
        return self.encode([question_text(question)])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; marks leave none. Bytes that are no whole character yet become U+FFFD."""
        return self._reader.decode(list(ids), skip_special_tokens=True)


class TextStream:
    """Text that grows with its tokens: ``add`` gives what is new and whole, so nothing is ever taken back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0

    def add(self, token: int) -> str:
        """What ``token`` adds; "" while it is only a part of a character."""
        self._ids.append(token)
        text = self.tokenizer.decode(self._ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new, self._shown = text[self._shown :], len(text)
        return new


def learn(texts: Iterable[str], size: int, out: Path) -> int:
    """Learn a vocabulary of at most ``size`` ids and write it to ``out/tokenizer.json``; returns how many there are.

    The same texts in the same order give the same file. ``InputError`` for a size too small for the 256 bytes.
    """
    from tokenizers import Tokenizer as Reader
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    if not 300 <= size <= 65_536:
        raise InputError(f"--size {size}: choose 300 to 65536 (256 bytes, two marks, and words)")
    reader = Reader(models.BPE())
    reader.normalizer = normalizers.NFC()  # pyright: ignore[reportAttributeAccessIssue]
    reader.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    reader.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reader.train_from_iterator(texts, trainer)
    make_folder(out)
    with atomic_write(out / FILE) as temporary:
        reader.save(str(temporary))
    return reader.get_vocab_size()


def words_of(folders: Sequence[Path], report=lambda done: None) -> Iterator[str]:
    """Captions, prompts, questions and answers of the training and validation faces of built sets."""
    from limner.data.shards import iterate

    yield from map(question_text, LONG + SHORT)
    done = 0
    for folder in folders:
        for split in ("train", "validation"):
            for row in iterate(folder, split, columns=["captions", "prompts", "questions"]):
                yield from row["captions"]
                yield from row["prompts"]
                for asked in row["questions"]:
                    yield question_text(asked["question"])
                    yield asked["answer"]
                done += 1
                report(done)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.unif2ace.tokenizer", description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path, help="folders that `limner data build` made")
    parser.add_argument("--out", type=Path, required=True, help="folder to write tokenizer.json to")
    parser.add_argument("--size", type=int, default=4096, help="most ids")
    given = parser.parse_args(arguments)

    def report(done: int) -> None:
        print(f"\r{done} faces read", end="", file=sys.stderr, flush=True)

    size = learn(words_of(given.sets, report), given.size, given.out)
    print(f"\n{size} ids in {given.out / FILE}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")

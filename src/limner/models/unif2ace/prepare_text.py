"""Plain text for the batches that keep a language model's skill: tokenised once, in shards.

    python -m limner.models.unif2ace.prepare_text FILES… --tokenizer phi-1_5/ --out FOLDER [--length 381]

FILES: .txt (a document a paragraph), .jsonl or .parquet with the text of a document in the column `content` (as
RefinedWeb, which Show-o was trained on [S], has it) or `text`. Each row is [sot] document [eot], cut to --length.
The recipe of a UniF²ace names FOLDER in `text`; its loss counts a tenth [S].
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from limner.data.groups import groups
from limner.data.tensor_shards import finish, shard_rows, write_shard
from limner.errors import InputError
from limner.json_lines import parse_object
from limner.weights.registry import hash_file

from .prepared import ABSENT
from .tokenizer import Tokenizer

COLUMNS = ("content", "text")
ROWS = 4096  # documents a shard
LENGTH = 381
"""Tokens of a row, start and end included: the length of a painting of 256 image tokens and 123 words."""


def read_documents(file: Path) -> Iterator[str]:
    """The documents of a file, one by one. Raises InputError for a file of another kind or without their column."""
    if file.suffix == ".txt":
        kept: list[str] = []
        with file.open(encoding="utf-8") as lines:
            for line in (*lines, ""):
                if line.strip():
                    kept.append(line.strip())
                elif kept:
                    yield " ".join(kept)
                    kept = []
    elif file.suffix == ".jsonl":
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                record = parse_object(line, f"{file}, line {number}")
                yield str(record[_column(file, list(record))])
    elif file.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as table:
            column = _column(file, table.schema_arrow.names)
            for batch in table.iter_batches(256, columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text)
    else:
        raise InputError(f"{file}: plain text comes as .txt, .jsonl or .parquet")


def _column(file: Path, names: Sequence[str]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise InputError(f"{file} has no column {' or '.join(COLUMNS)}, but {', '.join(names)}")


def make_rows(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> Tensor:
    """Documents as token ids (D, length - 2), cut to make room for start and end; ``ABSENT`` after the last."""
    rows = torch.full((len(texts), length - 2), ABSENT, dtype=torch.int32)
    for row, ids in enumerate(tokenizer.encode(list(texts))):
        cut = ids[: length - 2]
        rows[row, : len(cut)] = torch.tensor(cut, dtype=torch.int32)
    return rows


def prepare_text(files: Sequence[Path], out: Path, tokenizer: Tokenizer, length: int = LENGTH) -> int:
    """Write the documents of some files to shards in ``out``; returns how many there are. Continues a stopped run."""
    how = {"tokenizer_hash": tokenizer.hash, "length": length, "files": [hash_file(file) for file in files]}
    counts: list[int] = []
    for number, texts in enumerate(groups((text for file in files for text in read_documents(file)), ROWS)):
        if shard_rows(out, number, how) is None:
            write_shard(out, number, {"ids": make_rows(texts, tokenizer, length)}, len(texts), how)
        counts.append(len(texts))
    if not counts:
        raise InputError("there is no text in these files")
    finish(out, how, counts, {})
    return sum(counts)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m limner.models.unif2ace.prepare_text", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help=".txt, .jsonl or .parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--tokenizer", default="unif2ace-words", help="registry name or folder with tokenizer.json")
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens of a row (default: %(default)s)")
    given = parser.parse_args(arguments)
    if given.length < 4:
        raise InputError(f"--length {given.length}: at least 4")
    count = prepare_text(given.files, given.out, Tokenizer.load(given.tokenizer), given.length)
    print(f"{count:,} documents in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")

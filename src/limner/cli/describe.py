"""Verbs `describe`, `ask` and `chat`: faces in photographs, in words."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.models.unif2ace.answers import Answer, EncodedPhoto
    from limner.models.unif2ace.engine import UniF2ace

Engine = Annotated[str, typer.Option(help="UniF²ace weights: a registry name, a weight file or a folder.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="Precision: auto, bf16 or fp32.")]
Streamed = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Print text while it is generated. Default: on in a terminal."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON: one object for one photo, one line per photo for several.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV: file, position, box, question, answer.")]
Temperature = Annotated[float, typer.Option(min=0, help="Sampling temperature; 0 is greedy decoding.")]
TopK = Annotated[int | None, typer.Option(min=1, help="Sample from the k most likely tokens.")]
TopP = Annotated[
    float,
    typer.Option(
        min=0.01, max=1, help="Nucleus sampling: sample from the most likely tokens up to this total probability."
    ),
]
NoRepeatNgramSize = Annotated[int, typer.Option(min=0, help="Do not repeat n-grams of this size; 0 allows repetition.")]
Limit = Annotated[int, typer.Option(min=1, max=4096, help="Maximum tokens per answer.")]
Seed = Annotated[int, typer.Option(help="Random seed for temperatures above 0.")]
AT_ONCE = 8  # photos read before they are asked in one batch


def describe(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photographs, or folders of them.")],
    length: Annotated[
        str,
        typer.Option(
            help="long: several sentences; short: one sentence; full: every attribute the model is confident about."
        ),
    ] = "long",
    stream: Streamed = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    no_repeat_ngram_size: NoRepeatNgramSize = 5,
    limit: Limit = 200,
    seed: Seed = 0,
    engine: Engine = "unif2ace-nano",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Describe the faces in photographs. With several faces, each one is named by its position.

    The wording of full descriptions comes from a grammar; --seed changes it. --json adds the probability of every
    attribute. Unusable files are reported on standard error, the others are processed, and the exit code is 2.
    """
    from limner.models.unif2ace.caption_instructions import request

    settings = {"limit": limit, "sampling": _sampling(temperature, top_k, top_p, no_repeat_ngram_size), "seed": seed}
    _answer_all(photos, [request(length)], engine, device, precision, stream, as_json, as_csv, settings, length)


def ask(
    photos: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photograph, or a folder of them.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION…", help='For example "Is she smiling?".')],
    stream: Streamed = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    no_repeat_ngram_size: NoRepeatNgramSize = 5,
    limit: Limit = 60,
    seed: Seed = 0,
    engine: Engine = "unif2ace-nano",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Ask questions about the faces in photographs. Questions are independent; use `chat` for a conversation."""
    settings = {"limit": limit, "sampling": _sampling(temperature, top_k, top_p, no_repeat_ngram_size), "seed": seed}
    _answer_all([photos], questions, engine, device, precision, stream, as_json, as_csv, settings)


def chat(
    photo: Annotated[Path, typer.Argument(help="A photograph.")],
    stream: Streamed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each answer as a line of JSON.")] = False,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    no_repeat_ngram_size: NoRepeatNgramSize = 5,
    limit: Limit = 200,
    seed: Seed = 0,
    engine: Engine = "unif2ace-nano",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Chat about a photograph: one question per line, until an empty line or the end of input."""
    model, talks = _load(engine, device, precision), []
    look = model.encode_photo(photo)
    streamed = not as_json and _is_streamed(stream)
    for k, part in enumerate(look.split() if streamed else [look]):  # several faces one after the other
        sampling = _sampling(temperature, top_k, top_p, no_repeat_ngram_size)
        talks.append(model.chat(part, limit=limit, sampling=sampling, seed=seed + k))
    for question in _lines():
        for talk in talks:
            if streamed:
                _name(talk.look, look)
                talk.ask(question, stream=_show)
                print(flush=True)
                continue
            answer = talk.ask(question)
            print(json.dumps(answer.to_dict(), ensure_ascii=False) if as_json else answer.text, flush=True)


def _answer_all(
    photos: list[Path],
    questions: list[str],
    engine: str,
    device: str,
    precision: str,
    stream: bool | None,
    as_json: bool,
    as_csv: bool,
    settings: dict,
    length: str = "",
) -> None:
    """Ask every question about every photo and print the answers. length: of descriptions, which the question asks."""
    from limner.cli.input_photos import Refused, named_photos
    from limner.cli.progress_bar import each

    if as_json and as_csv:
        raise InputError("--json and --csv are alternatives: choose one")
    files = list(named_photos(photos))
    model = _load(engine, device, precision)
    plain = not as_json and not as_csv
    streamed = plain and len(files) == 1 and length != "full" and _is_streamed(stream)
    whole = len(photos) == 1 and not photos[0].is_dir()  # one object, for people to read as well
    refused = Refused()
    table = csv.writer(sys.stdout, lineterminator="\n")
    if as_csv:
        table.writerow(["file", "position", "x1", "y1", "x2", "y2", "question", "answer"])
    size = 1 if streamed else AT_ONCE
    for group in each([files[start : start + size] for start in range(0, len(files), size)], "answering"):
        looks = {}
        for file in group:
            look = refused.unless(file, partial(model.encode_photo, file))
            if look is not None:
                looks[file] = look
        if not looks:
            continue
        if streamed:
            (look,) = looks.values()
            _stream(model, look, questions, settings)
            continue
        if length:
            answers = [model.describe_each(list(looks.values()), length, **settings)]
        else:
            answers = [model.ask_each(list(looks.values()), question, **settings) for question in questions]
        for file, found in zip(looks, zip(*answers, strict=True), strict=True):
            if as_json:
                said_of = {"file": str(file), "answers": [answer.to_dict() for answer in found]}
                print(json.dumps(said_of, indent=2 if whole else None, ensure_ascii=False))
            elif as_csv:
                table.writerows(_csv_rows(file, found))
            else:
                _print(file if len(files) > 1 else None, found, len(questions) > 1)
            sys.stdout.flush()
    refused.finish()


def _load(engine: str, device: str, precision: str) -> UniF2ace:
    from limner.models.unif2ace.engine import UniF2ace

    return UniF2ace.load(engine, device=device, precision=precision)


def _sampling(temperature: float, top_k: int | None, top_p: float, no_repeat_ngram_size: int):
    from limner.models.unif2ace.generation import SamplingParams

    return SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, no_repeat_ngram_size=no_repeat_ngram_size)


def _stream(model: UniF2ace, look: EncodedPhoto, questions: list[str], settings: dict) -> None:
    """One face's words as they come; several faces one after the other, so that their lines do not mix."""
    for question in questions:
        if len(questions) > 1:
            print(question)
        for k, alone in enumerate(look.split()):
            _name(alone, look)
            model.ask(alone, question, **{**settings, "seed": settings["seed"] + k}, stream=_show)
            print()


def _is_streamed(asked: bool | None) -> bool:
    return sys.stdout.isatty() if asked is None else asked


def _name(alone: EncodedPhoto, among: EncodedPhoto) -> None:
    """The name of a face whose words follow, where there are several."""
    if among.count > 1:
        print(f"{alone.positions[0]}: ", end="")


def _show(face: int, text: str) -> None:
    print(text, end="", flush=True)


def _print(file: Path | None, answers: tuple[Answer, ...], said: bool) -> None:
    if file is not None:
        print(f"{file}:")
    for answer in answers:
        if said:
            print(answer.question)
        print(answer.text)


def _csv_rows(file: Path, answers: tuple[Answer, ...]) -> list[list[str | float]]:
    return [
        [str(file), face.position, *(round(edge, 1) for edge in face.box), answer.question, face.text]
        for answer in answers
        for face in answer.faces
    ]


def _lines() -> Iterator[str]:
    """Questions from standard input, with a prompt where that is a terminal."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if not line.strip():
            return
        yield line

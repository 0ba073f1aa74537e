"""Public face data sets in the layouts in which their users have them on disk, as sources of a build.

`mm-celeba-hq`, `ffhq-text` and `celebv-hq` are read as their authors publish them. What the files of UniF²aceD-1M
(tulvgengenr/UniF2aceD-1M on the hub, formerly UniF2ace-130K) look like inside could not be verified; `unif2aced` reads
the layouts below, which such releases commonly have, and refuses others with the columns it found:

* annotations: .json (a list, or an object id → record), .jsonl and .parquet files, in the folder or one below;
* a record names its picture in `image`, `image_path`, `img`, `file_name` or `path`: a path from the folder, from its
  `images`, or (Parquet) the encoded bytes as {"bytes", "path"};
* captions in `caption`, `captions`, `text` or `description`: a text, or a list of texts;
* questions in `vqa`, `vqas`, `qa`, `qas` or `questions`: a list of {"question", "answer"}; or in `conversations` as
  LLaVA has them: [{"from": "human", "value"}, {"from": "gpt", "value"}, …]; or `question` and `answer` of a record
  itself. A first human turn that asks to describe the picture gives a caption.

Records of one picture are put together, so captions and questions may lie in different files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from limner.errors import InputError
from limner.faces.picture import SUFFIXES

if TYPE_CHECKING:
    from limner.data.sources import Item

LAYOUTS = ("auto", "photos", "unif2aced", "celebv-hq", "ffhq-text", "mm-celeba-hq")
LICENCES = {
    "unif2aced": "annotations Apache-2.0 (UniF2aceD-1M); pictures under the terms of CelebV-HQ, FFHQ and CelebA",
    "celebv-hq": "non-commercial research only (CelebV-HQ)",
    "ffhq-text": "CC BY-NC-SA 4.0 (FFHQ-Text)",
    "mm-celeba-hq": "non-commercial research only (CelebAMask-HQ, MM-CelebA-HQ)",
}
CELEBV_INFO = "celebvhq_info.json"
_VIDEOS = (".mp4", ".mkv", ".webm", ".mov")
_PICTURE_KEYS = ("image", "image_path", "img", "file_name", "path")
_CAPTION_KEYS = ("caption", "captions", "text", "description")
_QUESTION_KEYS = ("vqa", "vqas", "qa", "qas", "questions")
_DESCRIBES = re.compile(r"\b(describe|caption|description)\b", re.IGNORECASE)


def recognise(place: Path) -> str | None:
    """The layout of a folder that is plainly one of them, or None. `unif2aced` only where a name says so."""
    if (place / CELEBV_INFO).is_file():
        return "celebv-hq"
    if _captions_of_celeba(place) is not None:
        return "mm-celeba-hq"
    if _ffhq_text_folders(place) is not None:
        return "ffhq-text"
    named = [place.resolve().name, *(path.name for path in _annotations(place))]
    if any("unif2ace" in name.lower() for name in named) and _annotations(place):
        return "unif2aced"
    return None


ROLES = ("image", "captions", "questions", "question", "answer")
"""What a column of `unif2aced` can be; see `parse_columns`."""


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """Columns of a release by what they are, from "captions=refined_caption" and the like. Raises InputError.

    image, captions and questions name columns of the records; question and answer the keys of an entry of questions.
    """
    columns: dict[str, str] = {}
    for entry in given:
        role, equals, name = entry.partition("=")
        if role not in ROLES or not equals or not name:
            raise InputError(f"--column {entry}: write it as ROLE=NAME, a role being one of {', '.join(ROLES)}")
        columns[role] = name
    return columns


def open_release(layout: str, place: Path, label: str, columns: Mapping[str, str] | None = None) -> Iterator[Item]:
    """The items of a folder in a layout of LAYOUTS. columns: of `unif2aced` alone. Raises InputError when it has
    another."""
    if columns and layout != "unif2aced":
        raise InputError(f"the layout {layout} has columns of its own: --column is for unif2aced")
    if layout == "unif2aced":
        return _unif2aced(place, label, columns or {})
    return {"celebv-hq": _celebv, "mm-celeba-hq": _celeba, "ffhq-text": _ffhq_text}[layout](place, label)


def _lines(path: Path) -> tuple[str, ...]:
    """Captions of a text file, one a line."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES) and path.name[0] != ".")


def _subfolder(place: Path, *names: str) -> Path | None:
    """The first of some folders (a/b for nested ones) that is there, whatever the case of its name."""
    for name in names:
        here: Path | None = place
        for part in name.split("/"):
            below = sorted(here.iterdir()) if here is not None and here.is_dir() else []
            here = next((path for path in below if path.name.lower() == part and path.is_dir()), None)
        if here is not None:
            return here
    return None


# --- MM-CelebA-HQ (Xia et al. 2021): celeba-caption/<n>.txt, ten captions a picture, beside or around CelebAMask-HQ


def _captions_of_celeba(place: Path) -> Path | None:
    return _subfolder(place, "celeba-caption", "text/celeba-caption", "dataset/text/celeba-caption")


def _celeba(place: Path, label: str) -> Iterator[Item]:
    from limner.data.sources import Item

    captions = _captions_of_celeba(place)
    photos = _subfolder(
        place, "celeba-hq-img", "celebamask-hq/celeba-hq-img", "images", "image/images", "dataset/image/images"
    )
    if captions is None or photos is None:
        raise InputError(f"{place} is no MM-CelebA-HQ: it needs CelebA-HQ-img (or images) and celeba-caption in it")
    masks = _subfolder(place, "celebamask-hq-mask-anno", "celebamask-hq/celebamask-hq-mask-anno")
    drawn = _masks(masks) if masks is not None else {}
    for path in sorted(_pictures(photos), key=lambda path: (len(path.stem), path.stem)):
        text = captions / f"{path.stem}.txt"
        yield Item(
            f"{label}/{path.stem}",
            label,
            LICENCES["mm-celeba-hq"],
            f"{label}/{path.stem}",
            path,
            captions=_lines(text) if text.is_file() else (),
            masks=tuple(drawn.get(path.stem.zfill(5), ())),
        )


def _masks(folder: Path) -> dict[str, list[Path]]:
    """Number of five digits → its part masks, `<folder>/<0..14>/<number>_<part>.png`."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.png")):
        found.setdefault(path.stem.partition("_")[0], []).append(path)
    return found


# --- FFHQ-Text (Zhou 2021): Image/<n>.png of FFHQ, Text/<n>.txt with nine descriptions each


def _ffhq_text_folders(place: Path) -> tuple[Path, Path] | None:
    image, text = _subfolder(place, "image", "images"), _subfolder(place, "text", "texts", "captions")
    if image is None or text is None:
        return None
    stems = {path.stem for path in text.glob("*.txt")}
    return (image, text) if any(path.stem in stems for path in _pictures(image)) else None


def _ffhq_text(place: Path, label: str) -> Iterator[Item]:
    from limner.data.sources import Item

    folders = _ffhq_text_folders(place)
    if folders is None:
        raise InputError(f"{place} is no FFHQ-Text: it needs Image/NAME.png and Text/NAME.txt with the same names")
    for path in _pictures(folders[0]):
        text, name = folders[1] / f"{path.stem}.txt", f"{label}/{path.stem}"
        captions = _lines(text) if text.is_file() else ()
        yield Item(name, label, LICENCES["ffhq-text"], name, path, aligned=True, captions=captions)


# --- CelebV-HQ (Zhu et al. 2022): celebvhq_info.json and the clips that its script cuts, <clip>.mp4


def _celebv(place: Path, label: str) -> Iterator[Item]:
    import av  # noqa: F401 — without it (extra `video`) no clip can be read: say so before the build begins

    from limner.data.sources import Item

    info = place / CELEBV_INFO
    try:
        clips = json.loads(info.read_text("utf-8"))["clips"]
        people = {name: clip["ytb_id"] for name, clip in clips.items()}
    except FileNotFoundError as error:
        raise InputError(f"{place} is no CelebV-HQ: it needs {CELEBV_INFO}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{info} is not CelebV-HQ's list of clips ('clips', each with 'ytb_id')") from error
    videos = {path.stem: path for path in sorted(place.rglob("[!.]*")) if path.suffix.lower() in _VIDEOS}
    for name in sorted(people):
        if name in videos:
            person = f"{label}/{people[name]}"  # clips of one video show the same people
            yield Item(f"{label}/{name}", label, LICENCES["celebv-hq"], person, videos[name], frame=0.5)


# --- UniF²aceD-1M (Li et al. 2025)


@dataclass
class _Known:
    """What the records say of one picture."""

    path: Path
    stored: tuple[Path, int, str] | None = None
    captions: dict[str, None] = field(default_factory=dict)
    questions: dict[tuple[str, str], None] = field(default_factory=dict)


def _annotations(place: Path) -> list[Path]:
    """Files that may hold records."""
    files = [path for pattern in ("*", "*/*") for path in sorted(place.glob(pattern))]
    return [path for path in files if path.suffix.lower() in (".json", ".jsonl", ".parquet") and path.is_file()]


def _unif2aced(place: Path, label: str, columns: Mapping[str, str]) -> Iterator[Item]:
    from limner.data.sources import Item

    known: dict[str, _Known] = {}
    files = _annotations(place)
    if not files:
        raise InputError(f"{place} holds no annotations: it needs .json, .jsonl or .parquet files")
    for file in files:
        for number, record in _records(file, columns):
            name, found = _picture_of(place, file, number, record)
            entry = known.setdefault(name, found)
            captions, questions = _words_of(file, record)
            entry.captions.update(dict.fromkeys(captions))
            entry.questions.update(dict.fromkeys(questions))
    for name in sorted(known):
        entry = known[name]
        stored, column = (entry.stored[1], columns.get("image", entry.stored[2])) if entry.stored else (None, "image")
        yield Item(
            f"{label}/{name}",
            label,
            LICENCES["unif2aced"],
            f"{label}/{name}",
            entry.path,
            stored=stored,
            column=column,
            captions=tuple(entry.captions),
            questions=tuple(entry.questions),
        )


def _records(file: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(row, record) of an annotation file, named columns under the names read below; pictures inside Parquet stay
    there. Raises InputError."""
    for number, record in _stored_records(file, columns.get("image")):
        yield number, _renamed(file, record, columns) if columns else record


def _renamed(file: Path, record: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A record with the columns a user named, and no others, under the names of this module. Captions and questions may
    lie in different files."""
    found = {role: record[name] for role, name in columns.items() if role in ROLES[:3] and name in record}
    if "image" in columns and "image" not in found:
        _refuse(file, record, f"column {columns['image']!r}")
    if "questions" in found and ("question" in columns or "answer" in columns):
        asked, said = columns.get("question", "question"), columns.get("answer", "answer")
        entries = found["questions"] or ()
        if not all(isinstance(entry, Mapping) and {asked, said} <= set(entry) for entry in entries):
            raise InputError(f"{file}: {columns['questions']!r} is not a list of {asked} and {said}")
        found["questions"] = [{"question": entry[asked], "answer": entry[said]} for entry in entries]
    return {**{name: record[name] for name in _PICTURE_KEYS if name in record and "image" not in columns}, **found}


def _stored_records(file: Path, picture: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(row, record) of an annotation file. picture: its column of pictures, where that is known."""
    if file.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(file) as table:
                names = [n for n in table.schema_arrow.names if n in (_PICTURE_KEYS if picture is None else (picture,))]
                first = next((n for n in names if pa.types.is_struct(table.schema_arrow.field(n).type)), None)
                columns = [n for n in table.schema_arrow.names if n != first]
                columns += [f"{first}.path"] if first else []
                number = 0
                for batch in table.iter_batches(1024, columns=columns):
                    for row in batch.to_pylist():
                        yield number, row
                        number += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file} is no whole Parquet file: {str(error).splitlines()[0]}") from error
        return
    text = file.read_text("utf-8")
    try:
        if file.suffix.lower() == ".jsonl":
            found: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if isinstance(found, dict):
        found = [{"image": name, **record} for name, record in found.items() if isinstance(record, dict)]
    if not isinstance(found, list) or not found or not all(isinstance(record, dict) for record in found):
        raise InputError(f"{file} is not a list of records: see docs/data.md for the supported layouts")
    yield from enumerate(found)


def _picture_of(place: Path, file: Path, number: int, record: Mapping[str, Any]) -> tuple[str, _Known]:
    """The name of a record's picture (its path, without what differs from machine to machine) and where it lies."""
    key = next((key for key in _PICTURE_KEYS if record.get(key)), None)
    if key is None:
        _refuse(file, record, f"picture ({', '.join(_PICTURE_KEYS)})")
    value = record[key]
    if isinstance(value, Mapping):
        name = Path(value.get("path") or f"{file.stem}-{number:06d}").as_posix()
        return name, _Known(file, (file, number, key))
    name = str(value).replace("\\", "/").lstrip("/")
    if ".." in Path(name).parts:
        raise InputError(f"{file}: the picture {name!r} lies outside the folder")
    for base in (place, place / "images", place / "image", file.parent):
        for suffix in ("", *SUFFIXES):
            if (base / f"{name}{suffix}").is_file():
                return Path(name).with_suffix("").as_posix(), _Known(base / f"{name}{suffix}")
    return Path(name).with_suffix("").as_posix(), _Known(place / name)  # the build reports it as missing


def _words_of(file: Path, record: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    captions: list[str] = []
    questions: list[tuple[str, str]] = []
    for key in _CAPTION_KEYS:
        value = record.get(key)
        captions += [value] if isinstance(value, str) else [text for text in value or () if isinstance(text, str)]
    for key in _QUESTION_KEYS:
        for entry in record.get(key) or ():
            if not isinstance(entry, Mapping) or not {"question", "answer"} <= set(entry):
                raise InputError(f"{file}: '{key}' is not a list of question and answer")
            questions.append((str(entry["question"]), str(entry["answer"])))
    if record.get("question") and record.get("answer") is not None:
        questions.append((str(record["question"]), str(record["answer"])))
    turns: list[Mapping[str, Any]] = list(record.get("conversations") or ())
    for number, (asked, said) in enumerate(zip(turns[::2], turns[1::2])):
        question = str(asked.get("value", "")).replace("<image>", "").strip()
        if number == 0 and _DESCRIBES.search(question):
            captions.append(str(said.get("value", "")))
        else:
            questions.append((question, str(said.get("value", ""))))
    captions = [text.strip() for text in captions if text.strip()]
    questions = [(q.strip(), a.strip()) for q, a in questions if q.strip() and a.strip()]
    if not captions and not questions:
        _refuse(file, record, "captions or questions")
    return captions, questions


def _refuse(file: Path, record: Mapping[str, Any], what: str) -> NoReturn:
    raise InputError(
        f"{file}: no {what} in a record with the columns {', '.join(map(str, record)) or '(none)'}; "
        "see docs/data.md for the layouts that are read"
    )

"""Building a set of face records: blocks of items, made one after the other, each written whole.

The items are cut into blocks, the blocks into batches; a batch is what a worker gets. A block's rows go into one
Parquet file a split; a block is done when its marker is written, and a build that was killed goes on after the last
marker. Batches do not depend on the number of workers, and every worker computes with one thread, so neither do rows.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import limner
from limner.data.blocks import Blocks, Result, pending_blocks, summarise, write_block, write_json
from limner.data.shards import DATA, FIELDS, MANIFEST
from limner.data.stages import Reader, RecordSettings, make_records
from limner.data.storage import Place, Remote, open_place
from limner.data.workers import on_workers
from limner.errors import InputError
from limner.files import make_folder
from limner.weights.registry import registry

BLOCK = 64  # items a block: what a killed build loses at most, and about 2.5 MB of Parquet
BATCH = 16  # items a worker gets at a time
ENGINES = ("local", "ray")
# Rooms whose code decides what a row holds.
_CODE = ("faces", "words", "data/stages.py", "data/caption_writers.py", "data/shards.py")
_WEIGHTS = (
    "face-detector",
    "face-mesh",
    "iris",
    "person-mask",
    "face-identity",
    "age-gender",
    "face-expression",
    "efficientnet-lite0",
    "face-parser",
    "face-traits",
)


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """What a build makes of its items; all of it travels to worker processes, so functions are those of a module.

    load: gives what `make` works with (a face reader). make: (batch of items, what `load` gave, settings) → rows,
    errors. fields: the columns. block, batch: items a block and a batch. facts: what else decides the rows, for the
    manifest; a folder made with other facts is not continued.
    """

    load: Callable[[], Any]
    block: int
    batch: int
    make: Callable[[Sequence[Any], Any, Any], Result] = make_records
    fields: Sequence[tuple[str, Any]] = FIELDS
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is: items of `total` that are done (`kept` of them by an earlier run), rows and errors so far."""

    done: int
    kept: int
    total: int
    rows: int
    errors: int


def build(
    items: Sequence[Any],
    out: str | os.PathLike[str] | Remote,
    settings: Any = None,
    workers: int | None = None,
    rebuild: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
    load_reader: Callable[[], Reader] | None = None,
    build_spec: BuildSpec | None = None,
    keep: bool = False,
    engine: str = "local",
    block_size: int | None = None,
) -> dict[str, Any]:
    """Make the records of `items` in the folder `out` and return its manifest.

    items: a list, or any sequence that makes slices when asked. out: a folder here or in a store (`s3://…`).
    workers: processes; None for one a core, 1 for none but this one; on Ray None for as many as it has cores. rebuild:
    make blocks anew that other code, weights or settings made, instead of refusing. keep: keep them when only code and
    weights are others (each block's marker says what made it). load_reader: a picklable function that gives the face
    reader (default: the shipped one). build_spec: for another kind of set than records of `Item`s (it brings its own
    `load`; items need an `id`, settings are a dataclass). engine: "local", or "ray" for the machines of a Ray cluster,
    which makes records only; the rows are the same. block_size: items a block (see BLOCK); a set is built with one size
    throughout. A picture that gives no row goes into errors.jsonl. Raises InputError for a folder that holds something
    else, and when nothing could be read.
    """
    folder, settings = open_place(out), settings or RecordSettings()
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "ray" and build_spec is not None:
        raise InputError("the engine ray makes sets of records only: leave --engine out")
    build_spec = build_spec or BuildSpec(load=load_reader or load_face_reader, block=BLOCK, batch=BATCH)
    size = block_size or build_spec.block
    if (workers is not None and workers < 1) or size < 1:
        raise InputError(f"workers is {workers} and a block {size} items: choose 1 or more")
    made = {
        "version": limner.__version__,
        "code": code_hash(),
        "weights": weight_hashes(),
        "settings": asdict(settings),
        **build_spec.facts,
    }
    blocks = Blocks(items, size)
    pending = pending_blocks(folder, blocks, made, rebuild, keep)
    kept = len(items) - sum(len(blocks[k]) for k in pending)
    state = Counter(done=kept)

    def report() -> None:
        if progress is not None:
            progress(BuildProgress(state["done"], kept, len(items), state["rows"], state["errors"]))

    report()
    write_json(folder / MANIFEST, {**made, "complete": False})
    if isinstance(folder, Path):
        make_folder(folder / DATA)
    if engine == "ray":
        from limner.data.ray_build import build_blocks

        done = build_blocks(folder, ((k, blocks[k]) for k in pending), settings, made, build_spec.load, workers)
    else:
        done = _build_here(folder, blocks, pending, settings, made, build_spec, workers or os.cpu_count() or 1)
    for counts in done:
        state.update(counts)
        report()
    return summarise(folder, len(blocks), made)


def _build_here(
    folder: Place,
    blocks: Blocks,
    pending: Sequence[int],
    settings: Any,
    made: Mapping[str, Any],
    build_spec: BuildSpec,
    workers: int,
) -> Iterator[dict[str, int]]:
    """Make the pending blocks on processes of this machine; yields what each batch added to the counts."""
    batches = ((k, batch) for k in pending for batch in cut(blocks[k], build_spec.batch))
    count = sum(-(-len(blocks[k]) // build_spec.batch) for k in pending)
    gathered: dict[int, list[Result]] = {}
    with on_workers(min(workers, max(1, count)), build_spec.load, build_spec.make) as run:
        ours, theirs = itertools.tee(batches)
        for (k, batch), result in zip(ours, run((batch for _, batch in theirs), settings)):
            gathered.setdefault(k, []).append(result)
            if len(gathered[k]) * build_spec.batch >= len(blocks[k]):
                write_block(folder, k, blocks[k], gathered.pop(k), made, build_spec.fields)
            yield {"done": len(batch), "rows": len(result[0]), "errors": len(result[1])}


def cut(block: Sequence[Any], size: int = BATCH) -> list[list[Any]]:
    """A block as the batches that networks get: always the same ones, because sums depend on them."""
    return [list(block[start : start + size]) for start in range(0, len(block), size)]


def load_face_reader() -> Reader:
    """The shipped face reader."""
    from limner.faces.reader import FaceReader

    return FaceReader.load()


@cache
def code_hash() -> str:
    """A hash over the code that decides what a row holds: sixteen hexadecimal digits."""
    root = Path(limner.__file__).parent
    files = [
        path
        for place in map(root.joinpath, _CODE)
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if path.suffix in (".py", ".grammar")
    ]
    total = hashlib.sha256()
    for path in files:
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def weight_hashes() -> dict[str, str]:
    """Entry name → hash over its files, for the weights that measure faces."""
    known = registry()
    return {
        name: hashlib.sha256("".join(file.sha256 for file in known[name].files).encode()).hexdigest()[:16]
        for name in _WEIGHTS
        if name in known
    }

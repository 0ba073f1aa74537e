"""Building a set of face records: blocks of items, made one after the other, each written whole.

The items are cut into blocks, the blocks into batches; a batch is what a worker gets. A block's rows go into one
Parquet file a split; a block is done when its marker is written, and a build that was killed goes on after the last
marker. Batches do not depend on the number of workers, and every worker computes with one thread, so neither do rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import limner
from limner.data.places import Place, Remote, list_files, open_place, write
from limner.data.shards import BLOCKS, DATA, ERRORS, FIELDS, MANIFEST, SPLITS, write_shard
from limner.data.stages import Reader, RecordSettings, Row, make_records
from limner.errors import InputError
from limner.files import make_folder
from limner.weights.registry import registry

BLOCK = 64  # items a block: what a killed build loses at most, and about 2.5 MB of Parquet
BATCH = 16  # items a worker gets at a time
ENGINES = ("local", "ray")
# Rooms whose code decides what a row holds.
_CODE = ("faces", "words", "data/stages.py", "data/writers.py", "data/shards.py")
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

Result = tuple[list[Row], list[Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
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
class Progress:
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
    progress: Callable[[Progress], None] | None = None,
    load_reader: Callable[[], Reader] | None = None,
    recipe: Recipe | None = None,
    keep: bool = False,
    engine: str = "local",
    block_size: int | None = None,
) -> dict[str, Any]:
    """Make the records of `items` in the folder `out` and return its manifest.

    items: a list, or any sequence that makes slices when asked. out: a folder here or in a store (`s3://…`).
    workers: processes; None for one a core, 1 for none but this one; on Ray None for as many as it has cores. rebuild:
    make blocks anew that other code, weights or settings made, instead of refusing. keep: keep them when only code and
    weights are others (each block's marker says what made it). load_reader: a picklable function that gives the face
    reader (default: the shipped one). recipe: for another kind of set than records of `Item`s (it brings its own
    `load`; items need an `id`, settings are a dataclass). engine: "local", or "ray" for the machines of a Ray cluster,
    which makes records only; the rows are the same. block_size: items a block (see BLOCK); a set is built with one size
    throughout. A picture that gives no row goes into errors.jsonl. Raises InputError for a folder that holds something
    else, and when nothing could be read.
    """
    folder, settings = open_place(out), settings or RecordSettings()
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "ray" and recipe is not None:
        raise InputError("the engine ray makes sets of records only: leave --engine out")
    recipe = recipe or Recipe(load=load_reader or load_face_reader, block=BLOCK, batch=BATCH)
    size = block_size or recipe.block
    if (workers is not None and workers < 1) or size < 1:
        raise InputError(f"workers is {workers} and a block {size} items: choose 1 or more")
    made = {
        "version": limner.__version__,
        "code": code_hash(),
        "weights": weight_hashes(),
        "settings": asdict(settings),
        **recipe.facts,
    }
    blocks = Blocks(items, size)
    pending = _pending(folder, blocks, made, rebuild, keep)
    kept = len(items) - sum(len(blocks[k]) for k in pending)
    state = Counter(done=kept)

    def report() -> None:
        if progress is not None:
            progress(Progress(state["done"], kept, len(items), state["rows"], state["errors"]))

    report()
    write_json(folder / MANIFEST, {**made, "complete": False})
    if isinstance(folder, Path):
        make_folder(folder / DATA)
    if engine == "ray":
        from limner.data.ray_build import build_blocks

        done = build_blocks(folder, ((k, blocks[k]) for k in pending), settings, made, recipe.load, workers)
    else:
        done = _build_here(folder, blocks, pending, settings, made, recipe, workers or os.cpu_count() or 1)
    for counts in done:
        state.update(counts)
        report()
    return _summarise(folder, len(blocks), made)


class Blocks(Sequence[Sequence[Any]]):
    """The items in blocks of `size`; a block is cut out when it is asked for, so that long sources may stay lazy."""

    def __init__(self, items: Sequence[Any], size: int) -> None:
        self.items, self.size = items, size

    def __len__(self) -> int:
        return (len(self.items) + self.size - 1) // self.size

    def __getitem__(self, k):
        if not 0 <= k < len(self):
            raise IndexError(k)
        return self.items[k * self.size : (k + 1) * self.size]


def _build_here(
    folder: Place,
    blocks: Blocks,
    pending: Sequence[int],
    settings: Any,
    made: Mapping[str, Any],
    recipe: Recipe,
    workers: int,
) -> Iterator[dict[str, int]]:
    """Make the pending blocks on processes of this machine; yields what each batch added to the counts."""
    batches = ((k, batch) for k in pending for batch in cut(blocks[k], recipe.batch))
    count = sum(-(-len(blocks[k]) // recipe.batch) for k in pending)
    gathered: dict[int, list[Result]] = {}
    with _workers(min(workers, max(1, count)), recipe) as run:
        ours, theirs = itertools.tee(batches)
        for (k, batch), result in zip(ours, run((batch for _, batch in theirs), settings)):
            gathered.setdefault(k, []).append(result)
            if len(gathered[k]) * recipe.batch >= len(blocks[k]):
                write_block(folder, k, blocks[k], gathered.pop(k), made, recipe.fields)
            yield {"done": len(batch), "rows": len(result[0]), "errors": len(result[1])}


def cut(block: Sequence[Any], size: int = BATCH) -> list[list[Any]]:
    """A block as the batches that networks get: always the same ones, because sums depend on them."""
    return [list(block[start : start + size]) for start in range(0, len(block), size)]


def write_json(place: Place, obj: Any) -> None:
    """Replace the content of `place` by `obj` as JSON, all or nothing."""
    write(place, (json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"))


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


def _marker(folder: Place, block: int) -> Place:
    return folder / BLOCKS / f"{block:05d}.json"


def _shard(folder: Place, split: str, block: int) -> Place:
    return folder / DATA / f"{split}-{block:05d}.parquet"


def _ids_hash(block: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(item.id for item in block).encode()).hexdigest()[:16]


def _pending(folder: Place, blocks: Blocks, made: Mapping[str, Any], rebuild: bool, keep: bool = False) -> list[int]:
    """The blocks that are yet to be made. Raises InputError when the folder is not this build's."""
    if folder.is_file():
        raise InputError(f"{folder} is a file: give --out a folder")
    if folder.is_dir() and not _empty(folder) and not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} holds other files: give --out a new folder or one that `limner data build` made")
    made = json.loads(json.dumps(made))
    pending = []
    for k, block in enumerate(blocks):
        marker = _read_marker(folder, k)
        if marker is None or marker["ids"] != _ids_hash(block) or not _whole(folder, marker):
            pending.append(k)
        elif marker["made"] != made:
            changed = [name for name in made if marker["made"].get(name) != made[name]]
            if keep and set(changed) <= {"version", "code", "weights"}:
                continue
            if not rebuild:
                raise InputError(
                    f"{folder} was made with other {' and '.join(changed)}: give another --out, or pass --rebuild"
                )
            pending.append(k)
    beyond = [k for path in list_files(folder / BLOCKS, ".json") if (k := int(path.stem)) >= len(blocks)]
    if beyond and not rebuild:
        raise InputError(f"{folder} holds more than these sources give: give another --out, or --rebuild to cut it")
    for k in beyond:
        for path in (_marker(folder, k), *(_shard(folder, split, k) for split in SPLITS)):
            path.unlink(missing_ok=True)
    return pending


def _empty(folder: Place) -> bool:
    return False if isinstance(folder, Remote) else not any(folder.iterdir())


def _read_marker(folder: Place, block: int) -> dict[str, Any] | None:
    try:
        return json.loads(_marker(folder, block).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # below a file nothing is; writing there says so
        return None
    except json.JSONDecodeError as error:
        raise InputError(f"{_marker(folder, block)} is damaged: remove it and build again") from error


def _whole(folder: Place, marker: Mapping[str, Any]) -> bool:
    """Whether the files a marker speaks of are there, in their size."""
    paths = {folder / DATA / name: found["bytes"] for name, found in marker["files"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def write_block(
    folder: Place,
    k: int,
    block: Sequence[Any],
    results: list[Result],
    made: Mapping[str, Any],
    fields: Sequence[tuple[str, Any]] = FIELDS,
) -> None:
    """Rows by split into Parquet, then the marker. A block is done when its marker is there."""
    _marker(folder, k).unlink(missing_ok=True)
    rows = [row for rows, _ in results for row in rows]
    files: dict[str, Any] = {}
    for split in SPLITS:
        path = _shard(folder, split, k)
        mine = [row for row in rows if row["split"] == split]
        if not mine:
            path.unlink(missing_ok=True)
            continue
        files[path.name] = write_shard(path, mine, {name: made[name] for name in made if name != "settings"}, fields)
    errors = [dict(error) for _, errors in results for error in errors]
    marker = {"block": k, "items": len(block), "ids": _ids_hash(block), "files": files, "errors": errors, "made": made}
    write_json(_marker(folder, k), marker)


def _summarise(folder: Place, blocks: int, made: Mapping[str, Any]) -> dict[str, Any]:
    """errors.jsonl and manifest.json from the markers."""
    markers = [marker for k in range(blocks) if (marker := _read_marker(folder, k)) is not None]
    errors = [error for marker in markers for error in marker["errors"]]
    write(folder / ERRORS, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in errors).encode())
    files = {name: found for marker in markers for name, found in sorted(marker["files"].items())}
    splits = {split: sum(f["rows"] for name, f in files.items() if name.startswith(f"{split}-")) for split in SPLITS}
    manifest = {
        **made,
        "complete": True,
        "items": sum(marker["items"] for marker in markers),
        "rows": sum(splits.values()),
        "splits": splits,
        "errors": len(errors),
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


Run = Callable[[Iterable[list[Any]], Any], Iterator[Result]]


@contextmanager
def _workers(count: int, recipe: Recipe) -> Iterator[Run]:
    """A function that makes the records of batches, in order, here or on `count` processes."""
    if count == 1:
        yield lambda batches, settings: _run_here(batches, settings, recipe)
        return
    import multiprocessing

    # Not fork: torch and the interpreters of the networks hold threads and locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _start_worker, (recipe.load, os.getpid()))
    try:
        yield lambda batches, settings: _run_on(pool, recipe.make, batches, settings, ahead=2 * count)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died (out of memory?): run it again with fewer --workers; finished blocks are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_here(batches: Iterable[list[Any]], settings: Any, recipe: Recipe) -> Iterator[Result]:
    tools: Any = None
    with one_thread():
        for batch in batches:
            tools = recipe.load() if tools is None else tools
            yield recipe.make(batch, tools, settings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, if a reader brought it, compute with one thread: sums in the same order give the same last bits."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run_on(
    pool: ProcessPoolExecutor, make: Callable[..., Result], batches: Iterable[list[Any]], settings: Any, ahead: int
) -> Iterator[Result]:
    """Results in the order of the batches, with a few batches ahead so that no worker waits and memory stays small."""
    waiting: deque[Future[Result]] = deque()
    for batch in batches:
        waiting.append(pool.submit(_make, make, batch, settings))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_tools: Any = None  # of a worker process


def _start_worker(load: Callable[[], Any], parent: int) -> None:
    """One thread of computing a worker, and no worker outlives a parent that was killed."""
    global _tools
    import signal
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=watch, daemon=True).start()
    _tools = load()


def _make(make: Callable[..., Result], batch: list[Any], settings: Any) -> Result:
    assert _tools is not None  # the initialiser ran
    with one_thread():
        return make(batch, _tools, settings)

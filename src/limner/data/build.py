"""Building a set of face records: blocks of items, made one after the other, each written whole.

The items are cut into blocks, the blocks into batches; a batch is what a worker gets. A block's rows go into one
Parquet file a split; a block is done when its marker is written, and a build that was killed goes on after the last
marker. Batches do not depend on the number of workers, and every worker computes with one thread, so neither do rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import limner
from limner.data.shards import BLOCKS, DATA, ERRORS, FIELDS, MANIFEST, SPLITS, write_shard
from limner.data.stages import Reader, RecordSettings, Row, make_records
from limner.errors import InputError
from limner.files import make_folder, write_bytes_atomic, write_json_atomic
from limner.weights.registry import hash_file, registry

BLOCK = 64  # items a block: what a killed build loses at most, and about 2.5 MB of Parquet
BATCH = 16  # items a worker gets at a time
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
    out: str | os.PathLike[str],
    settings: Any = None,
    workers: int | None = None,
    rebuild: bool = False,
    progress: Callable[[Progress], None] | None = None,
    load_reader: Callable[[], Reader] | None = None,
    recipe: Recipe | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Make the records of `items` in the folder `out` and return its manifest.

    workers: processes; None for one a core, 1 for none but this one. rebuild: make blocks anew that other code, weights
    or settings made, instead of refusing. keep: keep them when only code and weights are others (each block's marker
    says what made it). load_reader: a picklable function that gives the face reader (default: the
    shipped one). recipe: for another kind of set than records of `Item`s (it brings its own `load`; items need an `id`,
    settings are a dataclass). A picture that gives no row goes into errors.jsonl. Raises InputError for a folder that
    holds something else, and when nothing could be read.
    """
    folder, settings = Path(out), settings or RecordSettings()
    recipe = recipe or Recipe(load=load_reader or load_face_reader, block=BLOCK, batch=BATCH)
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"workers is {workers}: choose 1 or more")
    made = {
        "version": limner.__version__,
        "code": code_hash(),
        "weights": weight_hashes(),
        "settings": asdict(settings),
        **recipe.facts,
    }
    blocks = [list(items[start : start + recipe.block]) for start in range(0, len(items), recipe.block)]
    pending = _pending(folder, blocks, made, rebuild, keep)
    kept = sum(len(block) for k, block in enumerate(blocks) if k not in pending)
    state = Counter(done=kept)

    def report() -> None:
        if progress is not None:
            progress(Progress(state["done"], kept, len(items), state["rows"], state["errors"]))

    report()
    write_json_atomic(folder / MANIFEST, {**made, "complete": False})
    make_folder(folder / DATA)
    starts = {k: range(0, len(blocks[k]), recipe.batch) for k in pending}
    work = [(k, blocks[k][start : start + recipe.batch]) for k in pending for start in starts[k]]
    gathered: dict[int, list[Result]] = {}
    with _workers(min(workers, max(1, len(work))), recipe) as run:
        for (k, batch), result in zip(work, run([batch for _, batch in work], settings)):
            gathered.setdefault(k, []).append(result)
            state.update(done=len(batch), rows=len(result[0]), errors=len(result[1]))
            if len(gathered[k]) == len(starts[k]):
                _write_block(folder, k, blocks[k], gathered.pop(k), made, recipe.fields)
            report()
    return _summarise(folder, len(blocks), made)


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


def _marker(folder: Path, block: int) -> Path:
    return folder / BLOCKS / f"{block:05d}.json"


def _shard(folder: Path, split: str, block: int) -> Path:
    return folder / DATA / f"{split}-{block:05d}.parquet"


def _ids_hash(block: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(item.id for item in block).encode()).hexdigest()[:16]


def _pending(
    folder: Path, blocks: Sequence[Sequence[Any]], made: Mapping[str, Any], rebuild: bool, keep: bool = False
) -> list[int]:
    """The blocks that are yet to be made. Raises InputError when the folder is not this build's."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give --out a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
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
    beyond = sorted(int(path.stem) for path in (folder / BLOCKS).glob("*.json") if int(path.stem) >= len(blocks))
    if beyond and not rebuild:
        raise InputError(f"{folder} holds more than these sources give: give another --out, or --rebuild to cut it")
    for k in beyond:
        for path in (_marker(folder, k), *(_shard(folder, split, k) for split in SPLITS)):
            path.unlink(missing_ok=True)
    return pending


def _read_marker(folder: Path, block: int) -> dict[str, Any] | None:
    try:
        return json.loads(_marker(folder, block).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # below a file nothing is; writing there says so
        return None
    except json.JSONDecodeError as error:
        raise InputError(f"{_marker(folder, block)} is damaged: remove it and build again") from error


def _whole(folder: Path, marker: Mapping[str, Any]) -> bool:
    """Whether the files a marker speaks of are there, in their size."""
    paths = {folder / DATA / name: found["bytes"] for name, found in marker["files"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _write_block(
    folder: Path, k: int, block: Sequence[Any], results: list[Result], made: Mapping[str, Any], fields: Sequence[Any]
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
        write_shard(path, mine, {name: made[name] for name in made if name != "settings"}, fields)
        files[path.name] = {"rows": len(mine), "bytes": path.stat().st_size, "sha256": hash_file(path)}
    errors = [dict(error) for _, errors in results for error in errors]
    marker = {"block": k, "items": len(block), "ids": _ids_hash(block), "files": files, "errors": errors, "made": made}
    write_json_atomic(_marker(folder, k), marker)


def _summarise(folder: Path, blocks: int, made: Mapping[str, Any]) -> dict[str, Any]:
    """errors.jsonl and manifest.json from the markers."""
    markers = [marker for k in range(blocks) if (marker := _read_marker(folder, k)) is not None]
    errors = [error for marker in markers for error in marker["errors"]]
    write_bytes_atomic(folder / ERRORS, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in errors).encode())
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
    write_json_atomic(folder / MANIFEST, manifest)
    return manifest


Run = Callable[[list[list[Any]], Any], Iterator[Result]]


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


def _run_here(batches: list[list[Any]], settings: Any, recipe: Recipe) -> Iterator[Result]:
    if not batches:
        return
    tools = recipe.load()
    with _one_thread():
        for batch in batches:
            yield recipe.make(batch, tools, settings)


@contextmanager
def _one_thread() -> Iterator[None]:
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
    pool: ProcessPoolExecutor, make: Callable[..., Result], batches: list[list[Any]], settings: Any, ahead: int
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
    with _one_thread():
        return make(batch, _tools, settings)

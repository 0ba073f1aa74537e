"""Cleaning a server's table of 100,000 rows; writes results/clean-table.json.

    python benchmarks/clean_table.py [--rows 100000]

Half of the rows are uploads that jobs use, a quarter jobs that ended, a quarter their pictures. Three cleanings are
timed: nothing is old; 1 % is old, as after some minutes; half is old, as after a change of `--keep-hours`, which goes
on in rounds. While they run, a thread asks the table a question every two milliseconds, and the longest that it waits
is kept: this is what a request waits at most. Bars: a round at most 1 s, a slice and a wait at most 50 ms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from limner.evaluation.results import store_result
from limner.serving.cleaner import clean
from limner.serving.job_store import JobStore, Made, new_id

BYTES = 2000  # of a picture


def build(table: JobStore, rows: int) -> None:
    """Jobs that ended at 0, 1, 2, …, each with an upload before it and a picture made of that."""
    picture = Made(b"x" * BYTES, "image/png", 1, 1, {"seed": 1})
    jobs = rows // 4
    with table.database.change() as db:
        for number in range(jobs):
            used = [table.upload(picture).id for _ in range(2)]
            job = new_id("job")
            db.execute(
                "INSERT INTO jobs (id, number, kind, state, request, batch_key, created, ended)"
                " VALUES (?, ?, 'edit', 'done', ?, 'x', ?, ?)",
                (job, number + 1, json.dumps({"photo": used[0], "plan": {"identity": used[1]}}), number, number),
            )
            db.executemany("INSERT INTO uses VALUES (?, ?)", [(job, each) for each in used])
            table._insert(db, job, 0, picture)
    table.database.settle()


def timed(table: JobStore, before: float) -> dict[str, Any]:
    """Clean until nothing is left to do."""
    slices: list[float] = []
    waits: list[float] = []
    rounds: list[float] = []
    done = threading.Event()
    remove, give_back = table.remove_oldest, table.database.give_back

    def ask() -> None:
        while not done.is_set():
            began = time.perf_counter()
            table.count("queued")
            waits.append(time.perf_counter() - began)
            time.sleep(0.002)

    def measured(work: Any) -> Any:
        def run(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*given)
            finally:
                slices.append(time.perf_counter() - began)

        return run

    table.remove_oldest, table.database.give_back = measured(remove), measured(give_back)
    asking = threading.Thread(target=ask)
    asking.start()
    removed, more = 0, True
    while more:
        began = time.perf_counter()
        gone, more = clean(table, before, 10**12)
        rounds.append(time.perf_counter() - began)
        removed += gone
    done.set()
    asking.join()
    table.remove_oldest, table.database.give_back = remove, give_back
    return {
        "jobs and uploads removed": removed,
        "rounds": len(rounds),
        "longest round, seconds": max(rounds),
        "slices": len(slices),
        "longest slice, milliseconds": 1000 * max(slices),
        "longest wait of a question, milliseconds": 1000 * max(waits),
    }


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("results/clean-table.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = JobStore(Path(folder), 10**12)
        build(table, given.rows)
        jobs = given.rows // 4
        figures = {
            "nothing old": timed(table, -1),
            "1 % old": timed(table, jobs // 100),
            "half old": timed(table, jobs // 2),
        }
        table.close()
    print(json.dumps(figures, indent=2))
    store_result(
        given.out, f"python benchmarks/clean_table.py --rows {given.rows}", figures, None, {"rows": given.rows}
    )


if __name__ == "__main__":
    main()

"""The one thread that computes jobs: takes what can run together, reports progress, and stops within one step."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from limner.errors import InputError
from limner.faces.picture import encode_jpeg
from limner.progress import Preview, PreviewCallback
from limner.serving.database import NoRoom, StoreFull
from limner.serving.engines import Engines
from limner.serving.images import Photos, small
from limner.serving.job_handlers import run
from limner.serving.job_store import Job, Made
from limner.serving.limits import Limits
from limner.serving.metrics import Metrics
from limner.serving.requests import INSIDE, KINDS, Request
from limner.settings import BATCH

log = logging.getLogger("limner.serving")
BATCH_SETTINGS = 8  # jobs in one batch
PREVIEW_EVERY = 0.25  # seconds between previews of one job, while somebody watches it
PREVIEW_SIDE = 512  # pixels of a picture in a preview, at most
PREVIEW_SHARE = 6  # a preview is followed by at least so many times its own time without one
WATCHED_FOR = 10.0  # seconds after a look at a job in which previews are made; a busy machine lets a page look rarely
MOST_LOOKED = 1000  # waiting jobs whose watchers are remembered
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between two tries to write while the disk is full
T = TypeVar("T")
Standing = Literal["ok", "disk_full", "store_failing", "stopped"]
"""Of the worker: it computes what waits; it waits for room on the disk, or for the table to work; it is not there."""


class _Stop(BaseException):
    """Nobody waits for this batch any more. Raised through the sampler, so no handler of errors may catch it."""


@dataclass
class JobProgress:
    """What a running job is at. preview: JPEG of its pictures side by side, as they would be now."""

    done: int = 0
    total: int = 0
    preview: bytes | None = None
    previewed: float = 0.0
    next_preview: float = 0.0
    looked: float = field(default=-WATCHED_FOR)


class Worker:
    """Start it, submit requests, stop it. All methods may be called from any thread."""

    def __init__(self, photos: Photos, engines: Engines, limits: Limits, metrics: Metrics) -> None:
        self.photos, self.table, self.engines = photos, photos.table, engines
        self.limits, self.metrics = limits, metrics
        self._progress: dict[str, JobProgress] = {}
        self._looked: OrderedDict[str, float] = OrderedDict()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._trouble: Standing = "ok"
        self._thread = threading.Thread(target=self._loop, name="limner jobs", daemon=True)

    def start(self) -> None:
        """Begin to compute what waits."""
        self._thread.start()

    def stop(self) -> None:
        """End within one step; what was running is interrupted and can be retried."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.table.interrupt()
        except StoreFull:  # the next start finds them running, and does the same
            log.warning("the disk is full: the jobs that were running are called interrupted at the next start")

    @property
    def standing(self) -> Standing:
        """Whether jobs are computed."""
        return self._trouble if self._thread.is_alive() else "stopped"

    def submit(self, kind: str, request: Request) -> Job:
        """Queue a request. ``NoWeights``, ``QueueFull``, or ``InputError`` for pictures that are none."""
        self.engines.require(kind)
        self.table.check_room(self.limits.queue)  # before its pictures are stored
        request = self.photos.settled(request)
        job = self.table.add(kind, request.model_dump(mode="json"), request.batch_key(), self.limits.queue)
        self._wake.set()
        return job

    def retry(self, job: str) -> Job:
        """Queue an ended job again."""
        again = self.table.retry(job, self.limits.queue)
        self._wake.set()
        return again

    def cancel(self, job: str) -> Job:
        """The job is cancelled now; if it runs, its work ends at the sampler's next step."""
        found = self.table.cancel(job)
        self.metrics.jobs.labels(found.kind, "cancelled").inc()
        return found

    def progress(self, job: str, preview: bool = True) -> JobProgress:
        """What a job is at; asking for the preview makes previews come."""
        progress = self._progress.get(job)
        if progress is None:
            if preview:  # it waits, and is watched from its first step on
                self._looked[job] = time.monotonic()
                self._looked.move_to_end(job)
                while len(self._looked) > MOST_LOOKED:
                    self._looked.popitem(last=False)
            return JobProgress()
        if preview:
            progress.looked = time.monotonic()
        return progress

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                jobs = self._until_written(lambda: self.table.take(BATCH_SETTINGS))
                self.metrics.waiting.set(self.table.queued)
                if jobs:
                    self._run(jobs)
                else:
                    self._trouble = "ok"
                    self._wake.wait(1.0)
                    self._wake.clear()
            except _Stop:
                return
            except sqlite3.Error:  # a damaged file or disk: nothing can be said to the jobs, but /health can tell
                log.exception("the table of jobs cannot be used")
                self._trouble = "store_failing"
                self._stopping.wait(LONGEST_PAUSE)

    def _run(self, jobs: list[Job]) -> None:
        kind, began = jobs[0].kind, time.monotonic()
        self.metrics.batch.observe(len(jobs))
        self._progress |= {job.id: JobProgress(looked=self._looked.pop(job.id, -WATCHED_FOR)) for job in jobs}
        try:
            requests = [KINDS[kind].model_validate(job.request, context=INSIDE) for job in jobs]
            for job, outcome in zip(jobs, run(kind, requests, self.photos, self.engines, self._watch(jobs, began))):
                if isinstance(outcome, InputError):
                    self._fail(job, str(outcome))
                else:
                    self._finish(job, outcome)
        except _Stop:
            log.info("stopped", extra={"jobs": [job.id for job in jobs]})
        except sqlite3.Error:
            raise
        except Exception as error:  # the thread's last line: a fault of one batch must not end the jobs of everybody
            log.exception("a job failed", extra={"jobs": [job.id for job in jobs]})
            for job in jobs:
                self._fail(job, f"an internal error ({type(error).__name__}): the server's log says more")
        finally:
            self.metrics.job_seconds.labels(kind).observe(time.monotonic() - began)
            for job in jobs:
                self._progress.pop(job.id, None)

    def _until_written(self, change: Callable[[], T]) -> T:
        """A change of the table. While the disk is full it is tried again and again, so that what was computed is not
        lost; ``_Stop`` if the server stops first."""
        pause = FIRST_PAUSE
        while True:
            try:
                changed = change()
            except NoRoom:
                raise
            except StoreFull as error:
                if self._trouble != "disk_full":
                    log.error("%s", error)
                self._trouble = "disk_full"
                if self._stopping.wait(pause):
                    raise _Stop from None
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if self._trouble == "disk_full":
                    log.info("there is room on the disk again")
                self._trouble = "ok"
                return changed

    def _finish(self, job: Job, pictures: list[Made]) -> None:
        try:
            self._ended(job, "done", self._until_written(lambda: self.table.finish(job.id, pictures)))
        except NoRoom as error:  # it would wait for ever: what fills the store is needed by jobs that wait for this one
            self._fail(job, str(error))

    def _fail(self, job: Job, error: str) -> None:
        self._ended(job, "failed", self._until_written(lambda: self.table.fail(job.id, error)))

    def _ended(self, job: Job, state: str, changed: bool) -> None:
        if changed:
            self.metrics.jobs.labels(job.kind, state).inc()
            log.info("job ended", extra={"job": job.id, "kind": job.kind, "state": state})

    def _watch(self, jobs: list[Job], began: float) -> PreviewCallback:
        owners = [job.id for job in jobs for _ in range(int(job.request.get("n", 1)))]

        def watch(done: int, total: int, look: Preview) -> None:
            if self._stopping.is_set():
                raise _Stop
            late = time.monotonic() - began > self.limits.job_seconds
            running = [job for job in jobs if self.table.get(job.id).state == "running"]
            if late:
                for job in running:
                    self._fail(
                        job, f"it took more than {self.limits.job_seconds:g} seconds: ask for fewer pictures or steps"
                    )
            if late or not running:
                raise _Stop
            for job in running:
                progress = self._progress[job.id]
                progress.done, progress.total = done, total
            self._preview(owners, int(jobs[0].request["steps"]), done, look)

        return watch

    def _preview(self, owners: list[str], steps: int, done: int, look: Preview) -> None:
        """Previews for the jobs of this batch that somebody watches."""
        now = time.monotonic()
        first = (done - 1) // steps * BATCH
        batch = owners[first : first + BATCH]
        due = {
            job for job in set(batch)
            if now - self._progress[job].looked < WATCHED_FOR and now >= self._progress[job].next_preview
        }  # fmt: skip
        if not due:
            return
        pictures = look()
        for job in due:
            mine = [small(picture, PREVIEW_SIDE) for picture, owner in zip(pictures, batch) if owner == job]
            self._progress[job].preview = encode_jpeg(np.concatenate(mine, 1), 80)
            self._progress[job].previewed = now
            took = time.monotonic() - now
            self._progress[job].next_preview = now + took + max(PREVIEW_EVERY, PREVIEW_SHARE * took)


def as_dict(job: Job, worker: Worker) -> dict[str, Any]:
    """A job as the API shows it."""
    progress = worker.progress(job.id, preview=False)
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "attempts": job.attempts,
        "error": job.error,
        "steps_done": progress.done,
        "steps": progress.total,
        "request": job.request,
        "pictures": [
            {"id": each.id, "url": f"/v1/pictures/{each.id}", "width": each.width, "height": each.height}
            for each in worker.table.pictures(job.id)
        ],
    }

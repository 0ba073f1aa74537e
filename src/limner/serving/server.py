"""One server's parts, and what needs no job: reading, describing, asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from limner.faces.picture import encode_png
from limner.serving.engines import Engines
from limner.serving.limits import Limits
from limner.serving.metrics import Metrics
from limner.serving.photos import load
from limner.serving.requests import FacesRequest
from limner.serving.table import JobTable, Made, QueueFull
from limner.serving.work import largest_face
from limner.serving.worker import Worker
from limner.toolkit import Toolkit
from limner.words.captions import compose_captions

T = TypeVar("T")
SEED = 0  # of composed captions: one photo, one caption


class Server:
    """Table, engines and worker of one process."""

    def __init__(self, toolkit: Toolkit, painter: str, limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.engines = Engines(toolkit, painter)
        self.table = JobTable(limits.folder)
        self.worker = Worker(self.table, self.engines, limits, self.metrics)
        self._under_way = 0

    async def at_once(self, work: Callable[..., T], *given: Any) -> T:
        """Do something that needs no job, in a thread; ``QueueFull`` if too much is under way."""
        with self._place():
            return await run_in_threadpool(work, *given)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._under_way >= self.limits.waiting:
            raise QueueFull(f"{self.limits.waiting} requests are under way already: try again in a while")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def faces(self, asked: FacesRequest) -> dict[str, Any]:
        """What `limner read --json` says, and ids of region maps if they are asked for."""
        photo = load(self.table, asked.photo)
        faces = self.engines.read(photo, asked.min_score)
        records = [face.to_dict() for face in faces]
        if asked.regions:
            for record, face in zip(records, faces):
                height, width = face.regions.shape
                record["regions"] = self.table.upload(Made(encode_png(face.regions), "image/png", width, height)).id
        return {"width": photo.shape[1], "height": photo.shape[0], "faces": records}

    def describe(self, reference: str, by: str) -> str:
        """A caption of the largest face."""
        if by == "reader":
            face = largest_face(self.engines, load(self.table, reference))
            return compose_captions(face.attributes, np.random.default_rng(SEED), 1)[0].text
        self.engines.require("describe")
        photo = load(self.table, reference)
        with self.engines.talking("describe") as model:
            return model.describe(photo).text

    def ask(self, reference: str, question: str) -> str:
        """An answer to a question about a photo."""
        self.engines.require("ask")
        photo = load(self.table, reference)
        with self.engines.talking("ask") as model:
            return model.ask(photo, question).text


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    return request.app.state.server


def pieces(text: str) -> Iterator[str]:
    """A text word by word, each with the space before it."""
    for number, word in enumerate(text.split(" ")):
        yield word if number == 0 else f" {word}"


async def events(of: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Server-sent events, a JSON text each."""
    async for each in of:
        yield f"data: {each}\n\n".encode()
        await asyncio.sleep(0)

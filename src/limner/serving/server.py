"""One server's parts, and what needs no job: reading, describing, asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse

from limner.faces.picture import encode_png
from limner.serving.cleaner import Cleaner
from limner.serving.engines import Engines
from limner.serving.images import Photos
from limner.serving.job_handlers import largest_face
from limner.serving.job_store import JobStore, Made, QueueFull
from limner.serving.limits import Limits
from limner.serving.metrics import Metrics
from limner.serving.requests import FacesRequest
from limner.serving.token_stream import Tell, Trimmed, told
from limner.serving.worker import Worker
from limner.settings import TurnSettings
from limner.toolkit import load as load_toolkit
from limner.words.captions import compose_captions

T = TypeVar("T")
LIMIT = 200  # tokens of an answer, unless the request says otherwise (``UniF2ace.ask``)
Turns: TypeAlias = Sequence[tuple[str, str]]
"""Earlier turns about a photo: questions, and the texts of their answers."""
TURNS = 8  # that are read again before a question; older ones are forgotten, so that answers stay quick
THUMBNAIL_THREADS = 2
THUMBNAILS_WAITING = 64  # thumbnail requests that may wait
SEED = 0  # of composed captions: one photo, one caption


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """Tokens of an answer. cut: whether the limit ended it before the model did."""

    prompt: int
    answer: int
    cut: bool = False


class Server:
    """Table, engines and worker of one process."""

    def __init__(self, source: str, limits: Limits, editor: str | None = None) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.engines = Engines(load_toolkit(source, editor), source, editor)
        self.table = JobStore(limits.folder, limits.store_bytes)
        self.photos = Photos(self.table)
        self.worker = Worker(self.photos, self.engines, limits, self.metrics)
        self.cleaner = Cleaner(self.table, limits)
        self._under_way = 0
        self._thumbnails_waiting = 0
        self._slow = CapacityLimiter(limits.waiting)
        self._thumbnail_threads = CapacityLimiter(THUMBNAIL_THREADS)

    def start(self) -> None:
        """Begin to compute and to clean."""
        self.worker.start()
        self.cleaner.start()

    def stop(self) -> None:
        """End both, and give the folder free."""
        self.cleaner.stop()
        self.worker.stop()
        self.table.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Something that needs no job and takes a while is under way; ``QueueFull`` if too much is already."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    async def at_once(self, work: Callable[..., T], *given: Any) -> T:
        """Do something that needs no job, in a thread of its own kind; ``QueueFull`` if too much is under way."""
        with self.turn():
            return await self.in_thread(work, *given)

    async def in_thread(self, work: Callable[..., T], *given: Any) -> T:
        """Do something slow in a thread: not one of those that short calls to the table take turns with."""
        return await to_thread.run_sync(work, *given, limiter=self._slow)

    async def thumbnail(self, picture: str, side: int) -> bytes:
        """A thumbnail of a picture; ``QueueFull`` if too many are waiting."""
        if self._thumbnails_waiting >= THUMBNAILS_WAITING:
            raise QueueFull(f"{THUMBNAILS_WAITING} thumbnails are waiting already: try again in a while")
        self._thumbnails_waiting += 1
        try:
            return await to_thread.run_sync(self.photos.thumbnail, picture, side, limiter=self._thumbnail_threads)
        finally:
            self._thumbnails_waiting -= 1

    async def told(self, write: Callable[[Tell], object]) -> AsyncGenerator[str, None]:
        """Text piece by piece as ``write`` tells it in a thread, which ends at its next token when nobody reads on;
        ``QueueFull`` if too much is under way."""
        self._begin()
        async with aclosing(told(write, self._end)) as text:
            async for piece in text:
                yield piece

    def _begin(self) -> None:
        if self._under_way >= self.limits.waiting:
            raise QueueFull(f"{self.limits.waiting} requests are under way already: try again in a while")
        self._under_way += 1

    def _end(self) -> None:
        self._under_way -= 1

    def faces(self, asked: FacesRequest) -> dict[str, Any]:
        """What `limner read --json` says, and ids of region maps if they are asked for."""
        photo = self.photos.load(asked.photo)
        faces = self.engines.read(photo, asked.min_score)
        records = [face.to_dict() for face in faces]
        if asked.regions:
            for record, face in zip(records, faces):
                height, width = face.regions.shape
                record["regions"] = self.table.upload(Made(encode_png(face.regions), "image/png", width, height)).id
        return {"width": photo.shape[1], "height": photo.shape[0], "faces": records}

    def describe(self, reference: str, by: str, length: str = "long") -> str:
        """A caption: by the reader of the largest face, by UniF²ace, in the length asked for, of every face."""
        if by == "reader":
            face = largest_face(self.engines, self.photos.load(reference))
            return compose_captions(face.attributes, np.random.default_rng(SEED), 1)[0].text
        self.engines.require("describe")
        photo = self.photos.load(reference)
        with self.engines.talking("describe") as model:
            return model.describe(photo, length).text

    def ask(self, reference: str, question: str, before: Turns = ()) -> str:
        """An answer to a question about a photo, read after the last of the turns before it."""
        self.engines.require("ask")
        photo = self.photos.load(reference)
        with self.engines.talking("ask") as model:
            return model.chat(photo, before=before[-TURNS:]).ask(question).text

    def tell_answer(
        self, reference: str, question: str, tell: Tell, before: Turns = (), settings: TurnSettings | None = None
    ) -> TokenCount:
        """The same text told token by token; several faces one after the other, so that their lines do not mix.

        settings: as ``UniF2ace.chat`` takes them; the k-th face draws from the seed + k. Returns how many tokens were
        read and written.
        """
        self.engines.require("ask")
        photo = self.photos.load(reference)
        given: TurnSettings = settings or {}
        read, written, cut = 0, 0, False
        with self.engines.talking("ask") as model:
            tell("")  # it may have waited long for its turn
            look = model.answerer.encode_photo(photo)
            for place, face in enumerate(look.split()):
                if look.count > 1:
                    tell(f"{chr(10) if place else ''}{face.positions[0]}: ")
                trimmed, tokens = Trimmed(tell), 0

                def stream(_: int, piece: str, trimmed: Trimmed = trimmed) -> None:
                    nonlocal tokens
                    tokens += 1
                    trimmed(piece)

                turn: TurnSettings = {**given, "seed": given.get("seed", 0) + place}
                talk = model.chat(face, before=before[-TURNS:], **turn)
                said = talk.ask(question, stream=stream).text
                tell(said[len(trimmed.text) :])  # a last character that never became whole
                read += model.answerer.prompt_tokens(question, before[-TURNS:])
                written += tokens
                cut = cut or tokens >= given.get("limit", LIMIT)
        return TokenCount(prompt=read, answer=written, cut=cut)


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    return request.app.state.server


def pieces(text: str) -> Iterator[str]:
    """A text word by word, each with the space before it."""
    for number, word in enumerate(text.split(" ")):
        yield word if number == 0 else f" {word}"


async def begun(text: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same text when its first piece is there: what is wrong with the request is raised before an answer begins."""
    first = await anext(text, None)

    async def rest() -> AsyncGenerator[str, None]:
        async with aclosing(text):
            if first is not None:
                yield first
            async for piece in text:
                yield piece

    return rest()


def events(of: AsyncGenerator[str, None]) -> StreamingResponse:
    """Server-sent events, a JSON text each. When the reader goes away the iterator is closed."""

    async def sent() -> AsyncIterator[bytes]:
        async with aclosing(of):
            async for each in of:
                yield f"data: {each}\n\n".encode()

    return StreamingResponse(sent(), media_type="text/event-stream")

"""Limner's own routes: pictures in and out, what is read and said at once, and what runs as a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from limner import __version__
from limner.serving.engines import VERBS
from limner.serving.errors import RESPONSES
from limner.serving.images import jpeg_url
from limner.serving.job_store import State, Stored, WrongState
from limner.serving.requests import (
    AskRequest,
    DescribeRequest,
    EditRequest,
    FacesRequest,
    PaintRequest,
    ReenactRequest,
    RepaintRequest,
    SwapRequest,
)
from limner.serving.requests import Request as Asked
from limner.serving.server import Server, begun, events, server_of
from limner.serving.worker import Standing, as_dict

router = APIRouter(responses={status: RESPONSES[status] for status in (400, 401, 403, 413, 422)})
Here = Annotated[Server, Depends(server_of)]
JobId = Annotated[str, Path(pattern=r"^job_[0-9a-f]{20}$", examples=["job_0123456789abcdef0123"])]
PictureId = Annotated[str, Path(pattern=r"^pic_[0-9a-f]{20}$", examples=["pic_0123456789abcdef0123"])]
Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the job's end before answering.")]
CACHED = {"Cache-Control": "private, max-age=31536000, immutable"}
POLL = 0.05  # seconds between looks at a job that is followed
BUSY: dict[int | str, dict[str, Any]] = {status: RESPONSES[status] for status in (429, 503, 507)}


class PictureInfo(BaseModel):
    """A picture that the server keeps."""

    id: str
    url: str
    width: int
    height: int


class JobInfo(BaseModel):
    """A job. Times are seconds since 1970."""

    id: str
    kind: str
    state: State
    created: float
    started: float | None
    ended: float | None
    attempts: int
    error: str | None
    steps_done: int
    steps: int
    request: dict[str, Any]
    pictures: list[PictureInfo]


class JobEvent(JobInfo):
    """A job as it is followed."""

    preview: str | None = Field(description="What its pictures look like now, as a data URL (JPEG), where that is new.")


class Text(BaseModel):
    """Words."""

    text: str


class FacesAnswer(BaseModel):
    """Faces, largest first, as `limner read --json` gives them; `regions` is a picture id where asked for."""

    width: int
    height: int
    faces: list[dict[str, Any]]


class Health(BaseModel):
    """Is the server up, and what waits."""

    status: Standing = Field(
        description="ok; disk_full: nothing can be stored, and jobs wait for room; store_failing: the table of jobs "
        "cannot be used; stopped: nothing computes jobs"
    )
    version: str = __version__
    queued: int
    running: int
    engines: dict[str, str] = Field(description="not loaded, loading or ready")


@router.get("/health", tags=["server"], responses={503: {"model": Health, "description": "Jobs are not computed."}})
async def health(server: Here, answer: Response) -> Health:
    """Is the server up, and are jobs computed? Asks no table, so that it answers whatever the table does."""
    standing, table = server.worker.standing, server.table
    if standing in ("store_failing", "stopped"):
        answer.status_code = 503
    engines = {verb.engine: server.engines.state(verb.engine) for verb in VERBS.values()}
    return Health(status=standing, queued=table.queued, running=table.running, engines=engines)


@router.get("/metrics", tags=["server"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(server: Here) -> Response:
    """Figures for Prometheus."""
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models", tags=["server"])
def models(server: Here) -> dict[str, Any]:
    """What can be done here, by engine; in OpenAI's shape, with Limner's verbs beside it."""
    names = {"reader": "reader", "MDiTFace": "mditface-nano", "UniF²ace": "unif2ace-nano", "FaceX": "facex-nano"}
    return {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "limner",
                "verbs": [verb.name for verb in VERBS.values() if verb.engine == engine],
                "available": (
                    reason := next(server.engines.missing(v.name) for v in VERBS.values() if v.engine == engine)
                )
                is None,
                "reason": reason,
                "state": server.engines.state(engine),
            }
            for engine, name in names.items()
        ],
    }


@router.post("/v1/uploads", status_code=201, tags=["pictures"], responses={s: RESPONSES[s] for s in (429, 507)})
async def upload(server: Here, file: UploadFile) -> PictureInfo:
    """Give the server a picture, to be named by its id."""
    with server.turn():  # before it is read into memory
        data = await file.read()
        return _info(await server.in_thread(server.photos.store, data))


@router.get(
    "/v1/pictures/{picture}",
    tags=["pictures"],
    response_class=Response,
    responses={200: {"content": {"image/*": {}}}, 404: RESPONSES[404], 429: RESPONSES[429]},
)
async def picture(
    server: Here,
    picture: PictureId,
    side: Annotated[Literal["64", "128", "256", "512"] | None, Query(description="A small copy, as WebP.")] = None,
    download: Annotated[Literal["yes"] | None, Query(description="Offer it as a file.")] = None,
) -> Response:
    """A picture's file, as it was stored: a made one with its recipe and marks."""
    if side is not None:
        data = await server.thumbnail(picture, int(side))
        return Response(data, media_type="image/webp", headers=CACHED)
    found, data = await run_in_threadpool(server.photos.file, picture)
    headers = dict(CACHED)
    if download:
        headers["Content-Disposition"] = f'attachment; filename="limner-{picture[4:12]}.{found.mime.partition("/")[2]}"'
    return Response(data, media_type=found.mime, headers=headers)


@router.get("/v1/pictures/{picture}/recipe", tags=["pictures"], responses={404: RESPONSES[404]})
def recipe(server: Here, picture: PictureId) -> dict[str, Any] | None:
    """How a picture was made; null for one that was uploaded."""
    return server.table.picture(picture).recipe


@router.post("/v1/faces", tags=["words"], responses={404: RESPONSES[404], **BUSY})
async def faces(server: Here, asked: FacesRequest) -> FacesAnswer:
    """Read the faces in a photo."""
    return FacesAnswer(**await server.at_once(server.faces, asked))


@router.post("/v1/describe", tags=["words"], responses={404: RESPONSES[404], **BUSY})
async def describe(server: Here, asked: DescribeRequest) -> Text:
    """Describe a photo."""
    return Text(text=await server.at_once(server.describe, asked.photo, asked.by, asked.length))


@router.post("/v1/ask", tags=["words"], response_model=Text, responses={404: RESPONSES[404], **BUSY})
async def ask(server: Here, asked: AskRequest) -> Any:
    """Ask a question about a photo. With `stream`, an event for what every token adds; going away stops the answer."""
    if not asked.stream:
        return Text(text=await server.at_once(server.ask, asked.photo, asked.question))
    text = await begun(server.told(partial(server.tell_answer, asked.photo, asked.question)))

    async def told() -> AsyncGenerator[str, None]:
        async with aclosing(text):
            async for piece in text:
                yield json.dumps({"text": piece})

    return events(told())


JOB: dict[int | str, dict[str, Any]] = {404: RESPONSES[404], **BUSY}
ENDED: dict[int | str, dict[str, Any]] = {status: RESPONSES[status] for status in (404, 409, 507)}


async def _submitted(server: Server, kind: str, asked: Asked, wait: float) -> JobInfo:
    job = await server.at_once(server.worker.submit, kind, asked)
    await ended(server, job.id, wait)
    return await run_in_threadpool(_job, server, job.id)


async def ended(server: Server, job: str, seconds: float) -> None:
    """Wait for a job's end, or so many seconds; ``NotThere``."""
    clock, seen = asyncio.get_running_loop(), -1
    until = clock.time() + seconds
    while True:
        if server.table.version != seen:
            seen = server.table.version
            if (await run_in_threadpool(server.table.get, job)).state not in ("queued", "running"):
                return
        if clock.time() >= until:
            return
        await asyncio.sleep(POLL)


@router.post("/v1/paint", status_code=202, tags=["jobs"], responses=JOB)
async def paint(server: Here, asked: PaintRequest, wait: Wait = 0) -> JobInfo:
    """Paint portraits from words, regions, or both."""
    return await _submitted(server, "paint", asked, wait)


@router.post("/v1/repaint", status_code=202, tags=["jobs"], responses=JOB)
async def repaint(server: Here, asked: RepaintRequest, wait: Wait = 0) -> JobInfo:
    """Paint a part of a photo's face again."""
    return await _submitted(server, "repaint", asked, wait)


@router.post("/v1/edit", status_code=202, tags=["jobs"], responses=JOB)
async def edit(server: Here, asked: EditRequest, wait: Wait = 0) -> JobInfo:
    """Edit a photo by a plan."""
    return await _submitted(server, "edit", asked, wait)


@router.post("/v1/swap", status_code=202, tags=["jobs"], responses=JOB)
async def swap(server: Here, asked: SwapRequest, wait: Wait = 0) -> JobInfo:
    """Put the face of one photo into another."""
    return await _submitted(server, "swap", asked, wait)


@router.post("/v1/reenact", status_code=202, tags=["jobs"], responses=JOB)
async def reenact(server: Here, asked: ReenactRequest, wait: Wait = 0) -> JobInfo:
    """Let one face do what another does."""
    return await _submitted(server, "reenact", asked, wait)


@router.get("/v1/jobs", tags=["jobs"])
def jobs(server: Here, limit: Annotated[int, Query(ge=1, le=200)] = 50, state: State | None = None) -> list[JobInfo]:
    """The newest jobs first."""
    return [_job(server, found.id) for found in server.table.latest(limit, state)]


@router.get("/v1/jobs/{job}", tags=["jobs"], responses={404: RESPONSES[404]})
async def job(server: Here, job: JobId, wait: Wait = 0) -> JobInfo:
    """One job."""
    await ended(server, job, wait)
    return await run_in_threadpool(_job, server, job)


@router.get(
    "/v1/jobs/{job}/events",
    tags=["jobs"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 404: RESPONSES[404]},
)
async def follow(server: Here, job: JobId) -> StreamingResponse:
    """Follow a job: a `JobEvent` at every change, the last when it has ended; previews come while it is followed."""
    await run_in_threadpool(server.table.get, job)

    async def told() -> AsyncGenerator[str, None]:
        now, before, seen, shown = None, None, -1, None
        while True:
            at, version = server.worker.progress(job), server.table.version
            if now is None or version != seen:
                now, seen = await run_in_threadpool(_job, server, job), version
            now = now.model_copy(update={"steps_done": at.done, "steps": at.total})
            fresh = at.preview is not None and at.previewed != shown
            if now != before or fresh:
                image = jpeg_url(at.preview) if fresh and at.preview is not None else None
                yield JobEvent(**now.model_dump(), preview=image).model_dump_json()
            if now.state not in ("queued", "running"):
                return
            before, shown = now, at.previewed
            await asyncio.sleep(POLL)

    return events(told())


@router.get(
    "/v1/jobs/{job}/preview",
    tags=["jobs"],
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 204: {"description": "None yet."}, 404: RESPONSES[404]},
)
async def preview(server: Here, job: JobId) -> Response:
    """What a running job's pictures look like now."""
    await run_in_threadpool(server.table.get, job)
    image = server.worker.progress(job).preview
    return Response(status_code=204) if image is None else Response(image, media_type="image/jpeg")


@router.get("/v1/jobs/{job}/result", tags=["jobs"], responses={404: RESPONSES[404], 409: RESPONSES[409]})
def result(server: Here, job: JobId) -> list[PictureInfo]:
    """The pictures of a job that is done."""
    found = server.table.get(job)
    if found.state != "done":
        raise WrongState(f"this job is {found.state}{f': {found.error}' if found.error else ''}")
    return [_info(each) for each in server.table.pictures(job)]


@router.post("/v1/jobs/{job}/cancel", tags=["jobs"], responses=ENDED)
def cancel(server: Here, job: JobId) -> JobInfo:
    """Stop a job; it computes at most one more step."""
    return _job(server, server.worker.cancel(job).id)


@router.post("/v1/jobs/{job}/retry", status_code=202, tags=["jobs"], responses={409: RESPONSES[409], **JOB})
def retry(server: Here, job: JobId) -> JobInfo:
    """Do again what failed or was stopped."""
    return _job(server, server.worker.retry(job).id)


@router.delete(
    "/v1/jobs/{job}",
    status_code=204,
    tags=["jobs"],
    responses=ENDED,
)
def delete(server: Here, job: JobId) -> Response:
    """Forget an ended job and its pictures."""
    server.table.delete(job)
    return Response(status_code=204)


def _job(server: Server, job: str) -> JobInfo:
    return JobInfo(**as_dict(server.table.get(job), server.worker))


def _info(stored: Stored) -> PictureInfo:
    return PictureInfo(id=stored.id, url=f"/v1/pictures/{stored.id}", width=stored.width, height=stored.height)

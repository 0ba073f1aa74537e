"""OpenAI's shapes over the same jobs: images/generations and images/edits (``openai_chat`` has the conversations).

What differs from OpenAI's service stands in docs/server.md. Fields that would be ignored are refused instead.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, HTTPException, UploadFile
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from starlette.concurrency import run_in_threadpool

from limner.errors import InputError
from limner.serving.errors import RESPONSES
from limner.serving.job_store import QueueFull, WrongState
from limner.serving.limits import MOST_PICTURES
from limner.serving.requests import PaintRequest, RepaintRequest, Request
from limner.serving.routes import BUSY, Here, ended
from limner.serving.server import Server

router = APIRouter(
    tags=["OpenAI"], responses={**{status: RESPONSES[status] for status in (400, 401, 403, 413, 422)}, **BUSY}
)
Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
STEPS: dict[str, int] = {"low": 8, "medium": 16, "standard": 28, "auto": 28, "high": 28, "hd": 50}
"""What a quality means here."""
Size = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3})$")]


CLIENT_GONE = 499  # nginx's status for it; nobody reads the answer
LOOK_EVERY = 0.5  # seconds between looks whether the client is still there


class OpenAIRequest(Request):
    """A request in OpenAI's shape: a field that is null counts as absent, as their specification allows."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {name: value for name, value in given.items() if value is not None or name in needed}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        for name, described in schema.get("properties", {}).items():
            if name not in schema.get("required", ()) and {"type": "null"} not in described.get("anyOf", ()):
                about = {key: described.pop(key) for key in ("title", "description", "default") if key in described}
                schema["properties"][name] = {"anyOf": [described, {"type": "null"}], **about}
        return schema


class ImagesRequest(OpenAIRequest):
    """images/generations; seed is Limner's own."""

    prompt: str = Field(min_length=1, max_length=2000, examples=["a smiling woman with grey hair"])
    model: str = Field(default="mditface-nano", max_length=100)
    n: int = Field(default=1, ge=1, le=MOST_PICTURES)
    size: Size = "auto"
    quality: Quality = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png"] = "png"
    user: str | None = Field(default=None, max_length=200, description="Noted nowhere.")
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="Limner's own: picture k is that of seed + k.")


class Image(BaseModel):
    """One picture."""

    b64_json: str | None = None
    url: str | None = None


class ImagesAnswer(BaseModel):
    """Pictures."""

    created: int
    data: list[Image]


@router.post("/v1/images/generations")
async def generate(server: Here, http: HttpRequest, asked: ImagesRequest) -> ImagesAnswer:
    """Paint from words."""
    _painter(server, asked.model)
    paint = PaintRequest(
        text=asked.prompt, n=asked.n, seed=asked.seed, steps=STEPS[asked.quality], size=_side(asked.size)
    )
    return await _images(server, http, "paint", paint, asked.response_format)


@router.post("/v1/images/edits")
async def edit(
    server: Here,
    http: HttpRequest,
    image: UploadFile,
    prompt: Annotated[str, Form(min_length=1, max_length=2000)],
    mask: UploadFile | None = None,
    model: Annotated[str, Form(max_length=100)] = "mditface-nano",
    n: Annotated[int, Form(ge=1, le=MOST_PICTURES)] = 1,
    size: Annotated[Size, Form()] = "auto",
    quality: Annotated[Quality, Form()] = "auto",
    response_format: Annotated[Literal["b64_json", "url"], Form()] = "b64_json",
    seed: Annotated[int, Form(ge=0, le=2**53 - 1)] = 0,
) -> ImagesAnswer:
    """Paint a photo's face again, following its regions and the prompt.

    With a mask, or transparency in the image itself, only what is transparent is painted, and the whole photo comes
    back; without, a new portrait of the aligned face's regions.
    """
    _painter(server, model)
    with server.turn():
        file = await image.read()
        photo = (await server.in_thread(server.photos.store, file, "image")).id
    shared: dict[str, Any] = {"text": prompt, "n": n, "seed": seed, "steps": STEPS[quality], "size": _side(size)}
    with server.turn():
        if mask is None and await server.in_thread(_opaque, server, file):
            opening = None
        elif mask is None:
            opening = photo
        else:
            opening = (await server.in_thread(server.photos.store, await mask.read(), "mask")).id
    if opening is None:
        return await _images(server, http, "paint", PaintRequest(like=photo, **shared), response_format)
    return await _images(server, http, "repaint", RepaintRequest(photo=photo, mask=opening, **shared), response_format)


def _opaque(server: Server, file: bytes) -> bool:
    return bool((server.photos.alpha(file) == 255).all())


def _painter(server: Server, model: str) -> None:
    names = {"mditface-nano", server.engines.source}
    if model not in names:
        raise InputError(f"no model {model!r} paints here: choose {' or '.join(sorted(names))} (see /v1/models)")


def _side(size: str) -> int | None:
    """The side that a size asks for; None: the painter's own. ``InputError`` unless it is square."""
    if size == "auto":
        return None
    width, _, height = size.partition("x")
    if width != height:
        raise InputError(f"size {size}: portraits are square, for example 256x256")
    if int(width) < 16 or int(width) > 4096:
        raise InputError(f"size {size}: choose a side from 16 to 4096")
    return int(width)


async def _images(server: Server, http: HttpRequest, kind: str, asked: Request, form: str) -> ImagesAnswer:
    """Run a request as a job, wait for its end, and answer with its pictures.

    Only this answer names the job: when the client goes away before it, the job is cancelled.
    """
    job = await server.at_once(server.worker.submit, kind, asked)
    clock = asyncio.get_running_loop()
    until = clock.time() + server.limits.job_seconds + 60
    while clock.time() < until:
        await ended(server, job.id, LOOK_EVERY)
        if (await run_in_threadpool(server.table.get, job.id)).state not in ("queued", "running"):
            break
        if await http.is_disconnected():
            with suppress(WrongState):  # it has ended meanwhile
                await run_in_threadpool(server.worker.cancel, job.id)
            raise HTTPException(CLIENT_GONE, "the client went away")
    found = await run_in_threadpool(server.table.get, job.id)
    if found.state in ("queued", "running"):
        raise QueueFull("it did not get its turn in time: try again in a while")
    if found.state != "done":
        raise InputError(found.error or f"the job was {found.state}")
    pictures = await run_in_threadpool(server.table.pictures, job.id)
    if form == "url":
        base = str(http.base_url).rstrip("/")
        data = [Image(url=f"{base}/v1/pictures/{p.id}") for p in pictures]
    else:
        data = await run_in_threadpool(lambda: [Image(b64_json=_base64(server.table.data(p.id))) for p in pictures])
    return ImagesAnswer(created=int(found.created), data=data)


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode("ascii")

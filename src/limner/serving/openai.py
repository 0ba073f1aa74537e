"""OpenAI's shapes over the same jobs: images/generations, images/edits, chat/completions.

What differs from OpenAI's service stands in docs/server.md. Fields that would be ignored are refused instead.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, UploadFile
from fastapi import Request as HttpRequest
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from limner.errors import InputError
from limner.serving.errors import RESPONSES
from limner.serving.job_store import QueueFull
from limner.serving.limits import MOST_PICTURES
from limner.serving.requests import PaintRequest, RepaintRequest, Request
from limner.serving.routes import BUSY, Here, ended
from limner.serving.server import Server, begun, events, pieces
from limner.serving.token_stream import Tell

router = APIRouter(
    tags=["OpenAI"], responses={**{status: RESPONSES[status] for status in (400, 401, 403, 413, 422)}, **BUSY}
)
Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
STEPS: dict[str, int] = {"low": 8, "medium": 16, "standard": 28, "auto": 28, "high": 28, "hd": 50}
"""What a quality means here."""
Size = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3})$")]


class ImagesRequest(Request):
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


class ImageUrl(Request):
    """A data URL."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Request):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(Request):
    """Words in a message."""

    type: Literal["text"]
    text: str = Field(max_length=20_000)


class Message(Request):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class ChatRequest(Request):
    """chat/completions: the last picture is the photo, the last user's words are the question, and what was said since
    the picture came are the turns before it."""

    model: str = Field(max_length=100, examples=["reader"])
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool = False
    user: str | None = Field(default=None, max_length=200, description="Noted nowhere.")


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


@router.post("/v1/chat/completions", response_model=dict[str, Any])
async def chat(server: Here, asked: ChatRequest) -> Any:
    """Ask about a picture. Model `reader` gives a caption of what was read; `unif2ace-nano` answers questions."""
    photo, question, before = _read_messages(asked)
    if asked.model != "reader" and not asked.model.startswith("unif2ace"):
        raise InputError(f"no model {asked.model!r} chats here: choose reader or unif2ace-nano (see /v1/models)")
    shared = {"id": f"chatcmpl-{secrets.token_hex(8)}", "created": int(time.time()), "model": asked.model}
    if not asked.stream:
        if asked.model == "reader":
            said = await server.at_once(server.describe, photo, "reader")
        else:
            said = await server.at_once(server.ask, photo, question, before)
        message = {"role": "assistant", "content": said, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**shared, "object": "chat.completion", "choices": [choice]}

    def write(tell: Tell) -> None:
        if asked.model != "reader":
            return server.tell_answer(photo, question, tell, before)
        for piece in pieces(server.describe(photo, "reader")):
            tell(piece)

    text = await begun(server.told(write))

    async def told() -> AsyncGenerator[str, None]:
        def chunk(delta: dict[str, str], reason: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return json.dumps({**shared, "object": "chat.completion.chunk", "choices": [choice]})

        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(text):
            async for piece in text:
                yield chunk({"content": piece})
        yield chunk({}, "stop")
        yield "[DONE]"

    return events(told())


def _read_messages(asked: ChatRequest) -> tuple[str, str, list[tuple[str, str]]]:
    """The photo, the question, and the turns about this photo before it."""
    photo, question = None, ""
    before: list[tuple[str, str]] = []
    for message in asked.messages:
        parts = [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        words = " ".join(part.text for part in parts if isinstance(part, TextPart)).strip()
        if message.role == "assistant" and question and words:
            before.append((question, words))
        if message.role != "user":
            continue
        question = words or question
        for part in parts:
            if isinstance(part, ImagePart):
                photo, before = part.image_url.url, []
    if photo is None:
        raise InputError("there is no picture in these messages: add a part of type image_url with a data URL")
    if not photo.startswith("data:"):
        raise InputError("give pictures as data URLs (data:image/png;base64,…): this server fetches nothing")
    return photo, question, before


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
    """Run a request as a job, wait for its end, and answer with its pictures."""
    job = await server.at_once(server.worker.submit, kind, asked)
    await ended(server, job.id, server.limits.job_seconds + 60)
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

"""OpenAI's chat/completions: questions about a picture in the messages.

What differs from OpenAI's service stands in docs/server.md.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException
from fastapi import Request as HttpRequest
from pydantic import Field, model_validator

from limner.errors import InputError
from limner.serving.errors import RESPONSES
from limner.serving.openai import CLIENT_GONE, OpenAIRequest
from limner.serving.picture_refs import picture_reference
from limner.serving.routes import BUSY, Here
from limner.serving.server import Server, TokenCount, begun, events, pieces
from limner.serving.token_stream import Tell
from limner.settings import TurnSettings

router = APIRouter(
    tags=["OpenAI"], responses={**{status: RESPONSES[status] for status in (400, 401, 403, 413, 422)}, **BUSY}
)
MOST_TOKENS = 4096


class ImageUrl(OpenAIRequest):
    """A data URL."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(OpenAIRequest):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(OpenAIRequest):
    """Words in a message."""

    type: Literal["text"]
    text: str = Field(max_length=20_000)


class Message(OpenAIRequest):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class StreamOptions(OpenAIRequest):
    """What else a stream sends."""

    include_usage: bool = Field(default=False, description="Send a last chunk with the number of tokens.")


class ChatRequest(OpenAIRequest):
    """chat/completions: the last picture is the photo, the last user's words are the question, and what was said since
    the picture came are the turns before it."""

    model: str = Field(max_length=100, examples=["reader"])
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float = Field(default=0.0, ge=0, le=2, description="0, the default here: always the likeliest token.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Draw from the likeliest tokens up to this probability.")
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS, description="Most tokens a face.")
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS, description="The same.")
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="Of drawn tokens.")
    n: Literal[1] = 1
    user: str | None = Field(default=None, max_length=200, description="Noted nowhere.")

    @model_validator(mode="after")
    def _fits(self) -> ChatRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream=true: leave it out, or stream")
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise ValueError("max_tokens and max_completion_tokens say the same: give one of them")
        return self

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer, where the request says."""
        return self.max_completion_tokens or self.max_tokens

    def settings(self) -> TurnSettings:
        """As ``UniF2ace.chat`` takes them."""
        from limner.models.unif2ace.generation import SamplingParams

        made: TurnSettings = {
            "sampling": SamplingParams(temperature=self.temperature, top_p=self.top_p),
            "seed": self.seed,
        }
        if self.limit is not None:
            made["limit"] = self.limit
        return made


@router.post("/v1/chat/completions", response_model=dict[str, Any])
async def chat(server: Here, http: HttpRequest, asked: ChatRequest) -> Any:
    """Ask about a picture. Model `reader` gives a caption of what was read; `unif2ace-nano` answers questions."""
    photo, question, before = _read_messages(asked)
    if asked.model != "reader" and not asked.model.startswith("unif2ace"):
        raise InputError(f"no model {asked.model!r} chats here: choose reader or unif2ace-nano (see /v1/models)")
    shared = {"id": f"chatcmpl-{secrets.token_hex(8)}", "created": int(time.time()), "model": asked.model}
    counts: list[TokenCount] = []

    def write(tell: Tell) -> None:
        if asked.model == "reader":
            counts.append(_tell_caption(server, photo, asked.limit, tell))
        else:
            counts.append(server.tell_answer(photo, question, tell, before, asked.settings()))

    text = await begun(server.told(write))
    if not asked.stream:
        said = []
        async with aclosing(text):
            async for piece in text:
                said.append(piece)
                if await http.is_disconnected():  # leaving the loop stops the writing at its next token
                    raise HTTPException(CLIENT_GONE, "the client went away")
        message = {"role": "assistant", "content": "".join(said), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": _reason(counts[0]), "logprobs": None}
        return {**shared, "object": "chat.completion", "choices": [choice], "usage": _usage(counts[0])}
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage

    async def told() -> AsyncGenerator[str, None]:
        def chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
            more = {"usage": usage} if with_usage else {}
            return json.dumps({**shared, "object": "chat.completion.chunk", "choices": choices, **more})

        def delta(given: dict[str, str], reason: str | None = None) -> list[dict[str, Any]]:
            return [{"index": 0, "delta": given, "finish_reason": reason}]

        yield chunk(delta({"role": "assistant", "content": ""}))
        async with aclosing(text):
            async for piece in text:
                yield chunk(delta({"content": piece}))
        yield chunk(delta({}, _reason(counts[0])))
        if with_usage:
            yield chunk([], _usage(counts[0]))
        yield "[DONE]"

    return events(told())


def _tell_caption(server: Server, photo: str, limit: int | None, tell: Tell) -> TokenCount:
    """The reader's caption, word by word; a word counts as a token."""
    words = list(pieces(server.describe(photo, "reader")))
    for word in words[:limit]:
        tell(word)
    return TokenCount(prompt=0, answer=len(words[:limit]), cut=limit is not None and len(words) > limit)


def _reason(count: TokenCount) -> str:
    return "length" if count.cut else "stop"


def _usage(count: TokenCount) -> dict[str, int]:
    return {
        "prompt_tokens": count.prompt, "completion_tokens": count.answer, "total_tokens": count.prompt + count.answer,
    }  # fmt: skip


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
    return picture_reference(photo), question, before

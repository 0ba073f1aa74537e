"""One model behind an OpenAI-compatible endpoint, and a client that waits, tries again, and knows when not to.

The protocol is `POST <url>/chat/completions`. What may pass by itself is tried again: no connection, a connection cut
off in the middle, no whole answer in time, 408, 409, 425, 429 and 5xx, and a 200 that is no completion. Waits double
from one try to the next, with a random part; `Retry-After` is obeyed. Everything else the user has to mend.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from limner.chat.rate_limit import Pace
from limner.errors import InputError
from limner.json_lines import parse_object

RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)})
UNSUITABLE = frozenset({400, 413, 422})  # of one request: too long, filtered; the next may pass
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for more
MOST_ASKED = 600.0  # seconds of Retry-After that are obeyed; beyond that the run ends and can be continued later
LARGEST = 8 * 2**20  # bytes of an answer


class Unsuitable(Exception):
    """The endpoint will not take this one request (a filter, a length); others may pass."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Money for a million tokens, in whatever currency the user thinks in."""

    prompt: float
    answer: float

    def of(self, prompt: int, answer: int) -> float:
        """What so many tokens cost."""
        return (self.prompt * prompt + self.answer * answer) / 1e6

    @classmethod
    def parse(cls, text: str) -> Price:
        """A price from "0.15/0.60" (prompt/answer tokens, per million). Raises InputError."""
        try:
            prompt, answer = map(float, text.split("/"))
        except ValueError as error:
            raise InputError(f"price {text!r} is not like 0.15/0.60 (a million prompt/answer tokens)") from error
        if not (0 <= prompt < float("inf") and 0 <= answer < float("inf")):
            raise InputError(f"price {text!r}: give two numbers from 0 up")
        return cls(prompt=prompt, answer=answer)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is, what it is called there, and how patiently it is asked."""

    role: str
    """What it does here (vlm, llm, judge): names it in messages, and its environment variables."""
    url: str
    """Base URL, such as http://localhost:8000/v1."""
    model: str
    """Name of the model at that endpoint."""
    key: str = field(default="", repr=False)
    """Bearer token; "" for none."""
    timeout: float = 120.0
    """Seconds for one whole answer."""
    tries: int = 6
    """How often one request is sent at most."""
    first_wait: float = 1.0
    """Seconds before the second try; doubles from there."""
    requests_per_minute: float | None = None
    """Limit; None for none."""
    tokens_per_minute: float | None = None
    """Limit on prompt and answer tokens together; None for none."""
    price: Price | None = None
    """None when it is not known."""
    picture_tokens: int = 300
    """What a picture counts in estimates (vendors differ; a 256² picture is 64 to 300)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request; null takes one of ours out."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the URL of the {self.role} is {self.url!r}: write it like http://localhost:8000/v1")
        if not self.model:
            raise InputError(f"the {self.role} has no model name: pass --{self.role} or set {_variable(self, 'MODEL')}")
        for name, value in (("timeout", self.timeout), ("tries", self.tries)):
            if value <= 0:
                raise InputError(f"{name} of the {self.role} is {value}: choose more than 0")
        for name in ("requests_per_minute", "tokens_per_minute"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise InputError(f"{name} of the {self.role} is {limit}: choose more than 0, or leave it out")

    @classmethod
    def from_environment(
        cls, role: str, model: str | None = None, like: Endpoint | None = None, **more: Any
    ) -> Endpoint:
        """The endpoint that LIMNER_<ROLE>_URL, _MODEL, _KEY, _PRICE and _EXTRA (a JSON object) describe.

        model: instead of _MODEL. like: an endpoint to take what is not set from; its key only for the same URL.
        more: further fields. Raises InputError for what is missing or wrong.
        """

        def value(name: str) -> str:
            return os.environ.get(f"LIMNER_{role.upper()}_{name}", "").strip()

        url = value("URL") or (like.url if like else "")
        if not url:
            raise InputError(
                f"where is the {role}? Set LIMNER_{role.upper()}_URL to an OpenAI-compatible base URL, "
                "such as http://localhost:8000/v1"
            )
        same = like is not None and like.url == url
        found: dict[str, Any] = {"url": url.rstrip("/"), "model": model or value("MODEL")}
        found["key"] = value("KEY")
        if like is not None and same:
            found["model"] = found["model"] or like.model
            found["key"] = found["key"] or like.key
            found["price"], found["extra"] = (like.price, like.extra) if found["model"] == like.model else (None, {})
        if value("PRICE"):
            found["price"] = Price.parse(value("PRICE"))
        if value("EXTRA"):
            found["extra"] = parse_object(value("EXTRA"), f"LIMNER_{role.upper()}_EXTRA")
        return cls(role=role, **{**found, **{name: v for name, v in more.items() if v is not None}})

    def body(self, messages: list[dict[str, Any]], limit: int, temperature: float) -> dict[str, Any]:
        """The JSON of a request for at most `limit` tokens."""
        full = {"model": self.model, "messages": messages, "max_tokens": limit, "temperature": temperature}
        return {name: value for name, value in {**full, **self.extra}.items() if value is not None}


@dataclass(frozen=True)
class Completion:
    """What came back: the text, why it ended, a refusal if it is one, and the tokens counted (None: not said)."""

    text: str
    finish: str
    refusal: str | None
    prompt_tokens: int | None
    answer_tokens: int | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Completion:
        """Read a chat completion. Raises ValueError when it is none."""
        try:
            choice = raw["choices"][0]
            message = choice["message"]
            usage = raw.get("usage") or {}
            text, refusal = message.get("content") or "", message.get("refusal")
            finish = choice.get("finish_reason") or ""
            counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError("no chat completion") from error
        if not isinstance(text, str) or not all(n is None or (isinstance(n, int) and n >= 0) for n in counts):
            raise ValueError("no chat completion")
        if finish == "content_filter":
            refusal = refusal or "stopped by the endpoint's content filter"
        return cls(text, str(finish), refusal, *counts)


class ChatClient:
    """Sends requests to one endpoint from many threads. Close it, or use it as a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx2

        self.endpoint = endpoint
        self.pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._reached = False  # whether the endpoint has ever given an answer
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
        # No redirects: a key is sent nowhere but where the user said.
        self._http = httpx2.Client(
            headers=headers,
            timeout=endpoint.timeout,
            limits=limits,
            follow_redirects=False,
            verify=endpoint.url.startswith("https:"),  # reading all certificates takes a second; http has none
        )

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End waits and connections."""
        self.pace.stop()
        self._http.close()

    def post(self, body: Mapping[str, Any], tokens: int, lost: Callable[[str], None] | None = None) -> dict[str, Any]:
        """The raw completion for a request body of about so many tokens.

        lost: called with the reason each time a request had left and no whole answer came back: it may have been paid
        for. Raises Unsuitable for a request that this endpoint will not take, Stopped when the run ends, and
        InputError when trying again does not help.
        """
        end = self.endpoint
        reason = ""
        for attempt in range(end.tries):
            if attempt:
                self.pace.sleep(min(LONGEST_WAIT, end.first_wait * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25))
            self.pace.wait(tokens)
            status, content, headers, reason = self._exchange(body)
            if status is None:
                if reason.startswith("no whole answer") and lost is not None:
                    lost(reason)
                continue
            if status == 200:
                try:
                    raw = json.loads(content)
                    Completion.of(raw)
                except ValueError:
                    reason = f"it answers 200 with something that is no chat completion: {_start(content)}"
                    if lost is not None:
                        lost(reason)
                    continue
                self._reached = True
                return raw
            said = _error_of(content)
            reason = f"it answers {status}" + (f": {said}" if said else "")
            if status in UNSUITABLE and (self._reached or "content" in said.lower()):
                raise Unsuitable(reason)
            if status not in RETRIED:
                raise InputError(f"the {end.role} at {end.url} does not work: {reason}{_advice(end, status)}")
            asked = _retry_after(headers.get("retry-after"))
            if asked > MOST_ASKED:
                raise InputError(f"the {end.role} at {end.url} asks to wait {asked:.0f} s: run it again later")
            if asked:
                self.pace.hold(asked)
        raise InputError(
            f"the {end.role} at {end.url} was asked {end.tries} times in vain, last: {reason}; "
            "answers so far are kept, run it again to go on"
        )

    def _exchange(self, body: Mapping[str, Any]) -> tuple[int | None, bytes, Mapping[str, str], str]:
        """(status, content, headers, "") of one exchange, or (None, …, why there was none)."""
        import httpx2

        deadline = time.monotonic() + self.endpoint.timeout
        content = b""
        try:
            with self._http.stream("POST", f"{self.endpoint.url}/chat/completions", json=body) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST:
                        return None, b"", {}, "no whole answer: it does not end"
                    if time.monotonic() > deadline:  # httpx times single reads: a trickle would never end
                        return None, b"", {}, f"no whole answer within {self.endpoint.timeout:.0f} s"
                return response.status_code, content, response.headers, ""
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return None, b"", {}, f"no connection ({error or type(error).__name__})"
        except httpx2.TimeoutException:
            return None, b"", {}, f"no whole answer within {self.endpoint.timeout:.0f} s"
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return None, b"", {}, f"no whole answer ({error or type(error).__name__})"


def _variable(endpoint: Endpoint, name: str) -> str:
    return f"LIMNER_{endpoint.role.upper()}_{name}"


def _advice(endpoint: Endpoint, status: int) -> str:
    if status in (401, 403):
        return f"; check {_variable(endpoint, 'KEY')}"
    if status == 404:
        return f"; check {_variable(endpoint, 'URL')} (it usually ends in /v1) and the model's name"
    return f"; {_variable(endpoint, 'EXTRA')} can change fields of requests" if status in UNSUITABLE else ""


def _start(content: bytes) -> str:
    return repr(content[:80].decode("utf-8", "replace"))


def _error_of(content: bytes) -> str:
    """One line of what an error answer says."""
    text = content[:2000].decode("utf-8", "replace")
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if isinstance(found, dict):
        error = found.get("error", found)
        if isinstance(error, dict):
            text = " ".join(str(error[name]) for name in ("code", "message") if error.get(name)) or text
        else:
            text = str(error)
    return " ".join(text.split())[:200]


def _retry_after(value: str | None) -> float:
    """Seconds, from a Retry-After header with seconds or a date; 0 for none."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0

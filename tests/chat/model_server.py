"""A chat endpoint on this machine that answers, stalls, refuses, breaks off and lies as it is told.

It is a real HTTP server; what a model would say is made up from the request, so that answers can be told apart.
"""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CAPTION = (
    "A woman with long brown wavy hair and brown eyes smiles broadly at the camera. She wears glasses and earrings, "
    "her face is oval, her skin is light and her eyebrows are thin and arched. The background is plain and grey."
)


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without looking up the machine's name, which can take a second


def text_of(body: dict[str, Any]) -> str:
    """All text of a request."""
    parts = [message["content"] for message in body["messages"]]
    return "\n".join(p if isinstance(p, str) else " ".join(q.get("text", "") for q in p) for p in parts)


def say(body: dict[str, Any]) -> str:
    """What a well-behaved model answers to each of our prompts."""
    text, mark = text_of(body), hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:6]
    if '"questions":' in text:
        kinds = ("yes/no", "open", "choice", "cannot be seen")
        found = [
            {
                "question": f"Is this {mark} {k}?",
                "answer": "Yes, it is.",
                "kind": kinds[k % 4],
                "about": "hair colour" if k == 1 else "shoe size",
                "value": True if k == 0 else "Brown",
            }
            for k in range(4)
        ]
        return json.dumps({"questions": found})
    if '"score":' in text:
        return json.dumps({"reason": f"because {mark}", "score": 70 if "0 to 100" in text else 7})
    return json.dumps({"caption": f"{'Refined. ' if 'Measured:' in text else ''}{CAPTION} Mark {mark}."})


def completion(text: str, **more: Any) -> dict[str, Any]:
    """The envelope around an answer."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": more.pop("finish_reason", "stop")}
    return {"object": "chat.completion", "choices": [choice], "usage": usage(text), **more}


def usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 1000, "completion_tokens": len(text) // 4}


class ModelServer:
    """`faults` are done first, one a request; then requests are answered by `say` after `delay` seconds.

    A fault is a function of the handler and the request body, or a status number. `bodies` are all requests that came,
    `paid` counts answers that were sent whole, by body.
    """

    def __init__(self) -> None:
        self.faults: list[Callable[[BaseHTTPRequestHandler, dict[str, Any]], None] | int] = []
        self.say: Callable[[dict[str, Any]], str] = say
        self.delay = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.paid: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self.lock:
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            fault = self.faults.pop(0) if self.faults else None
        try:
            if handler.path != "/v1/chat/completions":
                answer(handler, 404, {"error": {"message": "no such page"}})
            elif isinstance(fault, int):
                answer(handler, fault, {"error": {"message": f"fault {fault}"}})
            elif fault is not None:
                fault(handler, body)
            else:
                time.sleep(self.delay)
                answer(handler, 200, completion(self.say(body)))
                with self.lock:
                    self.paid[json.dumps(body, sort_keys=True)] += 1
        except (BrokenPipeError, ConnectionResetError):
            pass  # whoever asked is gone
        finally:
            with self.lock:
                self.at_once -= 1

    @contextmanager
    def running(self) -> Iterator[ModelServer]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, content: Any, **headers: str) -> None:
    """Send a whole answer."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def cut_off(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Promise a body and leave in the middle of it."""
    data = json.dumps(completion(say(body))).encode()
    handler.send_response(200)
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def trickle(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """A byte now and then, so that no single read ever times out."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True


def no_completion(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """200, and a page of some proxy."""
    answer(handler, 200, b"<html>it works</html>")


def saying(text: str, **more: Any) -> Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]:
    """A whole completion with this text."""
    return lambda handler, body: answer(handler, 200, completion(text, **more))


def wait_first(seconds: str) -> Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]:
    """429 with Retry-After."""
    return lambda handler, body: answer(handler, 429, {"error": "slow down"}, Retry_After=seconds)

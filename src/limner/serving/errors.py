"""Errors as answers: one shape, OpenAI's, with a sentence that says the way out and the request's id."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from limner.errors import InputError, WeightsError
from limner.serving.database import StoreFull
from limner.serving.engines import NoWeights
from limner.serving.job_store import NotThere, QueueFull, WrongState

KINDS: tuple[tuple[type[InputError], int, str], ...] = (
    (NotThere, 404, "not_found"),
    (WrongState, 409, "wrong_state"),
    (QueueFull, 429, "queue_full"),
    (StoreFull, 507, "storage_full"),
    (NoWeights, 503, "no_weights"),
    (WeightsError, 503, "no_weights"),
    (InputError, 400, "bad_input"),
)
"""Which error is which status, most special first."""


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None
    request_id: str


class ErrorAnswer(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "What was given cannot be used.",
        401: "The token is missing or wrong.",
        403: "Another site's page asked.",
        404: "No such job or picture.",
        409: "The job's state does not allow it.",
        413: "More bytes than this server takes.",
        422: "A field is missing, unknown, or of the wrong type.",
        408: "The request's body came too slowly.",
        429: "Too much is waiting; try again later.",
        503: "The engine has no weights here.",
        507: "The disk, or the store's own limit, has no room for this.",
    }.items()
}


FULL = "the server's disk is full: try again when there is room"


def is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that the disk is full."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def answer(status: int, code: str, message: str, request_id: str, param: str | None = None) -> JSONResponse:
    """An error as an answer."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = ErrorBody(message=message, type=kind, code=code, param=param, request_id=request_id)
    headers = {"Retry-After": "2"} if status == 429 else {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(ErrorAnswer(error=body).model_dump(), status, headers=headers)


def install(app: FastAPI) -> None:
    """Turn errors into answers."""

    @app.exception_handler(InputError)
    async def bad_input(request: Request, error: InputError) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in KINDS if isinstance(error, kind))
        return answer(status, code, str(error), request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def bad_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        said = first["msg"].removeprefix("Value error, ")
        return answer(422, "bad_field", f"{where}: {said}"[:500], request.state.request_id, where[:100])

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if is_full(error):  # while the body was kept for a route
            return answer(507, "storage_full", FULL, request.state.request_id)
        made = answer(error.status_code, "http_error", str(error.detail), request.state.request_id)
        made.headers.update(error.headers or {})
        return made

"""What one server allows, and where it keeps things."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MOST_PICTURES = 16  # of one request
MOST_STEPS = 100
BODIES = 8  # largest requests that may be on their way at the same time; more bytes are answered with 429


class Limits(BaseModel):
    """Set once when a server starts. Bad values raise ``ValidationError``, which names the field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """Where the table of jobs and every picture are kept."""
    queue: int = Field(default=64, ge=1, le=10_000)
    """Jobs that may wait; more are answered with 429."""
    waiting: int = Field(default=16, ge=1, le=1000)
    """Requests without a job (reading, describing) that may be under way at once; more are answered with 429."""
    job_seconds: float = Field(default=600.0, gt=0)
    """A job that computes for longer is stopped and has failed."""
    upload_bytes: int = Field(default=25_000_000, ge=1000)
    """Size of one request's body, and so of a picture in it."""
    keep_hours: float = Field(default=168.0, gt=0)
    """Ended jobs, their pictures, and uploads go after this time."""
    store_bytes: int = Field(default=4_000_000_000, ge=1_000_000)
    """Bytes of the file of jobs and pictures and its log, at most; the oldest ended jobs go first."""
    connections: int = Field(default=256, ge=8, le=10_000)
    """Connections open at the same time; more are closed at once."""
    header_seconds: float = Field(default=10.0, gt=0)
    """From the opening of a connection, or the end of the answer before, until a request's headers are there."""
    body_seconds: float = Field(default=60.0, gt=0)
    """From a request's headers until its body is there."""
    idle_seconds: float = Field(default=20.0, gt=0)
    """Between two pieces of a body, and for a client to take a piece of an answer."""

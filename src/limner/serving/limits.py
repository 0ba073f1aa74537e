"""What one server allows, and where it keeps things."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MOST_PICTURES = 16  # of one request
MOST_STEPS = 100


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
    """Pictures kept at most; the oldest ended jobs go first."""

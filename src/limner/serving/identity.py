"""Who is who: two faces compared, and identity vectors in the shape of OpenAI's embeddings."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from limner.errors import InputError
from limner.serving.errors import RESPONSES
from limner.serving.openai import OpenAIRequest
from limner.serving.requests import PictureRef, Request
from limner.serving.routes import BUSY, Here
from limner.serving.server import Server

router = APIRouter(responses={**{status: RESPONSES[status] for status in (400, 401, 403, 404, 413, 422)}, **BUSY})
MODEL = "face-identity"
MOST_INPUTS = 64
Number = Annotated[int, Field(ge=1, le=1000)]


class CompareRequest(Request):
    """Compare two faces."""

    a: PictureRef
    b: PictureRef
    face_a: Number | None = Field(default=None, description="Which face of a, from 1, largest first; else the largest.")
    face_b: Number | None = Field(default=None, description="The same of b.")


class CompareAnswer(BaseModel):
    """Whether two faces count as the same person."""

    same: bool
    distance: float = Field(description="Euclidean, between identity vectors; 0 for the same picture.")
    threshold: float = Field(description="Below it two faces count as the same person.")
    boxes: list[list[float]] = Field(description="The two faces: XYXY in pixels of their photos.")


class EmbeddingsRequest(OpenAIRequest):
    """Identity vectors of the largest face in each photo."""

    input: PictureRef | Annotated[list[PictureRef], Field(min_length=1, max_length=MOST_INPUTS)]
    model: Literal["face-identity", "reader"] = MODEL
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = Field(default=None, max_length=200, description="Noted nowhere.")


class Embedding(BaseModel):
    """One face's vector: numbers, or little-endian float32 in base64. box: XYXY in pixels of its photo."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    box: list[float]


class EmbeddingsAnswer(BaseModel):
    """Vectors, one for each input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: dict[str, int]


@router.post("/v1/compare", tags=["words"])
async def compare(server: Here, asked: CompareRequest) -> CompareAnswer:
    """Do two photos show the same person?"""
    return CompareAnswer(**await server.at_once(_compared, server, asked))


@router.post("/v1/embeddings", tags=["OpenAI"])
async def embeddings(server: Here, asked: EmbeddingsRequest) -> EmbeddingsAnswer:
    """Identity vectors of faces: 128 numbers that lie close together for photos of one person."""
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    found = [await server.at_once(_face, server, each, None, f"input {k}") for k, each in enumerate(inputs)]
    data = [
        Embedding(
            index=index,
            embedding=face.identity.tolist() if asked.encoding_format == "float" else _base64(face.identity),
            box=np.round(face.box.astype(float), 1).tolist(),
        )
        for index, face in enumerate(found)
    ]
    return EmbeddingsAnswer(data=data, model=asked.model, usage={"prompt_tokens": 0, "total_tokens": 0})


def _compared(server: Server, asked: CompareRequest) -> dict[str, Any]:
    from limner.faces.compare import compare_faces

    faces = (_face(server, asked.a, asked.face_a, "a"), _face(server, asked.b, asked.face_b, "b"))
    return compare_faces(*faces).to_dict()


def _face(server: Server, reference: str, number: int | None, name: str) -> Any:
    from limner.faces.record import choose_face

    try:
        photo = server.photos.load(reference)
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error
    return choose_face(server.engines.read(photo), number, name)


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")

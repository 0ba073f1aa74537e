"""What each kind of job does: stored requests in, pictures out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from limner.errors import InputError
from limner.faces.geometry import paste_back
from limner.faces.picture import encode_png
from limner.faces.record import Face
from limner.models.facex.plan import ABSENT, CANVAS, EditPlan
from limner.progress import PreviewCallback
from limner.provenance.consent import stating
from limner.provenance.manifest import Ingredient
from limner.provenance.picture import Picture
from limner.serving.engines import Engines
from limner.serving.images import Photos, made
from limner.serving.job_store import Made
from limner.serving.requests import (
    Editing,
    EditRequest,
    PaintRequest,
    ReenactRequest,
    RepaintRequest,
    Request,
    SwapRequest,
)

if TYPE_CHECKING:
    from limner.models.facex.edit_inputs import EditInputs

FEATHER = 1 / 80  # of the shorter side: how softly what is repainted runs into what stays


def run(
    kind: str, requests: Sequence[Request], photos: Photos, engines: Engines, watch: PreviewCallback
) -> list[list[Made] | InputError]:
    """Do jobs of one batch_key together. One entry a job: its pictures, or what is wrong with that job alone."""
    if kind == "paint" or kind == "repaint":
        return _paint(requests, photos, engines, watch)
    return _edit(kind, requests, photos, engines, watch)


def largest_face(engines: Engines, photo: np.ndarray) -> Face:
    """The largest face in a photo; ``InputError`` if there is none."""
    faces = engines.read(photo)
    if not faces:
        raise InputError("no face was found in this photo: give one with a face that looks roughly at the camera")
    return faces[0]


def _paint(
    requests: Sequence[Request], photos: Photos, engines: Engines, watch: PreviewCallback
) -> list[list[Made] | InputError]:
    from limner.models.mditface.engine import MDiTFace, region_map
    from limner.models.mditface.mask_edits import edit_mask

    def prepared(request: PaintRequest | RepaintRequest, painter: MDiTFace) -> tuple[dict[str, Any], Finish]:
        side = request.size or painter.components.size
        photo_id = request.photo if isinstance(request, RepaintRequest) else request.like
        photo = None if photo_id is None else photos.load(photo_id)
        face = None if photo is None else largest_face(engines, photo)
        regions = None if face is None else region_map(face, side)
        if isinstance(request, PaintRequest) and request.mask is not None:
            file = photos.table.data(request.mask)
            with photos.decoding(file):
                regions = region_map(file, side)
        if regions is not None and request.edit_mask is not None:
            regions = edit_mask(regions, request.edit_mask)
        arguments = {**request.settings(), "text": request.text, "mask": regions}
        if not isinstance(request, RepaintRequest):
            return arguments, lambda picture: picture
        assert photo is not None and face is not None
        return arguments, _into(photo, face.crop * (side / 256), _opening(photos, request.mask, photo))

    out: list[list[Made] | InputError] = []
    with engines.painting() as painter:
        ready: list[tuple[int, dict[str, Any], Finish]] = []
        for number, request in enumerate(requests):
            assert isinstance(request, PaintRequest | RepaintRequest)
            try:
                ready.append((number, *prepared(request, painter)))
                out.append([])
            except InputError as error:
                out.append(error)
        if not ready:
            return out
        try:
            pictures = painter.paint_batch([arguments for _, arguments, _ in ready], watch)
        except InputError as error:  # their batch_key is checked, so it is true of all of them
            for number, _, _ in ready:
                out[number] = error
            return out
    for (number, _, finish), painted in zip(ready, pictures, strict=True):
        watermark = requests[number].watermark  # type: ignore[attr-defined]
        out[number] = [made(finish(picture), watermark) for picture in painted]
    return out


Finish = Callable[[Picture], Picture]


def _opening(photos: Photos, mask: str, photo: np.ndarray) -> np.ndarray:
    """Where to paint, (H, W) float32 in 0..1 with soft edges: what is transparent in the mask."""
    alpha = photos.alpha(photos.table.data(mask), "the mask")
    if alpha.shape != photo.shape[:2]:
        given, wanted = "{1} x {0}".format(*alpha.shape), "{1} x {0}".format(*photo.shape[:2])
        raise InputError(f"the mask has {given} pixels and the photo {wanted}: make them equal")
    if (alpha == 255).all():
        raise InputError("the mask is opaque everywhere: make transparent what is to be painted")
    softness = min(alpha.shape) * FEATHER
    soft = Image.fromarray(255 - alpha).filter(ImageFilter.GaussianBlur(softness))
    return np.asarray(soft, np.float32) / 255


def _into(photo: np.ndarray, matrix: np.ndarray, opening: np.ndarray) -> Finish:
    """Put an aligned painting back where the face is in the photo, through the opening."""

    def finish(picture: Picture) -> Picture:
        painted = paste_back(np.asarray(picture.image), matrix, photo)
        share = opening[..., None]
        mixed = (photo * (1 - share) + painted * share).round().astype(np.uint8)
        source = encode_png(photo)
        recipe = {**picture.recipe, "kind": "edit", "repainted": hashlib.sha256(photo.tobytes()).hexdigest()}
        ingredients = (*picture.ingredients, Ingredient("photograph", source, "image/png", edited=True))
        return Picture(Image.fromarray(mixed), recipe, ingredients, photo)

    return finish


def _edit(
    kind: str, requests: Sequence[Request], photos: Photos, engines: Engines, watch: PreviewCallback
) -> list[list[Made] | InputError]:
    out: list[list[Made] | InputError] = []
    with engines.editing(kind) as editor:
        begun: list[tuple[int, EditInputs]] = []
        for number, request in enumerate(requests):
            assert isinstance(request, Editing)
            try:
                photo, plan, others = _order(request)
                donors = {name: photos.load(picture) for name, picture in others.items()}
                begun.append((number, editor.begin(photos.load(photo), plan, donors, seed=request.seed)))
                out.append([])
            except InputError as error:
                out.append(error)
        if begun:
            steps = requests[0].steps  # type: ignore[attr-defined]
            pictures = editor.finish([prepared for _, prepared in begun], steps, watch=watch)
            for (number, _), picture in zip(begun, pictures, strict=True):
                recipe = stating(picture.recipe, requests[number].stated())  # type: ignore[attr-defined]
                out[number] = [made(replace(picture, recipe=recipe))]
    return out


def _order(request: Editing) -> tuple[str, EditPlan, dict[str, str]]:
    """The edited photo, the plan, and the other photos by the names that the plan has for them."""
    if isinstance(request, SwapRequest):
        return request.target, EditPlan.swap("source", head=request.head), {"source": request.source}
    if isinstance(request, ReenactRequest):
        return request.source, EditPlan.reenact("driver"), {"driver": request.driver}
    assert isinstance(request, EditRequest)
    return request.photo, request.plan, {name: name for name in request.others(CANVAS, ABSENT)}

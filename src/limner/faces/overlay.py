"""What was read of a photo, drawn over it: regions, mesh, line of sight, box, and a few words.

Everything is drawn at twice the size and shrunk, so lines are smooth on photos of any size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from limner.faces import geometry
from limner.faces.record import Face
from limner.faces.regions import Region

LONGEST = 1600  # pixels; larger photos are drawn on a smaller copy, so that lines and words stay legible
SHORTEST = 800  # and smaller ones on a larger copy
FACE = 260  # pixels that the largest face should be wide, where LONGEST allows it
FINE = 2  # drawn this many times larger than shown
LINE = (255, 255, 255)
PLATE = (18, 20, 28, 205)
SIGHT = (255, 205, 64)

# Softer than the palettes of region maps, which are made to be told apart by programs: colour, then opacity of the
# tint.
_TINTS: dict[Region, tuple[tuple[int, int, int], float]] = {
    Region.BACKGROUND: ((0, 0, 0), 0.0),
    Region.SKIN: ((255, 176, 140), 0.22),
    Region.NOSE: ((255, 140, 105), 0.34),
    Region.EYE_GLASSES: ((60, 220, 230), 0.40),
    Region.LEFT_EYE: ((70, 150, 255), 0.38),
    Region.RIGHT_EYE: ((120, 110, 255), 0.38),
    Region.LEFT_BROW: ((40, 190, 200), 0.50),
    Region.RIGHT_BROW: ((90, 120, 230), 0.50),
    Region.LEFT_EAR: ((255, 150, 60), 0.40),
    Region.RIGHT_EAR: ((235, 120, 90), 0.40),
    Region.MOUTH: ((255, 255, 255), 0.30),
    Region.UPPER_LIP: ((235, 60, 120), 0.42),
    Region.LOWER_LIP: ((255, 95, 150), 0.42),
    Region.HAIR: ((125, 90, 235), 0.34),
    Region.HAT: ((255, 205, 60), 0.40),
    Region.EAR_RING: ((255, 235, 90), 0.65),
    Region.NECKLACE: ((255, 225, 60), 0.60),
    Region.NECK: ((240, 150, 110), 0.30),
    Region.CLOTH: ((45, 190, 150), 0.32),
}
COLOURS = np.array([_TINTS[region][0] for region in Region], np.float32)  # (19, 3)
OPACITY = np.array([_TINTS[region][1] for region in Region], np.float32)  # (19,)

# Outlines on the 468-point mesh. Right and left are the subject's.
_CLOSED = (
    "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 58 132 93 234 "
    "127 162 21 54 103 67 109",  # face
    "33 7 163 144 145 153 154 155 133 173 157 158 159 160 161 246",  # right eye
    "263 249 390 373 374 380 381 382 362 398 384 385 386 387 388 466",  # left eye
    "70 63 105 66 107 55 65 52 53 46",  # right brow
    "300 293 334 296 336 285 295 282 283 276",  # left brow
    "61 146 91 181 84 17 314 405 321 375 291 409 270 269 267 0 37 39 40 185",  # lips, outside
    "78 95 88 178 87 14 317 402 318 324 308 415 310 311 312 13 82 81 80 191",  # lips, inside
)
_OPEN = ("168 6 197 195 5 4", "98 97 2 326 327")  # ridge and base of the nose
OUTLINES = tuple([*map(int, line.split()), int(line.split()[0])] for line in _CLOSED) + tuple(
    [int(number) for number in line.split()] for line in _OPEN
)


def draw_overlay(photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """Regions tinted, mesh, line of sight, box and a few words for every face.

    photo: (H, W, 3) uint8 RGB, the one the faces were read from. Returns uint8 RGB; its longer side is between 800 and
    1,600 pixels.
    """
    height, width = photo.shape[:2]
    longer = max(height, width)
    widest = max((float(face.box[2] - face.box[0]) for face in faces), default=float(FACE))
    scale = min(max(longer, SHORTEST, longer * FACE / max(widest, 1.0)), LONGEST) / longer
    shown = (max(round(width * scale), 1), max(round(height * scale), 1))
    fine = (shown[0] * FINE, shown[1] * FINE)
    scale *= FINE
    canvas = geometry.resize(photo, fine)
    for face in faces:
        canvas = _tinted(canvas, face, scale)
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image, "RGBA")
    for face in faces:
        _draw_mesh(draw, face, scale)
    taken = [face.box * scale for face in faces]
    for number, face in enumerate(faces):
        taken.append(_draw_label(draw, _words(face, number), face.box * scale, taken, fine))
    return np.array(image.resize(shown, Image.Resampling.BOX))


def _tinted(canvas: np.ndarray, face: Face, scale: float) -> np.ndarray:
    """The canvas with the regions of one face over it: soft colours, smooth borders, a thin light line along them."""
    rows, columns = np.nonzero(face.regions)
    if not len(rows):
        return canvas
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    part = face.regions[top:bottom, left:right]
    x0, y0 = round(left * scale), round(top * scale)
    size = (min(round(right * scale), canvas.shape[1]) - x0, min(round(bottom * scale), canvas.shape[0]) - y0)
    ids = _smooth(part, size, blur=float(face.box[2] - face.box[0]) * scale / 110)
    inside = (ids != Region.BACKGROUND).astype(np.float32)
    border = np.zeros(ids.shape, bool)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    thick = Image.fromarray(border.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3))
    line = np.asarray(thick, np.float32)[..., None] / 255 * 0.45
    window = canvas[y0 : y0 + size[1], x0 : x0 + size[0]].astype(np.float32)
    share = (OPACITY[ids] * inside)[..., None]
    window = window * (1 - share) + COLOURS[ids] * share
    light = np.minimum(COLOURS[ids] * 0.5 + 127.5, 255)
    result = canvas.copy()
    result[y0 : y0 + size[1], x0 : x0 + size[0]] = (window * (1 - line) + light * line).round().astype(np.uint8)
    return result


def _smooth(ids: np.ndarray, size: tuple[int, int], blur: float) -> np.ndarray:
    """A region map at another size, its stairs rounded: each pixel goes to the region that is strongest around it."""
    best, winner = np.zeros(size[::-1], np.uint8), np.zeros(size[::-1], np.uint8)
    for region in np.unique(ids):
        mask = Image.fromarray((ids == region).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        strength = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)))
        stronger = strength > best
        best, winner = np.where(stronger, strength, best), np.where(stronger, region, winner)
    return winner


def _draw_mesh(draw: ImageDraw.ImageDraw, face: Face, scale: float) -> None:
    """Points, outlines, irises, line of sight, and the corners of the box."""
    box = face.box * scale
    unit = max(float(box[2] - box[0]) / 300, 0.7)  # fine on small faces, visible on large ones
    points = face.landmarks[:, :2].astype(np.float64) * scale
    radius = 0.75 * unit
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*LINE, 120))
    for outline in OUTLINES:
        path = [tuple(point) for point in points[outline].tolist()]
        draw.line(path, fill=(*LINE, 165), width=max(round(1.1 * unit), 1), joint="curve")
    yaw, pitch = np.deg2rad(face.gaze)
    step = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch)]) * float(box[2] - box[0]) * 0.6
    for iris in face.irises.astype(np.float64) * scale:
        centre, size = iris[0], float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
        ring = (*(centre - size).tolist(), *(centre + size).tolist())
        draw.ellipse(ring, outline=(*SIGHT, 220), width=max(round(1.4 * unit), 1))
        if np.hypot(*step) > 2 * size:
            draw.line((*centre.tolist(), *(centre + step).tolist()), fill=(*SIGHT, 220), width=max(round(2 * unit), 1))
    _draw_corners(draw, box, unit)


def _draw_corners(draw: ImageDraw.ImageDraw, box: np.ndarray, unit: float) -> None:
    x1, y1, x2, y2 = box.tolist()
    arm = 0.16 * min(x2 - x1, y2 - y1)
    for fill, width in (((0, 0, 0, 110), round(7 * unit)), ((*LINE, 235), round(3 * unit))):
        for x, dx in ((x1, arm), (x2, -arm)):
            for y, dy in ((y1, arm), (y2, -arm)):
                draw.line((x + dx, y, x, y, x, y + dy), fill=fill, width=max(width, 2), joint="curve")


def _words(face: Face, number: int) -> tuple[str, str]:
    """Two lines: who, and what is most telling."""
    value = {name: attribute.value for name, attribute in face.attributes.items()}
    who = [str(value["gender_presentation"])] if "gender_presentation" in value else []
    who += [f"about {value['age']:.0f}"] if "age" in value else []
    more = [str(value["emotion"])] if "emotion" in value else []
    if "hair_colour" in value:
        more.append(f"{value['hair_colour']} hair")
    more += [str(name) for name in ("bald", "glasses", "hat") if value.get(name) is True]
    more += ["beard"] if value.get("beard") == "full" else []
    return f"{number + 1}  {', '.join(who)}".strip(), " · ".join(more[:4])


def _draw_label(
    draw: ImageDraw.ImageDraw, words: tuple[str, str], box: np.ndarray, taken: list[np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """White words on a dark plate: below the box, above it or beside it, where it hides no face. Returns its box."""
    height = int(np.clip((box[2] - box[0]) / 11, 15 * FINE, 24 * FINE))
    large, small = ImageFont.load_default(height), ImageFont.load_default(round(height * 0.78))
    lines = [(words[0], large), (words[1], small)] if words[1] else [(words[0], large)]
    extents = [draw.textbbox((0, 0), text, font=font) for text, font in lines]
    pad = height * 0.45
    wide = max(right - left for left, _, right, _ in extents) + 2 * pad
    tall = sum(bottom - top for _, top, _, bottom in extents) + pad * (1 + len(lines) - 0.35 * (len(lines) - 1))
    middle, gap = float(box[0] + box[2]) / 2, height * 0.4
    places = [
        (middle - wide / 2, float(box[3]) + gap),
        (middle - wide / 2, float(box[1]) - gap - tall),
        (float(box[2]) + gap, float(box[3]) - tall),
        (float(box[0]) - gap - wide, float(box[3]) - tall),
    ]
    best = min(places, key=lambda place: _covered(_kept_inside(place, wide, tall, size), taken))
    plate = _kept_inside(best, wide, tall, size)
    draw.rounded_rectangle(tuple(plate.tolist()), radius=height * 0.35, fill=PLATE)
    y = float(plate[1]) + pad
    for (text, font), (left, top, _, bottom) in zip(lines, extents):
        draw.text(
            (float(plate[0]) + pad - left, y - top), text, fill=LINE if font is large else (215, 220, 232), font=font
        )
        y += bottom - top + 0.65 * pad
    return plate


def _kept_inside(place: tuple[float, float], wide: float, tall: float, size: tuple[int, int]) -> np.ndarray:
    x = min(max(place[0], 0.0), max(size[0] - wide, 0.0))
    y = min(max(place[1], 0.0), max(size[1] - tall, 0.0))
    return np.array([x, y, x + wide, y + tall])


def _covered(plate: np.ndarray, taken: list[np.ndarray]) -> float:
    """Area of the plate that lies on what is taken."""
    others = np.stack(taken)
    low, high = np.maximum(plate[:2], others[:, :2]), np.minimum(plate[2:], others[:, 2:])
    return float(geometry.area(np.concatenate([low, high], 1)).sum())

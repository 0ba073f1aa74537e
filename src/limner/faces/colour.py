"""Colours as people see them: CIELAB, and the plain names of colours.

L* runs from 0 (black) to 100 (white); a* from green to red; b* from blue to yellow.
"""

from __future__ import annotations

import numpy as np

_LINEAR = np.where(
    np.arange(256) / 255 <= 0.04045, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
).astype(np.float32)
# Linear sRGB to XYZ, each row divided by the white of D65.
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])

NAMES = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")


def linear_light(rgb: np.ndarray) -> np.ndarray:
    """sRGB uint8 to linear light 0..1, float32 of the same shape."""
    return _LINEAR[rgb]


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) uint8 to CIELAB under D65 (..., 3) float32."""
    xyz = linear_light(rgb) @ _TO_XYZ.T.astype(np.float32)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def name_of(lab: np.ndarray) -> np.ndarray:
    """Index into NAMES (...) of colours (..., 3). Our choice of borders in lightness, chroma and hue, set by eye."""
    lightness, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    name = np.select(
        [
            lightness < 16,
            (lightness < 26) & (chroma < 14),
            (chroma < 10) & (lightness > 84),
            chroma < 10,
            (lightness > 90) & (chroma < 16),
            ((hue < 25) | (hue >= 345)) & (lightness > 58),
            (hue >= 25) & (hue < 80) & (lightness < 58) & (chroma < 52),
            (hue < 40) | (hue >= 345),
            hue < 68,
            hue < 105,
            hue < 190,
            hue < 288,
            hue < 325,
        ],
        [NAMES.index(n) for n in ("black", "black", "white", "grey", "white", "pink", "brown")]
        + [NAMES.index(n) for n in ("red", "orange", "yellow", "green", "blue", "purple")],
        NAMES.index("pink"),
    )
    # Pale beige is white or grey rather than orange or yellow to most eyes.
    pale = (chroma < 18) & (hue >= 40) & (hue < 110)
    return np.where(
        pale & (lightness > 82), NAMES.index("white"), np.where(pale & (lightness > 45), NAMES.index("grey"), name)
    )


def dominant_name(lab: np.ndarray) -> tuple[str, float]:
    """The most frequent colour name among pixels (N, 3), and the share of pixels that have it."""
    counts = np.bincount(name_of(lab).ravel(), minlength=len(NAMES))
    return NAMES[int(counts.argmax())], float(counts.max() / max(counts.sum(), 1))

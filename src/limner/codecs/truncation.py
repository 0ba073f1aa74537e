"""How far from the mean style faces are drawn (StyleGAN's truncation), in a file that loads no torch."""

from __future__ import annotations

PSI = (0.7, 1.0)
"""Bounds of psi, drawn uniformly. Our choice: below .7 faces look alike, above 1 they fall apart."""

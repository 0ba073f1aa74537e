"""Limner reads faces, describes them in words, paints them from words and masks, and edits them.

Importing this loads nothing but this file; each public name below brings its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.errors import InputError
    from limner.faces.compare import Comparison
    from limner.faces.record import Attribute, Face, Pose, ReadResult
    from limner.faces.regions import Region
    from limner.faces.search import Match
    from limner.models.facex.plan import EditPlan
    from limner.provenance.picture import Picture
    from limner.toolkit import Toolkit, load

__version__ = "0.1.0"

_HOME = {
    "Attribute": "limner.faces.record",
    "Comparison": "limner.faces.compare",
    "EditPlan": "limner.models.facex.plan",
    "Face": "limner.faces.record",
    "InputError": "limner.errors",
    "Match": "limner.faces.search",
    "Picture": "limner.provenance.picture",
    "Pose": "limner.faces.record",
    "ReadResult": "limner.faces.record",
    "Region": "limner.faces.regions",
    "Toolkit": "limner.toolkit",
    "load": "limner.toolkit",
}

__all__ = [
    "Attribute",
    "Comparison",
    "EditPlan",
    "Face",
    "InputError",
    "Match",
    "Picture",
    "Pose",
    "ReadResult",
    "Region",
    "Toolkit",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'limner' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

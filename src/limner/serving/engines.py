"""One set of engines for the whole server: what each can do here, whether it is loaded, and one user at a time.

``VERBS`` is the one place that says which weights a verb needs. A verb whose weights are not in the registry, not on
this machine, or not those that the server was given, is refused with a sentence; else the toolkit's method is called.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.toolkit import Toolkit
from limner.weights.registry import registry
from limner.weights.store import installed

if TYPE_CHECKING:
    import numpy as np

    from limner.faces.record import Face
    from limner.models.facex.engine import FaceX
    from limner.models.mditface.engine import MDiTFace


@dataclass(frozen=True)
class Verb:
    """A verb, the engine behind it, and the registry's name of the weights it needs."""

    name: str
    engine: str
    weights: str


VERBS = {
    verb.name: verb
    for verb in (
        Verb("read", "reader", "face-parser"),
        Verb("describe", "UniF²ace", "unif2ace-nano"),
        Verb("ask", "UniF²ace", "unif2ace-nano"),
        Verb("paint", "MDiTFace", "mditface-nano"),
        Verb("repaint", "MDiTFace", "mditface-nano"),
        Verb("edit", "FaceX", "facex-nano"),
        Verb("swap", "FaceX", "facex-nano"),
        Verb("reenact", "FaceX", "facex-nano"),
    )
}


class NoWeights(InputError):
    """The engine of this verb has no weights here."""


def _missing(needed: Verb) -> str | None:
    """Why a verb cannot be done with nano's weights on this machine, in a sentence; None if it can."""
    entry, wants = registry().get(needed.weights), f"{needed.name.capitalize()} needs {needed.engine}"
    if entry is None:
        return f"{wants}, which has no weights in this version of Limner yet"
    if installed(entry) is None:
        return f"{wants}: run `limner models pull {needed.weights}` on the server"
    return None


def _engine_of(source: str) -> str:
    """Whose weights are at a place; ``InputError`` if nothing is there. What is no other's is taken for a painter's."""
    from limner.models.facex.loading import is_facex
    from limner.models.unif2ace.loading import is_unif2ace

    return "UniF²ace" if is_unif2ace(source) else "FaceX" if is_facex(source) else "MDiTFace"


class Engines:
    """A toolkit shared by the threads of a server: each engine serves one of them at a time."""

    def __init__(self, toolkit: Toolkit, source: str, editor: str | None = None) -> None:
        """source, editor: what ``limner.load`` was given for this toolkit."""
        self._toolkit, self.source, self.editor = toolkit, source, editor
        self._locks = {name: threading.Lock() for name in ("reader", "MDiTFace", "UniF²ace", "FaceX")}
        self._states = {name: "not loaded" for name in self._locks}

    def state(self, engine: str) -> str:
        """ "not loaded", "loading" or "ready"."""
        return self._states[engine]

    def missing(self, verb: str) -> str | None:
        """Why a verb cannot be done here, in a sentence; None if it can, as far as can be told without loading."""
        needed = VERBS[verb]
        place = self.editor or self.source if needed.engine == "FaceX" else self.source
        if place == "nano" or needed.engine == "reader":
            return _missing(needed)
        try:
            given = _engine_of(place)
        except InputError as error:
            return str(error)
        if given == needed.engine:
            return None
        if needed.engine == "UniF²ace":  # the toolkit falls back on nano's
            return _missing(needed)
        return f"{verb.capitalize()} needs {needed.engine}, and this server was given weights of {given}"

    def require(self, verb: str) -> None:
        """``NoWeights`` if a verb cannot be done here."""
        reason = self.missing(verb)
        if reason is not None:
            raise NoWeights(reason)

    def read(self, photo: np.ndarray, min_score: float = 0.5) -> list[Face]:
        """As ``Toolkit.read``."""
        with self._using("reader"):
            return self._toolkit.read(photo, min_score=min_score)

    @contextmanager
    def painting(self) -> Iterator[MDiTFace]:
        """The painter, for one thread at a time."""
        from limner.models.mditface.engine import MDiTFace

        self.require("paint")
        with self._using("MDiTFace"):
            painter = self._toolkit.painter
            if not isinstance(painter, MDiTFace):
                raise InputError("this server was given weights that are no MDiTFace: it cannot paint")
            yield painter

    @contextmanager
    def talking(self, verb: str) -> Iterator[Toolkit]:
        """For ``describe`` and ``ask``, one thread at a time; ``NoWeights``. Its engine reads faces, too."""
        self.require(verb)
        with self._using("UniF²ace"), self._using("reader"):
            yield self._toolkit

    @contextmanager
    def editing(self, verb: str) -> Iterator[FaceX]:
        """The editor behind a verb, for one thread at a time; ``NoWeights``. It reads faces, too."""
        self.require(verb)
        with self._using("FaceX"), self._using("reader"):
            yield self._toolkit.editor

    def load(self) -> None:
        """Load what is used most before anybody asks for it."""
        with self.painting():
            pass
        with self._using("reader"):
            self._toolkit.reader  # noqa: B018

    @contextmanager
    def _using(self, engine: str) -> Iterator[None]:
        with self._locks[engine]:
            first = self._states[engine] == "not loaded"
            if first:
                self._states[engine] = "loading"
            try:
                yield
            except BaseException:
                if first:
                    self._states[engine] = "not loaded"
                raise
            self._states[engine] = "ready"

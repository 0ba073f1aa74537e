"""The verbs as methods of one object; each engine loads when a verb first needs it."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from limner.errors import InputError
from limner.weights.store import known

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from limner.faces.picture import Source
    from limner.faces.reader import FaceReader
    from limner.faces.record import Face
    from limner.models.facex.engine import FaceX
    from limner.models.facex.plan import EditPlan
    from limner.models.mditface.engine import MDiTFace
    from limner.models.unif2ace.answers import Answer, Look
    from limner.models.unif2ace.engine import Chat, UniF2ace
    from limner.provenance.picture import Picture

# Scales by name: which weights serve which engine.
PAINTERS = {"nano": "mditface-nano"}
EDITORS = {"nano": "facex-nano"}


def load(source: str | os.PathLike[str] = "nano", editor: str | os.PathLike[str] | None = None) -> Toolkit:
    """A toolkit at the scale `source`: "nano", or a registry name or folder of MDiTFace, UniF²ace or FaceX weights.

    editor: a registry name or folder of FaceX weights for the verbs that edit; None: what `source` has.
    Nothing is loaded yet: a verb says what its weights lack when it first needs them, so that reading needs no painter.
    Raises InputError with the way out for a name that is none, and a folder that is not there.
    """
    painter, own_editor = source, source
    if isinstance(source, str) and source in PAINTERS:
        painter, own_editor = PAINTERS[source], EDITORS[source]
    else:
        known(source)
    if editor is not None:
        known(editor)
    return Toolkit(painter, own_editor if editor is None else editor)


class Toolkit:
    """Reads, describes, paints and edits faces. Make one with `limner.load`; use it from one thread at a time."""

    def __init__(self, painter: str | os.PathLike[str], editor: str | os.PathLike[str]) -> None:
        self._painter_source, self._editor_source = painter, editor

    @cached_property
    def reader(self) -> FaceReader:
        """The engine behind `read`."""
        from limner.faces.reader import FaceReader

        return FaceReader.load()

    @cached_property
    def painter(self) -> MDiTFace | UniF2ace:
        """The engine behind `paint`."""
        from limner.models.unif2ace.loading import is_unif2ace

        if is_unif2ace(self._painter_source):
            return self.answerer
        from limner.models.mditface.engine import MDiTFace

        return MDiTFace.load(self._painter_source)

    @cached_property
    def editor(self) -> FaceX:
        """The engine behind `swap`, `reenact`, `edit` and `animate`."""
        from limner.models.facex.engine import FaceX

        return FaceX.load(self._editor_source, reader=self.reader)

    @cached_property
    def answerer(self) -> UniF2ace:
        """The engine behind `describe`, `ask` and `chat`: nano's, unless this toolkit was made for UniF²ace weights."""
        from limner.models.unif2ace.engine import UniF2ace
        from limner.models.unif2ace.loading import DEFAULT, is_unif2ace

        return UniF2ace.load(self._painter_source if is_unif2ace(self._painter_source) else DEFAULT)

    def read(self, photo: Source, min_score: float = 0.5) -> list[Face]:
        """The faces in a photo, largest first; empty when there is none.

        photo: path, encoded bytes, PIL image, or (H, W, 3) uint8 RGB array. min_score: detections below it, in [0, 1],
        are dropped. Raises InputError for what is not a picture.
        """
        return self.reader.read(photo, min_score=min_score)

    def describe(self, photo: Source | Look, length: str = "long", **settings: Any) -> Answer:
        """A description of every face in a photo; its `text`, or `str` of it, is the words.

        length: "long", several sentences, or "short", one. settings: limit, choice, seed, stream as `UniF2ace.ask`
        takes them. Raises InputError for what is no picture and where no face is found.
        """
        return self.answerer.describe(photo, length, **settings)

    def ask(self, photo: Source | Look, question: str, **settings: Any) -> Answer:
        """An answer about every face in a photo; see `describe`."""
        return self.answerer.ask(photo, question, **settings)

    def chat(self, photo: Source | Look, **settings: Any) -> Chat:
        """A conversation about a photo: `ask` its questions one after the other, each is read after what was said."""
        return self.answerer.chat(photo, **settings)

    def paint(
        self,
        text: str | None = None,
        mask: Face | np.ndarray | Image.Image | str | os.PathLike[str] | None = None,
        n: int = 1,
        **settings: Any,
    ) -> list[Picture]:
        """Paint `n` portraits from words, from a region mask, or from both.

        mask: a Face that `read` returned, an (H, W) id map, a palette picture (RGB array or PIL image), or the path of
        either as a file. settings: seed, steps, guidance, … as `MDiTFace.paint` takes them.
        Raises InputError when neither text nor mask is given, for a mask that is neither ids nor a known palette, and
        for a mask given to UniF²ace, which paints from words alone.
        """
        from limner.models.unif2ace.engine import UniF2ace

        painter = self.painter
        if isinstance(painter, UniF2ace):
            if mask is not None:
                raise InputError("UniF²ace paints from words alone: leave the mask out, or load an MDiTFace")
            return painter.paint(text or "", n=n, **settings)
        return painter.paint(text, mask, n=n, **settings)

    def swap(self, source: Source, target: Source, head: bool = False, **settings: Any) -> Picture:
        """The face in `source`, or the whole head, on the person in `target`; the rest of `target` stays.

        settings: seed, steps, guidance, face, … as `FaceX.edit` takes them. The consent of both people is the caller's
        duty: nobody is asked here. Raises InputError for photos without a face that serves.
        """
        return self.editor.swap(source, target, head=head, **settings)

    def reenact(self, source: Source, driver: Source, **settings: Any) -> Picture:
        """The person in `source` with the pose, gaze and expression of the one in `driver`; settings, and the
        duty, as in `swap`."""
        return self.editor.reenact(source, driver, **settings)

    def edit(self, photo: Source, plan: EditPlan, **settings: Any) -> Picture:
        """Any edit, or several at once: `limner.EditPlan` says which. photos={name: photo} gives the others it names;
        a name that is not there is a path. Settings as in `swap`."""
        return self.editor.edit(photo, plan, **settings)

    def animate(self, photo: Source, style: str | os.PathLike[str], **settings: Any) -> Picture:
        """The person as another base model of the same family paints them; settings as in `swap`.

        style: ``pencil``, or the folder of a base in diffusers' layout.
        """
        return self.editor.animate(photo, style, **settings)

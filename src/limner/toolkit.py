"""The verbs as methods of one object; each engine loads when a verb first needs it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

from limner.errors import InputError
from limner.settings import check_device, check_text
from limner.weights.store import known

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image
    from typing_extensions import Unpack

    from limner.faces.compare import Comparison
    from limner.faces.picture import Source
    from limner.faces.reader import FaceReader, OnError
    from limner.faces.record import Face, ReadResult
    from limner.faces.search import Match
    from limner.models.facex.engine import FaceX
    from limner.models.facex.plan import EditPlan
    from limner.models.mditface.engine import MDiTFace
    from limner.models.unif2ace.answers import Answer, EncodedPhoto
    from limner.models.unif2ace.engine import Chat, UniF2ace
    from limner.progress import ProgressCallback
    from limner.provenance.picture import Picture
    from limner.settings import AnswerSettings, ChatSettings, EditSettings, PaintSettings, SamplingSettings

# Scales by name: which weights serve which engine.
PAINTERS = {"nano": "mditface-nano"}
EDITORS = {"nano": "facex-nano"}


_MDITFACE_ONLY = ("mask_guidance", "merge", "size", "palette")
_UNIF2ACE_ONLY = ("temperature", "best")


def load(
    source: str | os.PathLike[str] = "nano",
    editor: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> Toolkit:
    """A toolkit at the scale `source`: "nano", or a registry name or folder of MDiTFace, UniF²ace or FaceX weights.

    editor: a registry name or folder of FaceX weights for the verbs that edit; None: what `source` has.
    device: where the engines compute: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"; reading faces stays on
    the CPU. precision: "auto", "bf16" or "fp32".
    Nothing is loaded yet: a verb says what its weights lack when it first needs them, so that reading needs no painter.
    Raises InputError with the way out for a name that is none, a folder that is not there, and an unknown device.
    """
    check_device(device, precision)
    painter, own_editor = source, source
    if isinstance(source, str) and source in PAINTERS:
        painter, own_editor = PAINTERS[source], EDITORS[source]
    else:
        known(source)
    if editor is not None:
        known(editor)
    return Toolkit(painter, own_editor if editor is None else editor, str(device), precision)


class Toolkit:
    """Reads, describes, paints and edits faces. Make one with `limner.load`; use it from one thread at a time."""

    def __init__(
        self,
        painter: str | os.PathLike[str],
        editor: str | os.PathLike[str],
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._painter_source, self._editor_source = painter, editor
        self._device, self._precision = device, precision

    @cached_property
    def reader(self) -> FaceReader:
        """The engine behind `read`, `compare` and `find`."""
        from limner.faces.reader import FaceReader

        return FaceReader.load()

    @cached_property
    def painter(self) -> MDiTFace | UniF2ace:
        """The engine behind `paint`."""
        from limner.models.unif2ace.loading import is_unif2ace

        if is_unif2ace(self._painter_source):
            return self.answerer
        from limner.models.mditface.engine import MDiTFace

        return MDiTFace.load(self._painter_source, device=self._device, precision=self._precision)

    @cached_property
    def editor(self) -> FaceX:
        """The engine behind `swap`, `reenact`, `edit` and `animate`."""
        from limner.models.facex.engine import FaceX

        return FaceX.load(self._editor_source, device=self._device, precision=self._precision, reader=self.reader)

    @cached_property
    def answerer(self) -> UniF2ace:
        """The engine behind `describe`, `ask` and `chat`: nano's, unless this toolkit was made for UniF²ace weights."""
        from limner.models.unif2ace.engine import UniF2ace
        from limner.models.unif2ace.loading import DEFAULT, is_unif2ace

        source = self._painter_source if is_unif2ace(self._painter_source) else DEFAULT
        return UniF2ace.load(source, device=self._device, precision=self._precision)

    @overload
    def read(self, photo: Source, min_score: float = 0.5) -> list[Face]: ...
    @overload
    def read(self, photo: Sequence[Source], min_score: float = 0.5) -> Iterator[ReadResult]: ...

    def read(self, photo: Source | Sequence[Source], min_score: float = 0.5) -> list[Face] | Iterator[ReadResult]:
        """The faces in a photo, largest first; empty when there is none.

        photo: path, encoded bytes, PIL image, or (H, W, 3) uint8 RGB array. min_score: detections below it, in [0, 1],
        are dropped. Raises InputError for what is not a picture.
        For a list of photos, a folder, or a pattern such as ``photos/**/*.jpg``: an iterator of results, one a photo;
        see `read_many`, which has the same for any of them.
        """
        from limner.faces.data_folders import is_several

        if isinstance(photo, list | tuple) or is_several(photo):
            return self.read_many(photo, min_score)  # type: ignore[arg-type]
        return self.reader.read(photo, min_score=min_score)  # type: ignore[arg-type]

    def read_many(
        self,
        photos: Iterable[Source] | str | os.PathLike[str],
        min_score: float = 0.5,
        batch_size: int = 8,
        on_error: OnError = "raise",
    ) -> Iterator[ReadResult]:
        """`read` for any number of photos, lazily: one `ReadResult` a photo, in order.

        photos: an iterable of photos, folders and patterns, or one folder or pattern; folders are searched with those
        below them, hidden files are passed over. batch_size: photos whose faces are described together. on_error:
        "raise" stops at the first photo that cannot be used; "yield" puts the error in its result and continues.
        """
        from limner.faces.data_folders import expand_photos

        if isinstance(photos, str | os.PathLike):
            photos = [photos]
        if not isinstance(photos, Iterable):
            raise InputError(f"photos must be a list of photos, a folder or a pattern, not {type(photos).__name__}")
        return self.reader.read_many(expand_photos(photos), min_score, True, batch_size, on_error)

    def compare(
        self, a: Source | Face, b: Source | Face, face_a: int | None = None, face_b: int | None = None
    ) -> Comparison:
        """Whether two faces show the same person: the distance of their identity vectors, and the threshold.

        a, b: photos, or faces that `read` returned. face_a, face_b: which face of a photo, from 1, largest first; the
        largest for None. Raises InputError for a photo without a face.
        """
        from limner.faces.compare import compare_faces

        return compare_faces(
            self._one_face(a, face_a, "the first photo"), self._one_face(b, face_b, "the second photo")
        )

    def find(
        self,
        photo: Source | Face,
        folder: str | os.PathLike[str],
        top_k: int | None = 10,
        face: int | None = None,
        index: str | os.PathLike[str] | None = None,
        min_score: float = 0.5,
        progress: ProgressCallback | None = None,
    ) -> list[Match]:
        """The faces in a folder's photos that are most like the one in a photo, most similar first.

        The folder's faces are kept in an index, a Parquet file, and only new and changed photos are read. top_k: how
        many faces; None: all. face: which face of the photo, as in `compare`. index: the index's file; None:
        ``limner-faces.parquet`` in the folder. Photos that cannot be read are named in a warning. Needs the extra
        ``data``. Raises InputError for a photo without a face and for what is no folder.
        """
        from limner.faces.search import update_index

        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k={top_k!r}: give a whole number of 1 or more, or None for all")
        wanted = self._one_face(photo, face, "the photo")
        found = update_index(folder, self.reader, index, min_score, progress)
        if found.errors:
            warnings.warn(f"{len(found.errors)} photos could not be read: {'; '.join(found.errors)}", stacklevel=2)
        return found.nearest(wanted, top_k)

    def _one_face(self, photo: Source | Face, number: int | None, name: str) -> Face:
        from limner.faces.record import Face, choose_face

        if isinstance(photo, Face):
            return photo
        if isinstance(photo, str | os.PathLike):
            name = os.path.basename(os.fsdecode(photo))
        return choose_face(self.reader.read(photo), number, name)

    def describe(
        self, photo: Source | EncodedPhoto, length: str = "long", **settings: Unpack[AnswerSettings]
    ) -> Answer:
        """A description of every face in a photo; its `text`, or `str` of it, is the words.

        length: "long", several sentences, or "short", one. settings: limit, sampling, seed, stream as `UniF2ace.ask`
        takes them. Raises InputError for what is no picture and where no face is found.
        """
        check_text(length, "length")
        return self.answerer.describe(photo, length, **settings)

    @overload
    def ask(self, photo: Source | EncodedPhoto, question: str, **settings: Unpack[AnswerSettings]) -> Answer: ...
    @overload
    def ask(
        self, photo: Source | EncodedPhoto, question: Sequence[str], **settings: Unpack[AnswerSettings]
    ) -> list[Answer]: ...

    def ask(
        self, photo: Source | EncodedPhoto, question: str | Sequence[str], **settings: Unpack[AnswerSettings]
    ) -> Answer | list[Answer]:
        """An answer about every face in a photo; see `describe`.

        question: one, or a list of them: then a list of answers, each question asked on its own and the photo read
        once.
        """
        if isinstance(question, list | tuple):
            for each in question:
                check_text(each, "question")
            look = self.answerer.encode_photo(photo)
            return [self.answerer.ask(look, each, **settings) for each in question]
        check_text(question, "question")
        return self.answerer.ask(photo, question, **settings)  # type: ignore[arg-type]

    def chat(self, photo: Source | EncodedPhoto, **settings: Unpack[ChatSettings]) -> Chat:
        """A conversation about a photo: `ask` its questions one after the other, each is read after what was said."""
        return self.answerer.chat(photo, **settings)

    def paint(
        self,
        text: str | Sequence[str] | None = None,
        mask: Face | np.ndarray | Image.Image | str | os.PathLike[str] | None = None,
        n: int = 1,
        **settings: Unpack[PaintSettings],
    ) -> list[Picture]:
        """Paint `n` portraits from words, from a region mask, or from both.

        text: words, or a list of them: then `n` pictures of each, one after the other, all from the same seeds. mask: a
        Face that `read` returned, an (H, W) id map, a palette picture (RGB array or PIL image), or the path of either
        as a file. settings: seed, steps, guidance, … as `MDiTFace.paint` takes them.
        Raises InputError when neither text nor mask is given, for a mask that is neither ids nor a known palette, and
        for a mask given to UniF²ace, which paints from words alone.
        """
        if isinstance(text, list | tuple):
            for each in text:
                check_text(each)
            if not text:
                raise InputError("text is an empty list: give words to paint")
            return [picture for each in text for picture in self.paint(each, mask, n, **settings)]
        if text is not None:
            check_text(text)
        from limner.models.unif2ace.engine import UniF2ace

        painter = self.painter
        other, needs = ("UniF²ace", _MDITFACE_ONLY) if isinstance(painter, UniF2ace) else ("MDiTFace", _UNIF2ACE_ONLY)
        for name in needs:
            if settings.pop(name, None) is not None:
                raise InputError(f"{other} has no setting {name}: leave it out")
        if isinstance(painter, UniF2ace):
            if mask is not None:
                raise InputError("UniF²ace paints from words alone: leave the mask out, or load an MDiTFace")
            return painter.paint(text or "", n=n, **settings)  # type: ignore[arg-type]
        return painter.paint(text, mask, n=n, **settings)  # type: ignore[arg-type]

    def swap(self, source: Source, target: Source, head: bool = False, **settings: Unpack[SamplingSettings]) -> Picture:
        """The face in `source`, or the whole head, on the person in `target`; the rest of `target` stays.

        settings: seed, steps, guidance, face, … as `FaceX.edit` takes them. The consent of both people is the caller's
        duty: nobody is asked here. Raises InputError for photos without a face that serves.
        """
        return self.editor.swap(source, target, head=head, **settings)

    def reenact(self, source: Source, driver: Source, **settings: Unpack[SamplingSettings]) -> Picture:
        """The person in `source` with the pose, gaze and expression of the one in `driver`; settings, and the
        duty, as in `swap`."""
        return self.editor.reenact(source, driver, **settings)

    def edit(self, photo: Source, plan: EditPlan, **settings: Unpack[EditSettings]) -> Picture:
        """Any edit, or several at once: `limner.EditPlan` says which. photos={name: photo} gives the others it names;
        a name that is not there is a path. Settings as in `swap`."""
        return self.editor.edit(photo, plan, **settings)

    def animate(self, photo: Source, style: str | os.PathLike[str], **settings: Unpack[SamplingSettings]) -> Picture:
        """The person as another base model of the same family paints them; settings as in `swap`.

        style: ``pencil``, or the folder of a base in diffusers' layout.
        """
        return self.editor.animate(photo, style, **settings)

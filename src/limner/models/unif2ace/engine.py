"""UniF²ace, the engine: describes faces in photographs, answers questions about them, paints from words."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from limner import __version__
from limner.errors import InputError
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.picture import Source
from limner.faces.reader import FaceReader
from limner.faces.record import Attribute
from limner.progress import ProgressCallback
from limner.provenance.picture import Picture
from limner.settings import BATCH, check_numbers, check_text
from limner.weights.device import choose
from limner.weights.fingerprint import weights_hash
from limner.weights.pretrained import PretrainedEngine, files_below
from limner.weights.registry import registry
from limner.weights.tensors import read_config
from limner.words.prompt import recorded, understood

from .answers import Answer, EncodedPhoto, FaceAnswer, left_to_right, name_positions
from .attribute_scoring import agreement, score_attributes, tell
from .caption_instructions import request
from .generation import DialogState, SamplingParams, converse, likelihood, read_pictures
from .guidance import encode_prompt, guided_logits
from .loading import DEFAULT, UniF2aceComponents, companion, load_components, weight_file
from .paint_settings import MOST, GenerationConfig
from .sequence import words_room
from .token_decoder import TokenDecoder
from .tokenizer import TextStream
from .unmasking import all_masked, sampler

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from limner.settings import AnswerSettings, BatchedSettings, TurnSettings

SMALL = 20_000  # words of a tokenizer below which it was learned from the grammars' words alone
LIMIT = 200  # tokens of an answer
MOST_THREADS = 1024  # that a recipe may ask for

Stream = Callable[[int, str], None]
"""After each token: (which face, from the left, counted from 0; the text its answer grew by, "" for a token that is
only a part of a character). To stop, raise."""


class UniF2ace(PretrainedEngine):
    """Describes, answers and paints. Make one with ``UniF2ace.load``; use it from one thread at a time."""

    ENGINE = "unif2ace"
    PAPER = "https://arxiv.org/abs/2503.08120"

    def __init__(self, components: UniF2aceComponents, why: str) -> None:
        self.components, self.name, self.why = components, components.name, why

    @classmethod
    def load(cls, source: str | os.PathLike[str] = DEFAULT, device: str = "auto", precision: str = "auto") -> UniF2ace:
        """From a registry name, a weight file or its folder.

        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``. precision: ``auto``, ``bf16``, ``fp32``; what auto
        chose, and why, stands in ``.why``. Raises ``InputError`` naming what is missing.
        """
        where, dtype, why = choose(device, precision)
        return cls(load_components(source, where, dtype), why)

    def pretrained_files(self) -> dict[str, Path]:
        """Its weight file, and those of its companions that lie beside it."""
        file = weight_file(self.name)
        files, header = {"model.safetensors": file}, read_config(file)
        for name in sorted({str(header[key]) for key in ("codec", "tokenizer", "clip", "face") if key in header}):
            place = companion(file, name)
            if isinstance(place, Path):
                files |= files_below(place, name) if place.is_dir() else {name: place}
            elif name not in registry() and Path(name).exists():
                raise InputError(f"{file} names {name}, which is not beside it: copy it there to save them together")
        return files

    @cached_property
    def reader(self) -> FaceReader:
        """What finds the faces."""
        return FaceReader.load()

    @cached_property
    def decoder(self) -> TokenDecoder | None:
        """The quick way to one answer at a time, where there is one."""
        model = self.components.model
        return TokenDecoder(model) if TokenDecoder.suits(model, 1) else None

    def encode_photo(self, photo: Source | EncodedPhoto, min_score: float = 0.5) -> EncodedPhoto:
        """Find the faces of a photo, align and read them: all that questions need, once a photo.

        photo: path, encoded bytes, PIL image, or (H, W, 3) uint8 RGB array. ``InputError`` for what is no picture, and
        where no face is found.
        """
        if isinstance(photo, EncodedPhoto):
            return photo
        pictures, boxes = self.reader.align(photo, min_score, self.components.size)
        if not len(pictures):
            raise InputError("no face was found in this photo: give one that shows a face of 60 pixels or more")
        order = left_to_right(boxes)
        found = boxes[order].astype(float).tolist()
        places = tuple((b[0], b[1], b[2], b[3]) for b in found)
        return EncodedPhoto(name_positions(len(pictures)), places, self.read_aligned(pictures[order]).cache)

    def read_aligned(self, pictures: np.ndarray) -> EncodedPhoto:
        """Faces that are aligned already, (F, size, size, 3) uint8, as `geometry.align_ffhq` leaves them."""
        components, size = self.components, self.components.size
        if pictures.ndim != 4 or pictures.shape[1:] != (size, size, 3):
            raise ValueError(f"aligned faces are (F, {size}, {size}, 3) uint8, not {pictures.shape}")
        caches = []
        for start in range(0, len(pictures), BATCH):
            x = to_model(pictures[start : start + BATCH]).to(components.device)
            with torch.no_grad():
                mixed = components.model.mix(
                    None
                    if components.clip is None
                    else components.clip.encode(x).to(components.model.head.weight.dtype),
                    None
                    if components.face is None
                    else components.face.encode(x).to(components.model.head.weight.dtype),
                )
                caches.append(read_pictures(components.model, components.codec.encode(x), mixed))
        boxes = ((0.0, 0.0, float(size), float(size)),) * len(pictures)
        return EncodedPhoto(name_positions(len(pictures)), boxes, reduce(lambda a, b: a.joined(b), caches))

    def describe(
        self, photo: Source | EncodedPhoto, length: str = "long", **settings: Unpack[AnswerSettings]
    ) -> Answer:
        """A description of every face. settings: as ``ask``.

        length: ``long``, several sentences; ``short``, one; or ``full``, whatever the model is sure of when it is asked
        for every attribute (see ``survey``), worded by rule: of the settings, only ``seed`` changes it.
        """
        return self.describe_each([self.encode_photo(photo)], length, **settings)[0]

    def describe_each(
        self, looks: Sequence[EncodedPhoto], length: str = "long", seed: int = 0, **settings: Unpack[BatchedSettings]
    ) -> list[Answer]:
        """``describe`` for several photos, faces in common batches (see ``ask_each``); in full, photo by photo."""
        question = request(length)
        if length != "full":
            return self.ask_each(looks, question, seed, **settings)
        answers = []
        for look in looks:
            found = self.score_attributes(look)
            texts = [tell(face, seed + k) for k, face in enumerate(found)]
            faces = zip(look.positions, look.boxes, texts, found, strict=True)
            answers.append(Answer(question, tuple(FaceAnswer(*face) for face in faces)))
        return answers

    def score_attributes(self, photo: Source | EncodedPhoto) -> list[dict[str, Attribute]]:
        """For each face of a photo, from left to right: every attribute that can be asked for, with its likeliest value
        and how sure the model is of it. See ``look`` for what a photo is, and for its errors."""
        cache = self.encode_photo(photo).cache
        batches = torch.arange(cache.batch, device=self.components.device).split(BATCH)
        return [
            face
            for rows in batches
            for face in score_attributes(self.components.model, self.components.tokenizer, cache.rows(rows))
        ]

    def ask(
        self,
        photo: Source | EncodedPhoto,
        question: str,
        limit: int = LIMIT,
        sampling: SamplingParams | None = None,
        seed: int = 0,
        stream: Stream | None = None,
    ) -> Answer:
        """Ask about every face of a photo (see ``look``).

        limit: most tokens. sampling: how tokens are chosen, the likeliest by default. seed: where they are drawn, the
        k-th face's are those of seed + k. stream: called with what every token adds to the text. ``InputError`` for an
        empty question.
        """
        look = self.encode_photo(photo)
        texts, _ = self.answer_faces(look, [question] * look.count, limit, sampling, seed, stream)
        return _answer(look, question, texts)

    def ask_each(
        self,
        looks: Sequence[EncodedPhoto],
        question: str,
        seed: int | Sequence[int] = 0,
        **settings: Unpack[BatchedSettings],
    ) -> list[Answer]:
        """``ask`` for several photos, their faces in common batches: the same answers, sooner.

        The same where one or two faces alone are not decoded in 16 bits (``decoding``): there a near tie, or a draw
        that is nearly another's, may turn. seed: of every photo alike, or one for each.
        """
        together = EncodedPhoto(
            tuple(name for look in looks for name in look.positions),
            tuple(box for look in looks for box in look.boxes),
            reduce(lambda a, b: a.joined(b), [look.cache for look in looks]),
        )
        firsts = [seed] * len(looks) if isinstance(seed, int) else seed
        seeds = [first + k for first, look in zip(firsts, looks, strict=True) for k in range(look.count)]
        texts, _ = self.answer_faces(together, [question] * together.count, seed=seeds, **settings)
        answers = []
        for look in looks:
            answers.append(_answer(look, question, texts[: look.count]))
            del texts[: look.count]
        return answers

    def chat(
        self, photo: Source | EncodedPhoto, before: Sequence[tuple[str, str]] = (), **settings: Unpack[TurnSettings]
    ) -> Chat:
        """A conversation about a photo; settings as ``ask``.

        before: turns of an earlier conversation about it, each the question and the ``text`` of its answer.
        """
        return Chat(self, self.encode_photo(photo), settings, before)

    def answer_faces(
        self,
        look: EncodedPhoto,
        questions: Sequence[str],
        limit: int = LIMIT,
        sampling: SamplingParams | None = None,
        seed: int | Sequence[int] = 0,
        stream: Stream | None = None,
        state: Sequence[DialogState] | None = None,
    ) -> tuple[list[str], list[DialogState]]:
        """One question for each face, and each face's answer; also all that was said, for the next ``state``.

        told: what was said earlier, of ``begin`` or of the question before. seed: the k-th face draws from seed + k, or
        seed[k]. Other settings as ``ask``.
        """
        if len(questions) != look.count:
            raise ValueError(f"{len(questions)} questions for {look.count} faces: one for each is needed")
        for question in questions:
            check_text(question, "question")
        if any(not question.strip() for question in questions):
            raise InputError("the question is empty: ask something")
        check_numbers({"limit": limit}, {"limit": (1, 4096)}, {})
        for number in [seed] if isinstance(seed, int | str) else seed:
            check_numbers({"seed": number}, {"seed": (0, 2**63 - 1)}, {})
        if sampling is not None and not isinstance(sampling, SamplingParams):
            raise InputError(f"sampling must be a SamplingParams, not {type(sampling).__name__}")
        tokenizer, config = self.components.tokenizer, self.components.model.config
        asked = [tokenizer.question(question.strip()) for question in questions]
        seeds = [seed + k for k in range(look.count)] if isinstance(seed, int) else seed
        answers: list[list[int]] = []
        after: list[DialogState] = []
        for start, earlier in zip(range(0, look.count, BATCH), state or self.begin(look), strict=True):
            faces = slice(start, start + BATCH)
            streams = [TextStream(tokenizer) for _ in asked[faces]]

            def tell(count: int, tokens: torch.Tensor, start: int = start, streams=streams) -> None:
                for row, token in enumerate(tokens.tolist()):
                    if token != config.eot and stream is not None:
                        stream(start + row, streams[row].add(token))

            said, later = converse(
                self.components.model, earlier, asked[faces], limit, sampling, seeds[faces],
                None if stream is None else tell, self.decoder,
            )  # fmt: skip
            answers += said
            after.append(later)
        return [tokenizer.decode(ids).strip() for ids in answers], after

    def begin(self, look: EncodedPhoto, before: Sequence[Sequence[int]] | None = None) -> list[DialogState]:
        """What is told before a first question: nothing but ``before``, ids of each face, in batches of faces."""
        batches = torch.arange(look.count, device=self.components.device).split(BATCH)
        turns = [list(ids) for ids in before or [[]] * look.count]
        return [DialogState.of(look.cache.rows(rows), turns[int(rows[0]) : int(rows[-1]) + 1]) for rows in batches]

    def turn(self, question: str, answer: str) -> list[int]:
        """A question and what was answered, as ids for the ``before`` of ``begin``."""
        tokenizer, config = self.components.tokenizer, self.components.model.config
        return [
            config.sot, *tokenizer.question(question.strip()), *tokenizer.encode([answer.strip()])[0], config.eot
        ]  # fmt: skip

    def prompt_tokens(self, question: str, before: Sequence[tuple[str, str]] = ()) -> int:
        """Tokens that are read before an answer about one face: its picture, the turns before, and the question."""
        turns = sum(len(self.turn(*each)) for each in before)
        return (
            self.components.model.config.image_tokens
            + turns
            + len(self.components.tokenizer.question(question.strip()))
        )

    def paint(
        self,
        text: str,
        n: int = 1,
        steps: int = 18,
        guidance: float | None = None,
        seed: int = 0,
        sampler: str = "confidence",
        temperature: float | None = None,
        best: int = 1,
        callback: ProgressCallback | None = None,
    ) -> list[Picture]:
        """Paint ``n`` pictures from words.

        best: paint so many for each, and keep the one that the model itself reads the words from best (``reads``; our
        choice: because a model that paints and understands can look at what it painted). guidance: how strongly words
        are followed, 0 is unguided (default: the weights' own). seed: picture k is that of seed + k, whatever n.
        sampler: ``confidence`` or ``leap``. temperature: of the confidence's noise (default: the weights' own), or of
        the logits for ``leap`` (default: 1). ``InputError`` for what cannot be painted. Of a long text the end is not
        read (``unread``).
        """
        check_text(text)
        if temperature is None:
            temperature = self.components.temperature if sampler == "confidence" else 1.0
        check_numbers({"n": n, "best": best}, {"n": (1, MOST), "best": (1, MOST)}, {})
        config = GenerationConfig(
            text=text.strip(),
            n=n * best,
            steps=steps,
            guidance=self.components.guidance if guidance is None else guidance,
            seed=seed,
            sampler=sampler,
            temperature=temperature,
        )
        if self.components.tokenizer.size < SMALL:
            config = replace(config, **recorded(understood(config.text)))
        total, pictures = steps * -(-n * best // BATCH), []
        for first in range(0, n * best, BATCH):
            done = first // BATCH * steps
            pictures += self._batch(config, first, lambda step: callback(done + step, total) if callback else None)  # noqa: B023
        if best == 1:
            return pictures
        fits = self.reads(np.stack([np.asarray(each.image) for each in pictures]), config.text)
        chosen = fits.reshape(n, best).argmax(1) + np.arange(n) * best
        return [replace(pictures[k], recipe={**pictures[k].recipe, "best_of": best}) for k in chosen.tolist()]

    def reads(self, pictures: np.ndarray, text: str) -> np.ndarray:
        """How well the model reads a text off aligned pictures (F, size, size, 3) uint8, (F,); more is better.

        By its own answers to what the text claims (``survey.agreement``); for a text that claims nothing of a face, by
        the mean log-likelihood of the text's tokens as a short description.
        """
        model, tokenizer, cache = self.components.model, self.components.tokenizer, self.read_aligned(pictures).cache
        found = agreement(model, tokenizer, cache, text)
        if found is None:
            asked, said = tokenizer.question(request("short")), tokenizer.encode([text.strip()])[0]
            found = likelihood(model, cache, asked, said)
        return found.cpu().numpy()

    def unread(self, text: str) -> str:
        """The end of a text that ``paint`` does not read, for want of room in the model's sequences; "" for none."""
        ids = self.components.tokenizer.encode([text.strip()])[0]
        return self.components.tokenizer.decode(ids[words_room(self.components.model.config) :]).strip()

    def replay(self, recipe: dict[str, Any], callback: ProgressCallback | None = None) -> Picture:
        """Make a picture again from its recipe: the same batch on the same number of threads, so the same bits.

        ``InputError`` if the recipe is another engine's or was made with other weights.
        """
        try:
            config = GenerationConfig.from_recipe(recipe)
            picture, threads, weights = int(recipe["picture"]), int(recipe["threads"]), recipe["weights"]
        except InputError:
            raise
        except (KeyError, TypeError, ValueError):
            raise InputError("invalid UniF²ace recipe: use the version of Limner that wrote it") from None
        if not 0 <= picture < config.n or not 1 <= threads <= MOST_THREADS:
            raise InputError(f"invalid recipe: picture={picture}, threads={threads}")
        if weights != self.weights():
            raise InputError(
                "the loaded weights or precision differ from those in the recipe: load the weights named there"
            )
        before, first, steps = torch.get_num_threads(), picture // BATCH * BATCH, config.steps
        torch.set_num_threads(threads)
        try:
            return self._batch(config, first, lambda step: callback(step, steps) if callback else None)[picture - first]
        finally:
            torch.set_num_threads(before)

    def weights(self) -> dict[str, str]:
        """What the loaded weights are, in their type: goes into every recipe."""
        return dict(self._weights)

    @cached_property
    def _weights(self) -> dict[str, str]:
        hashes = {"transformer": weights_hash(self.components.model), "codec": weights_hash(self.components.codec)}
        return {**hashes, "tokenizer": self.components.tokenizer.hash}

    @torch.no_grad()
    def _batch(self, asked: GenerationConfig, first: int, progress: Callable[[int], Any]) -> list[Picture]:
        """Pictures ``first`` to ``first + BATCH`` of a request, or up to its end."""
        components, config = self.components, self.components.model.config
        count = min(BATCH, asked.n - first)
        words = encode_prompt(components.model, components.tokenizer.encode([asked.text]))
        words = words.rows(torch.zeros(count, dtype=torch.long))
        predict = guided_logits(components.model, words, encode_prompt(components.model, [[]]), asked.guidance)
        paint = sampler(asked.sampler, asked.temperature)
        start = all_masked(count, config.image_tokens, config.codebook)
        codes = paint(predict, start, asked.steps, asked.seed + first, lambda step, gamma, codes: progress(step))
        pixels = [to_pictures(components.codec.decode(one[None].to(components.device)))[0] for one in codes]
        return [self._picture(image, asked, first + k) for k, image in enumerate(pixels)]

    def _picture(self, pixels: np.ndarray, asked: GenerationConfig, index: int) -> Picture:
        recipe = {
            "limner": __version__,
            "engine": "unif2ace",
            "source": self.name,
            **asked.to_recipe(),
            "picture": index,
            "weights": self.weights(),
            "precision": str(self.components.model.head.weight.dtype).removeprefix("torch."),
            "device": self.components.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        return Picture(Image.fromarray(pixels), recipe, ())


class Chat:
    """Several turns about one photo: every question is read after what was said before, which is not read again."""

    def __init__(
        self, engine: UniF2ace, look: EncodedPhoto, settings: TurnSettings, before: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.engine, self.look, self.settings = engine, look, settings
        self.turns: list[Answer] = []
        self._state = engine.begin(
            look,
            [
                [id for asked, text in before for id in engine.turn(asked, Answer.part(text, position))]
                for position in look.positions
            ],
        )

    def ask(self, question: str, stream: Stream | None = None) -> Answer:
        """The next turn; see ``UniF2ace.ask``. ``InputError`` too where the conversation has grown too long."""
        asked = [question] * self.look.count
        texts, self._state = self.engine.answer_faces(
            self.look, asked, **self.settings, stream=stream, state=self._state
        )
        self.turns.append(_answer(self.look, question, texts))
        return self.turns[-1]


def _answer(look: EncodedPhoto, question: str, texts: Sequence[str]) -> Answer:
    faces = (FaceAnswer(*each) for each in zip(look.positions, look.boxes, texts, strict=True))
    return Answer(question, tuple(faces))

"""FaceX, the editor: swaps, reenactment, sliders, regions, erasing, styles; each a plan, each in one pass."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner import __version__
from limner.aliases import PICTURE_RECIPE
from limner.aliases import renamed as with_new_names
from limner.errors import InputError
from limner.faces.image_tensors import to_pictures
from limner.faces.picture import Source, read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Face, choose_face
from limner.faces.shape import ShapeModel
from limner.progress import Preview, PreviewCallback, ProgressCallback
from limner.provenance.picture import Picture
from limner.settings import BATCH, check_numbers, check_sampler
from limner.weights.device import choose
from limner.weights.fingerprint import weights_hash
from limner.weights.pretrained import PretrainedEngine, files_below
from limner.weights.store import locate

from .assemble import choice_of
from .edit_inputs import BatchInit, EditInputs, Subject, ingredients, kept_faces, moved_by_sliders, steps_of
from .loading import (
    BASE,
    CONTROLLER,
    NANO,
    FaceXComponents,
    Strength,
    controller_file,
    default_base,
    find_style,
    load_components,
)  # fmt: skip
from .masks import check_hole, unpack_mask
from .mirror_inpaint import draw_mirror_init
from .neighbours import other_faces
from .occlusion_fill import visible_rest
from .photo_names import renamed, short_names
from .plan import CANVAS, EditPlan
from .portrait import hash_of, portrait_of
from .reference import Reference, assemble_reference, drawn_hole, repaint_mask
from .sample import SAMPLERS, OnStep, draw_noise, make_scheduler, sample, weighed
from .warped_init import RENDER_VERSION, draw_warped_init

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from limner.settings import SamplingSettings

MOST_THREADS = 1024  # that a recipe may ask for
SCALES = {"guidance": (0, 100), "identity_guidance": (0, 100), "warp_strength": (0, 1)}


class FaceX(PretrainedEngine):
    """Edits faces in photographs. Make one with ``FaceX.load``; use it from one thread at a time."""

    ENGINE = "facex"
    PAPER = "https://arxiv.org/abs/2401.00551"

    def __init__(self, components: FaceXComponents, name: str, why: str, reader: FaceReader | None = None) -> None:
        self.components, self.name, self.why = components, name, why
        self.reader = reader or FaceReader.load()
        self._styles: dict[str, FaceX] = {}
        self._settings: dict[str, Any] = {}
        self._base: str | os.PathLike[str] | None = None

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = NANO,
        base: str | os.PathLike[str] | None = None,
        device: str = "auto",
        precision: str = "auto",
        identity: str | None = None,
        regions: str | None = None,
        reader: FaceReader | None = None,
        motion: str | None = None,
    ) -> FaceX:
        """From a registry name, a folder with ``controller.safetensors``, or that file.

        base: the model to steer, if not the one beside the controller or in its header: any of the same family, in
        diffusers' layout. device: ``auto``, ``cpu``, ``cuda``. precision: ``auto``, ``bf16``, ``fp32``. identity,
        regions, motion: weights of ArcFace, of the vision transformer and of a D3DFR-style regressor, for controllers
        that need them. reader: shares a reader's networks. Raises ``InputError``.
        """
        where, dtype, why = choose(device, precision)
        editor = cls(load_components(source, base, where, dtype, identity, regions, motion), str(source), why, reader)
        editor._settings = {
            "source": source, "device": device, "precision": precision, "identity": identity, "regions": regions,
            "motion": motion,
        }  # fmt: skip
        editor._base = base
        return editor

    def pretrained_files(self) -> dict[str, Path]:
        """Its controller, and the base that it was loaded with; encoders that were given as files are given again."""
        file = controller_file(self.name)
        base = default_base(file) if self._base is None else self._base
        place = Path(locate(base))
        return {CONTROLLER: file, **files_below(place / BASE if (place / BASE).is_dir() else place, BASE)}

    @cached_property
    def shapes(self) -> ShapeModel:
        """The linear face shape model, for warped inits."""
        return ShapeModel.load()

    def swap(self, source: Source, target: Source, head: bool = False, **settings: Unpack[SamplingSettings]) -> Picture:
        """The face (or the head) of ``source`` on the person in ``target``; settings as ``edit`` takes them.

        The consent of both is the caller's duty: nobody is asked here.
        """
        return self.edit(target, EditPlan.swap("source", head=head), {"source": source}, **settings)

    def reenact(self, source: Source, driver: Source, **settings: Unpack[SamplingSettings]) -> Picture:
        """The person in ``source`` doing what the one in ``driver`` does; settings, and the duty, as for ``swap``."""
        return self.edit(source, EditPlan.reenact("driver"), {"driver": driver}, **settings)

    def animate(self, photo: Source, style: str | os.PathLike[str], **settings: Unpack[SamplingSettings]) -> Picture:
        """The person in the style of another base model of the same family: ``pencil``, or a folder."""
        return self.styled(style).edit(photo, EditPlan.animate(), **settings)

    def styled(self, style: str | os.PathLike[str]) -> FaceX:
        """The same controller on another base, kept for the next time. ``InputError`` for a base it does not fit."""
        key = find_style(style)
        if key not in self._styles:
            self._styles[key] = FaceX.load(**self._settings, base=key, reader=self.reader)
        return self._styles[key]

    def edit(
        self,
        photo: Source,
        plan: EditPlan,
        photos: Mapping[str, Source] | None = None,
        face: int | None = None,
        faces: Mapping[str, int] | None = None,
        seed: int = 0,
        steps: int = 25,
        guidance: float | None = None,
        identity_guidance: float | None = None,
        warp_strength: float | None = None,
        sampler: str = "euler",
        callback: ProgressCallback | None = None,
        watch: PreviewCallback | None = None,
    ) -> Picture:
        """Edit the full photo in one pass.

        plan: what to do. photos: the other photos it names; a name that is not among them is a path, of which the
        recipe keeps the file's name. face: which face
        of the photo, counted from 1, largest first; the largest for None. faces: the same for the other photos, by
        name. guidance: classifier-free guidance scale of factors and words; 1 disables it. identity_guidance: extra
        guidance towards the person or part that comes from another photo, away from the photo's own; 0 disables it,
        above 0 an edit takes half as long again. warp_strength: how much sampling starts from the warped photos
        (SDEdit): 0 from pure noise, 1 from as much of them as the edit allows. The weights' header has the defaults of
        all three. sampler: ``euler`` or ``ddim``. watch: as callback, and
        shows the whole photo as it would be now. Raises ``InputError`` for what cannot be edited.
        """
        strength = self.components.strength.replaced(guidance, identity_guidance, warp_strength)
        check_settings(seed, steps, strength, sampler)

        def step(done: int, total: int, look: Preview) -> None:
            if callback is not None:
                callback(done, total)
            if watch is not None:
                watch(done, total, look)

        begun = self.begin(photo, plan, photos, face, faces, seed)
        return self.finish([begun], steps, guidance, identity_guidance, warp_strength, sampler, step)[0]

    def begin(
        self,
        photo: Source,
        plan: EditPlan,
        photos: Mapping[str, Source] | None = None,
        face: int | None = None,
        faces: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> EditInputs:
        """The first half of ``edit``, up to sampling: what differs between edits that ``finish`` paints together."""
        if not isinstance(plan, EditPlan):
            raise InputError(
                f"plan must be a limner.EditPlan, not {type(plan).__name__}: for example EditPlan.motion(smile=0.5)"
            )
        if plan.empty:
            raise InputError("the plan is empty: give regions in `repaint`, or a mask")
        given: dict[str, Source] = {CANVAS: photo, **(photos or {})}
        chosen = {CANVAS: face, **(faces or {})}
        names = short_names(plan, given)
        subjects = {
            new: self.subject(given.get(name, name), chosen.get(name), name) for name, new in names.items()
        }  # a name that is no key is a path
        return self.prepare(renamed(plan, names), subjects, seed)

    def finish(
        self,
        begun: Sequence[EditInputs],
        steps: int = 25,
        guidance: float | None = None,
        identity_guidance: float | None = None,
        warp_strength: float | None = None,
        sampler: str = "euler",
        watch: PreviewCallback | None = None,
        on_step: OnStep | None = None,
    ) -> list[Picture]:
        """The second half of ``edit``, for any number of edits at once, ``BATCH`` in a batch; one picture each.

        A picture is the one that its edit gives alone, up to what kernels round by batch size (measured in
        tests/facex/test_together.py); ``batched_with`` in its recipe counts the others of its batch. on_step: may look
        at and change the latents after each step.
        """
        strength = self.components.strength.replaced(guidance, identity_guidance, warp_strength)
        pictures: list[Picture] = []
        batches = [begun[first : first + BATCH] for first in range(0, len(begun), BATCH)]
        counts = [steps_of(batch, steps, strength) for batch in batches]
        total = sum(counts)
        for number, batch in enumerate(batches):
            before = sum(counts[:number])

            def step(done: int, _: int, look: Preview, batch=batch, before=before) -> None:
                if watch is not None:
                    watch(before + done, total, lambda: [each.blend(crop) for each, crop in zip(batch, look())])

            shared = {"batched_with": len(batch) - 1} if len(batch) > 1 else {}
            for each, crop in zip(batch, self.paint(batch, steps, strength, sampler, step, on_step)):
                recipe = self.recipe(each.plan, each.subjects, each.seed, steps, strength, sampler)
                image = Image.fromarray(each.blend(crop))
                pictures.append(Picture(image, recipe | shared, ingredients(each.subjects), each.photo))
        return pictures

    def replay(self, recipe: Mapping[str, Any], photos: Mapping[str, Source]) -> Picture:
        """Make an edit again from its recipe and the same photos (``photo`` and those that the plan names).

        ``InputError`` if a photo is another one, or the weights are.
        """
        recipe = with_new_names(recipe, PICTURE_RECIPE)
        if "plan" in recipe and recipe.get("render_version") != RENDER_VERSION:
            raise InputError(
                "this edit was rendered by another version of Limner and cannot be reproduced exactly: use that version"
            )
        try:
            plan = EditPlan.model_validate(recipe["plan"])
            about, weights, threads = recipe["photos"], recipe["weights"], int(recipe["threads"])
            given = {name: photos[name] for name in plan.photos}
            settings = {
                key: recipe[key]
                for key in ("seed", "steps", "guidance", "identity_guidance", "warp_strength", "sampler")
            }
        except KeyError as missing:
            raise InputError(f"replaying an edit needs its complete recipe and photos; missing: {missing}") from None
        except ValueError as error:
            raise InputError(f"invalid recipe: {str(error).splitlines()[0]}") from None
        if not 1 <= threads <= MOST_THREADS:
            raise InputError(f"invalid recipe: `threads` must be between 1 and {MOST_THREADS} (got {threads})")
        if weights != self.weights():
            raise InputError(
                "the loaded weights or precision differ from those in the recipe: load the weights named there"
            )
        for name, source in given.items():
            if hash_of(read_picture(source)) != about[name]["sha256"]:
                raise InputError(f"photo '{name}' differs from the one in the recipe: give {about[name]['file']}")
        numbers = {name: int(about[name]["face"]) for name in given}
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return self.edit(given[CANVAS], plan, given, numbers[CANVAS], numbers, **settings)
        finally:
            torch.set_num_threads(before)

    def subject(self, source: Source, face: int | None, name: str) -> Subject:
        """A photo's face, read and taken apart. ``InputError``, one line, if it has none that serves."""
        file = Path(source).name if isinstance(source, str | os.PathLike) else name
        photo = read_picture(source, name)
        found = self.reader.read(photo, recognise=False)
        chosen = choose_face(found, face, file)
        others = other_faces(found, chosen, photo.shape, self.reader.topology.triangles)
        return self.taken_apart(photo, chosen, file, face or 1, others)

    def taken_apart(
        self, photo: np.ndarray, face: Face, file: str, number: int = 1, others: np.ndarray | None = None
    ) -> Subject:
        """A face that was read already, taken apart. others: (H, W) bool, where other people's faces are."""
        portrait = portrait_of(photo, face, self.components.base.size, self.reader.topology, file).without(others)
        return Subject(photo, portrait, self.components.decomposer.decompose([portrait]), file, number, others)

    @torch.no_grad()
    def prepare(self, plan: EditPlan, subjects: Mapping[str, Subject], seed: int = 0) -> EditInputs:
        """FORS: the plan's tokens and reference, from subjects by the names it uses."""
        whole, canvas = plan, subjects[CANVAS]
        if plan.hole is not None:
            check_hole(unpack_mask(plan.hole), canvas.portrait.crop, canvas.portrait.size, canvas.photo, canvas.file)
        portraits = {name: subject.portrait for name, subject in subjects.items()}
        mask = repaint_mask(plan, portraits, kept_faces(plan, canvas.others))
        hole_fill = self.components.controller.config.hole_fill
        reference = assemble_reference(plan, portraits, mask, self.components.base.codec, hole_fill)
        factors = {name: subject.factors for name, subject in subjects.items()}
        seen = visible_rest(plan, canvas.portrait, drawn_hole(plan, canvas.portrait), self.reader)
        if seen.hole is None:
            init = draw_warped_init(plan, portraits, mask, self.shapes)
        else:
            init = draw_mirror_init(plan, seen.portrait, seen.hole, self.reader.topology)
        if seen.portrait is not portraits[CANVAS]:
            portraits[CANVAS] = seen.portrait
            factors[CANVAS] = self.components.decomposer.decompose([seen.portrait])
        if plan.sliders:
            factors, plan = moved_by_sliders(plan, portraits, factors)
        numbers = {name: number for number, name in enumerate(factors)}
        assembler = self.components.controller.assembler
        device, dtype = assembler.dropped.device, assembler.dropped.dtype
        ready = [
            each.map(lambda x: x.to(device, dtype) if x.is_floating_point() else x.to(device))
            for each in factors.values()
        ]
        photos = [assembler.encode(each) for each in ready]
        tokens, negative = (
            assembler.pick(photos, choice_of(seen.known(each), numbers)) for each in (plan, plan.negative())
        )
        return EditInputs(whole, subjects, seed, tokens, negative, reference, mask, init)

    @torch.no_grad()
    def paint(
        self,
        prepared: Sequence[EditInputs],
        steps: int,
        strength: Strength,
        sampler: str,
        watch: PreviewCallback | None = None,
        on_step: OnStep | None = None,
    ) -> np.ndarray:
        """The aligned pictures (B, S, S, 3) uint8 that B prepared edits lead to; ``watch`` sees them on their way."""
        for each in prepared:
            check_settings(each.seed, steps, strength, sampler)
        components, count = self.components, len(prepared)
        tokens, negative = (torch.cat([getattr(each, name) for each in prepared]) for name in ("tokens", "negative"))
        reference = Reference.joined([each.reference for each in prepared])
        device, dtype = tokens.device, tokens.dtype
        words = [components.base.text(each.plan.prompt, device, dtype) for each in prepared]
        none = [components.base.text("", device, dtype)] * count
        guidance, identity_guidance = (
            strength.guidance,
            strength.identity_guidance if not torch.equal(tokens, negative) else 0.0,
        )
        asked = [
            (guidance + identity_guidance, words, tokens),
            (1 - guidance, none, components.controller.assembler.none(count)),
            (-identity_guidance, words, negative),
        ]
        weights, texts, faces = zip(*(each for each in asked if each[0]))
        text, face = _stacked([each for texts_of in texts for each in texts_of]), torch.cat(faces)
        references = Reference.joined([reference] * len(weights))
        shape = tuple(reference.latents.shape[1:])
        noise = torch.cat([draw_noise(shape, each.seed) for each in prepared]).to(device)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return components.steered(x.to(dtype), t.expand(len(x)), *text, face, references).float()

        codec = components.base.codec
        begun, codec_type = BatchInit.of(prepared, strength.warp_strength, codec), next(codec.parameters()).dtype

        def decode(latents: Tensor) -> np.ndarray:
            return begun.finished(to_pictures(codec.decode(latents.to(codec_type))))

        latents = sample(
            weighed(predict, weights),
            noise,
            make_scheduler(components.base.schedule, sampler),
            steps,
            None if watch is None else lambda done, total, estimate: watch(done, total, lambda: decode(estimate)),
            begun.init,
            on_step,
        )
        return decode(latents)

    def weights(self) -> dict[str, str]:
        """What the loaded weights are, in their type: goes into every recipe."""
        return dict(self._weights)

    @cached_property
    def _weights(self) -> dict[str, str]:
        components = self.components
        return {
            "controller": weights_hash(components.controller),
            "unet": weights_hash(components.base.unet),
            "codec": weights_hash(components.base.codec),
        }

    def recipe(
        self, plan: EditPlan, subjects: Mapping[str, Subject], seed: int, steps: int, strength: Strength, sampler: str
    ) -> dict[str, Any]:
        """Everything needed to make an edit again, given the photos."""
        dtype = self.components.controller.assembler.dropped.dtype
        return {
            "limner": __version__,
            "engine": "facex",
            "kind": "edit",
            "source": self.name,
            "base": self.components.base.name,
            "plan": plan.model_dump(mode="json"),
            "says": str(plan),
            "photos": {
                name: {"file": s.file, "sha256": hash_of(s.photo), "face": s.face} for name, s in subjects.items()
            },
            "seed": seed,
            "steps": steps,
            **asdict(strength),
            "render_version": RENDER_VERSION,
            "sampler": sampler,
            "weights": self.weights(),
            "precision": str(dtype).removeprefix("torch."),
            "device": self.components.controller.assembler.dropped.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }


def check_settings(seed: int, steps: int, strength: Strength, sampler: str) -> None:
    """``InputError`` naming the first setting that cannot be."""
    settings = {"seed": seed, "steps": steps, **asdict(strength)}
    check_numbers(settings, {"seed": (0, 2**63 - 1), "steps": (1, 1000)}, SCALES)
    check_sampler(sampler, SAMPLERS)


def _stacked(texts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Texts of one length as one batch."""
    masks = [mask for _, mask in texts if mask is not None]
    return torch.cat([tokens for tokens, _ in texts]), torch.cat(masks) if masks else None

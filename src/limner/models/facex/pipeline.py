"""FaceX for users of diffusers: a pipeline on any Stable Diffusion 1.5 folder.

    pipe = FaceXPipeline.from_pretrained("stable-diffusion-1.5 folder")
    pipe.load_controller("controller.safetensors")
    image = pipe(photo, source=other).images[0]               # a face swap
    image = pipe(photo, EditPlan.motion(yaw=20)).images[0]    # any edit plan

The UNet carries the controller only while a call runs; between calls it is the plain one, so it can be saved, given
LoRA, or shared with other pipelines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch import Tensor

from limner.codecs.continuous import KLCodec
from limner.errors import InputError
from limner.faces.picture import Source
from limner.faces.reader import FaceReader
from limner.words.transformers_encoders import TransformersEncoder

from .base import Base
from .config import ControlConfig
from .control import Controller, load_controller
from .encoders import load_decomposer
from .engine import FaceX
from .loading import FaceXComponents, Strength, controller_file, strength_of
from .plan import EditPlan
from .steer import SteeredUNet

CUSTOM_PIPELINE = str(Path(__file__).parent / "diffusers_pipeline" / "facex_pipeline.py")
"""For `DiffusionPipeline.from_pretrained(folder, custom_pipeline=CUSTOM_PIPELINE)`."""


class FaceXController(ModelMixin, ConfigMixin):
    """A controller as a component of a pipeline, saved and loaded with it."""

    @register_to_config
    def __init__(self, sizes: dict[str, Any], first_channels: int, strength: dict[str, float]) -> None:
        super().__init__()
        self.network = Controller(ControlConfig.from_dict(dict(sizes)), first_channels)

    @classmethod
    def from_file(cls, source: str | os.PathLike[str]) -> FaceXController:
        """From what training wrote: `controller.safetensors`, its folder, or a registry name."""
        network, header = load_controller(controller_file(source))
        made = cls(network.config.to_dict(), network.first_channels, asdict(strength_of(header)))
        made.network.load_state_dict(network.state_dict())
        return made.eval().requires_grad_(False)


class FaceXPipeline(DiffusionPipeline):
    """Edits faces in photographs with Stable Diffusion 1.5 or a relative, and a FaceX controller for its family."""

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _optional_components: ClassVar[list[str]] = ["safety_checker", "feature_extractor", "image_encoder", "controller"]

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        controller: FaceXController | None = None,
        requires_safety_checker: bool = True,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
            safety_checker=safety_checker, feature_extractor=feature_extractor, image_encoder=image_encoder,
            controller=controller,
        )  # fmt: skip
        self.register_to_config(requires_safety_checker=requires_safety_checker)
        self._encoders: dict[str, str | None] = {"identity": None, "regions": None, "motion": None}
        self._reader: FaceReader | None = None

    def load_controller(self, source: str | os.PathLike[str]) -> None:
        """Take a controller from what training wrote. `InputError` if it does not fit this UNet's family."""
        controller = FaceXController.from_file(source)
        SteeredUNet(self.unet, controller.network, "this pipeline's UNet").release()
        self.register_modules(controller=controller.to(self.unet.device, self.unet.dtype))

    def load_encoders(self, identity: str | None = None, tower: str | None = None, motion: str | None = None) -> None:
        """Weights that a controller of the published size was trained with: ArcFace's file, the folder of its vision
        transformer, and a D3DFR-style regressor's file. Controllers with Limner's own encoders need none."""
        self._encoders = {"identity": identity, "regions": tower, "motion": motion}

    @torch.no_grad()
    def __call__(
        self,
        image: Source,
        plan: EditPlan | None = None,
        *,
        source: Source | None = None,
        driver: Source | None = None,
        photos: Mapping[str, Source] | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float | None = None,
        identity_guidance: float | None = None,
        warp_strength: float | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("latents",),
    ) -> Any:
        """Edit the full photo; pixels outside the edited region stay as they are.

        image: the photo to edit. What to do is one of: plan, with `photos` for the other photos it names; source: the
        photo whose face to swap in; driver: the photo whose motion to follow. guidance_scale, identity_guidance,
        warp_strength: as in `FaceX.edit`, the controller's own unless given. generator: the seed is drawn from it. The
        scheduler's settings are the pipeline's; sampling is Euler's unless the scheduler is a DDIMScheduler.
        callback_on_step_end: as in diffusers, with `latents`. Returns `ImagePipelineOutput`, or a tuple with
        `return_dict=False`.
        """
        given = [value is not None for value in (plan, source, driver)]
        if sum(given) != 1:
            raise ValueError("say what to do with one of plan, source (swap) and driver (reenact)")
        if output_type not in ("pil", "np"):
            raise ValueError(f"output_type={output_type!r}: choose 'pil' or 'np'")
        if set(callback_on_step_end_tensor_inputs) - {"latents"}:
            raise ValueError("callback_on_step_end_tensor_inputs: only 'latents' can be asked for")
        others: dict[str, Source] = dict(photos or {})
        if source is not None:
            plan, others["source"] = EditPlan.swap("source"), source
        elif driver is not None:
            plan, others["driver"] = EditPlan.reenact("driver"), driver
        assert plan is not None
        seed = 0
        if generator is not None:
            seed = int(torch.randint(0, 2**62, (), generator=generator, device=generator.device))

        def on_step(step: int, time: Tensor, latents: Tensor) -> Tensor:
            if callback_on_step_end is None:
                return latents
            values = {name: latents for name in callback_on_step_end_tensor_inputs}
            return (callback_on_step_end(self, step, time, values) or {}).get("latents", latents)

        sampler = "ddim" if isinstance(self.scheduler, DDIMScheduler) else "euler"
        engine = self._engine()
        try:
            begun = engine.begin(image, plan, others, seed=seed)
            made = engine.finish(
                [begun], num_inference_steps, guidance_scale, identity_guidance, warp_strength, sampler, on_step=on_step
            )[0]
        finally:
            engine.components.steered.release()
        picture, flagged = self._checked(made.image)
        images: Any = [picture] if output_type == "pil" else np.asarray(picture, np.float32)[None] / 255
        return ImagePipelineOutput(images=images) if return_dict else (images, [flagged])

    def _engine(self) -> FaceX:
        if self.controller is None:
            raise InputError("this pipeline has no controller: call load_controller(FILE) first")
        device = self._execution_device
        if self.vae.dtype == torch.float16:
            self.vae.to(torch.float32)  # its decoder overflows in float16
        codec = KLCodec(self.vae).to(device)
        encoder = TransformersEncoder(self.text_encoder.to(device), self.tokenizer, attend_padding=True)
        size = int(self.unet.config.sample_size) * codec.factor
        schedule, length = dict(self.scheduler.config), encoder.limit or 77
        unet = self.unet.to(device)
        base = Base(unet, codec, encoder, schedule, size, length, False, Path(str(self.config["_name_or_path"])).name)
        network = self.controller.network.to(device)
        decomposer = load_decomposer(network.config, codec, **self._encoders, device=device)
        self._reader = self._reader or FaceReader.load()
        strength = Strength(**dict(self.controller.config.strength))
        parts = FaceXComponents(SteeredUNet(unet, network, base.name), network, base, decomposer, strength)
        engine: Any = FaceX(parts, base.name, f"on {device}", self._reader)
        return engine

    def _checked(self, picture: Image.Image) -> tuple[Image.Image, bool]:
        """The picture, black where the safety checker of the base, if the pipeline has one, objects to it."""
        if self.safety_checker is None or self.feature_extractor is None:
            return picture, False
        seen = self.feature_extractor(picture, return_tensors="pt").to(self._execution_device)
        pixels = np.asarray(picture, np.float32)[None] / 255
        checked, flags = self.safety_checker(images=pixels, clip_input=seen.pixel_values.to(self.text_encoder.dtype))
        return Image.fromarray((checked[0] * 255).round().astype(np.uint8)), bool(flags[0])

"""What `DiffusionPipeline.from_pretrained(folder, custom_pipeline=<this folder>)` loads."""

from limner.models.facex.pipeline import FaceXPipeline

__all__ = ["FaceXPipeline"]

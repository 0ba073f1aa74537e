"""What `DiffusionPipeline.from_pretrained(folder, custom_pipeline=<this folder>)` loads."""

from limner.models.mditface.pipeline import MDiTFacePipeline

__all__ = ["MDiTFacePipeline"]

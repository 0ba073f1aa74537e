"""Region maps by a parser that the painter was not trained with: an ONNX file of a BiSeNet or SegFormer.

The networks in circulation take (1, 3, 512, 512) with ImageNet's mean and deviation and give 19 logits a pixel:
face-parsing.PyTorch's BiSeNet in an order of its own, SegFormer (jonathandinu/face-parsing) in CelebAMask-HQ's, at a
quarter of the side.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.regions import ORDERS, Region, from_order

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
CELEBAMASK = "celebamask"


class ExternalParser:
    """A parser from an ONNX file. name: what results call it."""

    def __init__(self, file: str | os.PathLike[str], order: str) -> None:
        """order: of its labels, "celebamask" or a key of `regions.ORDERS`. Raises InputError for another network."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # pyright: ignore[reportAttributeAccessIssue]

        if order != CELEBAMASK and order not in ORDERS:
            raise InputError(f"--parser-order {order}: choose {CELEBAMASK} or {', '.join(ORDERS)}")
        if not Path(file).is_file():
            raise InputError(f"there is no file {file}: give the .onnx file of a face parser")
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
        except (faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph, faults.NotImplemented) as error:
            raise InputError(f"{file} is no ONNX network that can be run: {str(error).splitlines()[0]}") from error
        taken = self.session.get_inputs()[0]
        self.name, self.order, self.input = Path(file).stem, order, taken.name
        self.side = taken.shape[2] if isinstance(taken.shape[2], int) else 512
        given = self.session.get_outputs()[0].shape
        if len(taken.shape) != 4 or len(given) != 4 or given[1] != len(Region):
            raise InputError(f"{file} gives {given}: a face parser gives 19 logits a pixel")

    def parse(self, picture: np.ndarray) -> np.ndarray:
        """Region ids (H, W) uint8 of a picture (H, W, 3) uint8, in Limner's order."""
        height, width = picture.shape[:2]
        x = resize(picture, (self.side, self.side)).astype(np.float32) / 255
        x = ((x - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
        logits = np.asarray(self.session.run(None, {self.input: x})[0])[0]  # (19, h, w)
        planes = [
            np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)) for plane in logits
        ]
        ids = np.stack(planes).argmax(0).astype(np.uint8)
        return ids if self.order == CELEBAMASK else from_order(ids, self.order)


def mask_figures(counts: np.ndarray) -> dict[str, float]:
    """Mask accuracy (share of pixels) and mIoU (mean over regions that occur in the truth), from pooled pixel counts
    (19, 19): rows truth, columns prediction."""
    hits = np.diag(counts).astype(np.float64)
    truth, predicted = counts.sum(1), counts.sum(0)
    shares = hits / np.maximum(truth + predicted - hits, 1)
    return {"mask_accuracy": float(hits.sum() / counts.sum()), "mIoU": float(shares[truth > 0].mean())}

"""How old a face looks, and whether it presents as a woman's or a man's: two dlib networks by Cydral (CC0).

Both say what a face looks like to them; neither knows the person. B batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime

from limner.faces import geometry
from limner.faces.tflite import THREADS
from limner.threads import waits_asleep
from limner.weights.store import locate

CHANNEL_MEANS = np.array([122.782, 117.001, 104.298], np.float32)
FRAME = (0.177, 0.28, 0.653)  # left, top, side of dlib's crop with a fifth of padding, in shares of an aligned picture
AGES = np.array([0.25, *range(1, 81)], np.float32)  # years, one a class


@dataclass(frozen=True, kw_only=True)
class Demographics:
    """age: (B,) years; age_spread: (B,) years, one standard deviation; woman: (B,) probability in 0..1."""

    age: np.ndarray
    age_spread: np.ndarray
    woman: np.ndarray


class DemographicsNetwork:
    """Aligned faces to apparent age and gender presentation."""

    def __init__(self, age_file: str, gender_file: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        if waits_asleep():
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._age = onnxruntime.InferenceSession(age_file, options, providers=["CPUExecutionProvider"])
        self._gender = onnxruntime.InferenceSession(gender_file, options, providers=["CPUExecutionProvider"])

    @classmethod
    def load(cls, source: str = "age-gender") -> DemographicsNetwork:
        """Networks from the registry, or a folder with age.onnx and gender.onnx."""
        folder = locate(source)
        return cls(str(folder / "age.onnx"), str(folder / "gender.onnx"))

    def __call__(self, crops: np.ndarray) -> Demographics:
        """crops: aligned pictures (B, S, S, 3) uint8. The small gender network also looks at the mirrored picture."""
        ages = self._run(self._age, crops, 64)  # (B, 81)
        mean = ages @ AGES
        spread = np.sqrt(np.maximum((ages * (AGES - mean[:, None]) ** 2).sum(1), 0))
        woman = (self._run(self._gender, crops, 32)[:, 0] + self._run(self._gender, crops[:, :, ::-1], 32)[:, 0]) / 2
        return Demographics(age=mean, age_spread=spread, woman=woman)

    @staticmethod
    def _run(session: onnxruntime.InferenceSession, crops: np.ndarray, size: int) -> np.ndarray:
        left, top, side = (share * crops.shape[1] for share in FRAME)
        matrix = geometry.square_roi(np.array([left + side / 2, top + side / 2]), side, 0, size)
        chips = np.stack([geometry.warp(crop, matrix, size, border="edge") for crop in crops])
        values = (chips.astype(np.float32) - CHANNEL_MEANS) / 256
        (probabilities,) = session.run(None, {"images": np.ascontiguousarray(values.transpose(0, 3, 1, 2))})
        return np.asarray(probabilities)

"""Running a tflite file: arrays in, arrays out, one caller at a time."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from limner.threads import pool_size
from limner.weights.store import locate

THREADS = pool_size(2)
_CHATTER = b"Created TensorFlow Lite XNNPACK delegate"  # the runtime says so once a process, and cannot be told not to


class TfliteNetwork:
    """A network in a tflite file whose only input is one picture, (1, h, w, 3) float32.

    Calling it with (B, h, w, 3) returns its outputs, each (B, ...) float32, in the order of the file. Pictures go
    through one by one: batches were measured to bring nothing on two cores.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises ValueError when the file is no tflite network (from the runtime)."""
        with _without_chatter():
            self._interpreter = Interpreter(model_path=str(path), num_threads=THREADS)
            self._interpreter.allocate_tensors()
        self._lock = threading.Lock()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self.height, self.width = (int(n) for n in self._interpreter.get_input_details()[0]["shape"][1:3])

    @classmethod
    def load(cls, source: str, file: str) -> TfliteNetwork:
        """The network `file` of a registry entry or folder; `source` may also be the file itself."""
        path = locate(source)
        return cls(path if path.is_file() else path / file)

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        if pictures.ndim != 4 or pictures.shape[1:] != (self.height, self.width, 3) or not len(pictures):
            raise ValueError(f"expected (B, {self.height}, {self.width}, 3) with B > 0, got {pictures.shape}")
        results = []
        with self._lock:
            for picture in pictures.astype(np.float32, copy=False):
                self._interpreter.set_tensor(self._input, picture[None])
                self._interpreter.invoke()
                results.append([self._interpreter.get_tensor(index) for index in self._outputs])
        return [np.concatenate(outputs) for outputs in zip(*results)]


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back the file descriptor of stderr, then pass on every line but the runtime's greeting."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            rest = [line for line in sink if _CHATTER not in line]
            if rest:
                os.write(2, b"".join(rest))

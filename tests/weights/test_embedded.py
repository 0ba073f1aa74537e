"""The converted third-party networks load and still mean something."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from limner.weights.store import locate
from limner.weights.tensors import load_into, load_tensors


@pytest.fixture(scope="module")
def sentence_vector():
    """Function: sentence → (384,) unit vector, from the embedded MiniLM in transformers' own class."""
    folder = locate("minilm")
    _, config = load_tensors(folder / "model.safetensors")
    keys = {key: value for key, value in config.items() if key not in ("model_type", "source")}
    model = BertModel(BertConfig(**keys), add_pooling_layer=False).eval()
    load_into(model, folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()

    @torch.inference_mode()
    def encode(sentence: str) -> torch.Tensor:
        ids = torch.tensor([tokenizer.encode(sentence).ids])
        vector = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(dim=1)[0]
        return torch.nn.functional.normalize(vector, dim=0)

    return encode


@pytest.mark.parametrize(
    ("sentence", "near", "far"),
    [
        ("a smiling woman", "a woman who is laughing", "an angry man"),
        ("he has a thick beard", "a bearded man", "a woman with red lipstick"),
        ("grey hair", "hair that has gone white", "blue eyes"),
        ("a child of five", "a little kid", "an old man"),
        ("she wears glasses", "a person with spectacles", "she has long hair"),
    ],
)
def test_minilm_orders_by_meaning(sentence_vector, sentence: str, near: str, far: str) -> None:
    anchor = sentence_vector(sentence)
    assert anchor @ sentence_vector(near) > anchor @ sentence_vector(far) + 0.05


def test_efficientnet_is_whole() -> None:
    """As many convolution weights as the stages of its config make."""
    tensors, config = load_tensors(locate("efficientnet-lite0"))
    channels = config["stem"]
    expected = 3 * 9 * channels
    for repeats, kernel, _, expansion, width in config["stages"]:
        for _ in range(repeats):
            inner = channels * expansion
            expected += (channels * inner if expansion > 1 else 0) + kernel**2 * inner + inner * width
            channels = width
    expected += channels * config["head"]
    assert sum(tensor.numel() for tensor in tensors.values() if tensor.ndim == 4) == expected
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert all((tensor >= 0).all() for key, tensor in tensors.items() if key.endswith("running_var"))

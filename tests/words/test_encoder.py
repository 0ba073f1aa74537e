"""Text encoders: parity with transformers, padding and batching change nothing, the embedded weights mean something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig as TheirConfig,
)
from transformers import (
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from limner.errors import InputError
from limner.weights.tensors import save_tensors
from limner.words.bert import Bert, BertConfig
from limner.words.encoder import MiniLM
from limner.words.transformers_encoders import PairedEncoder, TransformersEncoder

WORDS = ["a", "woman", "man", "with", "and", "long", "short", "brown", "blond", "hair", "glasses", "smiling", "young"]
TEXTS = ["a woman", "a young man with short brown hair and glasses", "", "smiling"]
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}


def tiny_tokenizer(start: str, end: str, pad: str) -> Tokenizer:
    """Whole words; a text stands between `start` (may be empty) and `end`."""
    marks = dict.fromkeys([pad, start, end, "<unk>"] if start else [pad, end, "<unk>"])
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate([*marks, *WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    special = [(mark, tokenizer.token_to_id(mark)) for mark in (start, end) if mark]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{start} $A {end}".strip(), special_tokens=special
    )
    return tokenizer


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM.load()


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[BertModel, Path]:
    """A random BertModel of transformers, and the same weights in a folder of our format."""
    torch.manual_seed(0)
    theirs = BertModel(TheirConfig(**SIZES), add_pooling_layer=False).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tensors = {k: v for k, v in theirs.state_dict().items() if not k.endswith(("position_ids", "token_type_ids"))}
    save_tensors(tmp_path / "model.safetensors", tensors, SIZES)
    tiny_tokenizer("[CLS]", "[SEP]", "[PAD]").save(str(tmp_path / "tokenizer.json"))
    return theirs, tmp_path


def test_bert_is_transformers_bert(tiny: tuple[BertModel, Path]) -> None:
    theirs, folder = tiny
    ours = MiniLM.load(folder).model
    ids = torch.randint(0, 40, (3, 11))
    mask = torch.arange(11) < torch.tensor([[11], [7], [1]])
    expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert torch.allclose(ours(ids, mask)[mask], expected[mask], atol=1e-5)


def test_batch_and_length_change_nothing(tiny: tuple[BertModel, Path]) -> None:
    encoder = MiniLM.load(tiny[1])
    together = encoder.encode(TEXTS, 16)
    assert together.tokens.shape == (4, 16, 24) and together.mask.sum(1).tolist() == encoder.count(TEXTS) == [
        4,
        11,
        2,
        3,
    ]
    assert together.tokens[~together.mask].abs().max() == 0
    for k, text in enumerate(TEXTS):
        alone = encoder.encode([text], None)
        n = alone.tokens.shape[1]
        assert torch.allclose(alone.tokens[0], together.tokens[k, :n], atol=1e-6)
        assert torch.allclose(alone.pooled[0], together.pooled[k], atol=1e-6)
    assert torch.allclose(together.pooled.norm(dim=1), torch.ones(4))


def test_many_texts_keep_their_order(tiny: tuple[BertModel, Path]) -> None:
    encoder = MiniLM.load(tiny[1])
    texts = [" ".join(WORDS[k % 13] for k in range(i % 13)) for i in range(150)]
    together = encoder.encode(texts, 16)
    for k in (0, 12, 77, 149):
        assert torch.allclose(together.pooled[k], encoder.encode([texts[k]], 16).pooled[0], atol=1e-6)


def test_a_cut_text_keeps_its_end_mark(tiny: tuple[BertModel, Path]) -> None:
    encoder = MiniLM.load(tiny[1])
    cut = encoder.encode(["a young man with short brown hair"], 4)
    whole = encoder.encode(["a young"], 4)
    assert cut.mask.all() and torch.allclose(cut.tokens, whole.tokens, atol=1e-6)


def test_other_weights_and_lengths_are_refused(tiny: tuple[BertModel, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2\.\.20"):
        MiniLM.load(tiny[1]).encode(["a"], 21)
    tensors = Bert(BertConfig(**{**SIZES, "num_hidden_layers": 2})).state_dict()
    save_tensors(tmp_path / "model.safetensors", tensors, SIZES)
    with pytest.raises(InputError, match=r"encoder\.layer\.2"):
        MiniLM.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        MiniLM.load(tmp_path)


def test_embedded_weights_know_what_words_mean(minilm: MiniLM) -> None:
    texts = ["a woman with blond hair", "a blonde lady", "a bearded man", "a man with a full beard", "a red racing car"]
    pooled = minilm.encode(texts).pooled
    likeness = pooled @ pooled.T
    assert minilm.width == 384 and likeness[0, 1] > 0.7 > likeness[0, 3] and likeness[2, 3] > 0.8 > likeness[2, 4]


def test_bfloat16_is_near_float32(minilm: MiniLM) -> None:
    texts = ["a smiling woman with grey hair", "close-up of a bald man, glasses"]
    half = MiniLM.load(dtype=torch.bfloat16).encode(texts)
    full = minilm.encode(texts)
    assert half.tokens.dtype == torch.float32
    assert torch.cosine_similarity(half.pooled, full.pooled).min() > 0.998


def test_prompts_of_the_grammar_fit_the_encoder(minilm: MiniLM) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    import numpy as np
    from made_up import make_attributes

    from limner.words.captions import write_captions, write_prompts

    rng = np.random.default_rng(0)
    faces = [make_attributes(rng) for _ in range(12)]
    assert max(minilm.count([text for face in faces for text in write_prompts(face, rng)])) <= 32
    counts = minilm.count([text for face in faces for text in write_captions(face, rng)])
    assert min(counts) - 2 >= 40 and max(counts) - 2 <= 140


@pytest.fixture
def clip_and_t5(tmp_path: Path) -> tuple[CLIPTextModel, Path, T5EncoderModel, Path]:
    """Tiny random models saved in transformers' own format, tokenizers beside them."""
    torch.manual_seed(1)
    clip_words, t5_words = tiny_tokenizer("<s>", "</s>", "<pad>"), tiny_tokenizer("", "</s>", "<pad>")
    shared = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    end = clip_words.token_to_id("</s>")
    clip = CLIPTextModel(
        CLIPTextConfig(**{**SIZES, "eos_token_id": end, "bos_token_id": 1, "pad_token_id": 0, "projection_dim": 24})
    )
    t5 = T5EncoderModel(T5Config(vocab_size=40, d_model=24, d_kv=6, d_ff=48, num_layers=2, num_heads=4))
    for model, words, name in ((clip, clip_words, "clip"), (t5, t5_words, "t5")):
        model.eval().save_pretrained(tmp_path / name)
        PreTrainedTokenizerFast(tokenizer_object=words, **shared).save_pretrained(tmp_path / name)
    return clip, tmp_path / "clip", t5, tmp_path / "t5"


def test_clip_and_t5_give_what_transformers_gives(
    clip_and_t5: tuple[CLIPTextModel, Path, T5EncoderModel, Path],
) -> None:
    clip, clip_folder, t5, t5_folder = clip_and_t5
    for theirs, folder in ((clip, clip_folder), (t5, t5_folder)):
        ours = TransformersEncoder.load(folder)
        marks = ours.tokenizer(TEXTS, padding="max_length", max_length=14, return_tensors="pt")
        with torch.no_grad():
            expected = theirs(input_ids=marks["input_ids"], attention_mask=marks["attention_mask"])
        features = ours.encode(TEXTS, 14)
        assert ours.width == 24 and features.tokens.shape == (4, 14, 24)
        mask = features.mask
        assert torch.allclose(features.tokens[mask], expected.last_hidden_state[mask], atol=1e-6)
        if theirs is clip:
            assert torch.allclose(features.pooled, expected.pooler_output, atol=1e-6)
        alone = ours.encode([TEXTS[0]])
        assert torch.allclose(alone.pooled[0], features.pooled[0], atol=1e-5)


def test_loading_is_silent_and_leaves_the_bars_as_they_were(clip_and_t5, capfd: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    hub_hidden = are_progress_bars_disabled()
    capfd.readouterr()
    for shown in (False, True):
        logging.enable_progress_bar() if shown else logging.disable_progress_bar()
        for hidden in (not shown, True):
            if hidden:
                disable_progress_bars()
            TransformersEncoder.load(clip_and_t5[3])
            assert capfd.readouterr().err == ""
            assert logging.is_progress_bar_enabled() is shown and are_progress_bars_disabled() is hidden
    logging.enable_progress_bar()
    if hub_hidden:
        disable_progress_bars()


def test_a_pair_takes_tokens_from_one_and_pooled_from_the_other(
    clip_and_t5: tuple[CLIPTextModel, Path, T5EncoderModel, Path],
) -> None:
    clip, t5 = TransformersEncoder.load(clip_and_t5[1]), TransformersEncoder.load(clip_and_t5[3], attend_padding=True)
    features = PairedEncoder(t5, clip).encode(TEXTS, 14)
    assert features.mask.all()  # padding is attended to, as in FLUX.1
    assert torch.equal(features.pooled, clip.encode(TEXTS).pooled)
    blind = TransformersEncoder.load(clip_and_t5[3]).encode(TEXTS, 14)
    assert not torch.allclose(features.tokens[0, 0], blind.tokens[0, 0], atol=1e-4)


def test_folders_that_hold_no_text_encoder_are_refused(tmp_path: Path, clip_and_t5) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        TransformersEncoder.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match="gpt2"):
        TransformersEncoder.load(tmp_path)
    with pytest.raises(InputError, match="beyond the 20"):
        TransformersEncoder.load(clip_and_t5[1]).encode(TEXTS, 21)

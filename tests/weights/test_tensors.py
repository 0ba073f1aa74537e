"""Tensor files: what goes in comes out, and nothing else does."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from limner.errors import InputError
from limner.weights.quantised import dequantise, quantise
from limner.weights.tensors import load_into, load_sharded, load_tensors, read_config, read_tensors, save_tensors


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def test_round_trip_keeps_values_types_and_config(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4), "c": torch.randn(5, dtype=torch.float64).t()}
    config = {"width": 8, "names": ["x", "ü"], "nested": {"rate": 0.5}}
    save_tensors(tmp_path / "deep" / "w.safetensors", tensors, config)
    loaded, found = load_tensors(tmp_path / "deep" / "w.safetensors")
    assert found == config
    assert loaded.keys() == tensors.keys()
    for key in tensors:
        assert loaded[key].dtype == tensors[key].dtype
        assert torch.equal(loaded[key], tensors[key])


def test_transposed_and_shared_tensors_are_written(tmp_path: Path) -> None:
    base = torch.randn(3, 4)
    save_tensors(tmp_path / "w.safetensors", {"a": base, "b": base, "t": base.T}, {})
    loaded, _ = load_tensors(tmp_path / "w.safetensors")
    assert torch.equal(loaded["a"], base)
    assert torch.equal(loaded["b"], base)
    assert torch.equal(loaded["t"], base.T)


def test_dtype_casts_floats_only(tmp_path: Path) -> None:
    save_tensors(
        tmp_path / "w.safetensors", {"a": torch.ones(2), "n": torch.ones(2, dtype=torch.long)}, {}, torch.float16
    )
    loaded, _ = load_tensors(tmp_path / "w.safetensors")
    assert loaded["a"].dtype == torch.float16
    assert loaded["n"].dtype == torch.long


def test_cast_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'big' does not fit"):
        save_tensors(tmp_path / "w.safetensors", {"big": torch.tensor([1e6])}, {}, torch.float16)
    assert not list(tmp_path.iterdir())


def test_config_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_tensors(tmp_path / "w.safetensors", {}, {"x": math.nan})


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for order in ("zyxabc", "abcxyz") * 4:
        file = tmp_path / "w.safetensors"
        save_tensors(file, {key: torch.arange(6.0) for key in order}, {"b": 1, "a": 2})
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b[: len(b) // 2],
        lambda b: b[:5],
        lambda b: b"",
        lambda b: b + b"\0",
        lambda b: b"PK" * 99,
    ],
    ids=["one byte short", "half", "five bytes", "empty", "one byte long", "another format"],
)
def test_damaged_file_is_one_clear_line(tmp_path: Path, damage) -> None:
    file = tmp_path / "w.safetensors"
    save_tensors(file, {"a": torch.randn(30, 30)}, {"x": 1})
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="not a whole safetensors file") as caught:
        load_tensors(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_file_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "no.safetensors", tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            load_tensors(path)


def test_load_into_fills_parameters_and_buffers(tmp_path: Path) -> None:
    source = small_net()
    source(torch.randn(16, 4))  # moves the running statistics
    save_tensors(tmp_path / "w.safetensors", source.state_dict(), {"width": 8})
    target = small_net().requires_grad_(False)
    for parameter in target.parameters():
        parameter.zero_()
    assert load_into(target, tmp_path / "w.safetensors") == {"width": 8}
    x = torch.randn(5, 4)
    assert torch.equal(source.eval()(x), target.eval()(x))


def test_load_into_keeps_the_module_type_and_serves_meta_modules(tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.safetensors", small_net().state_dict(), {}, torch.float16)
    for device in ("cpu", "meta"):
        target = small_net().to(device)
        load_into(target, tmp_path / "w.safetensors")
        assert {p.dtype for p in target.parameters()} == {torch.float32}
        assert not any(p.is_meta for p in target.parameters())


def test_load_into_is_strict_and_names_the_tensor(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    state = small_net().state_dict()
    without = {key: value for key, value in state.items() if key != "2.bias"}
    cases = {
        "'2.bias' is missing": without,
        "'3.extra' is unexpected": {**state, "3.extra": torch.ones(1)},
        r"'0.weight' is \[8, 5\], the model needs \[8, 4\]": {**state, "0.weight": torch.ones(8, 5)},
    }
    for message, tensors in cases.items():
        save_tensors(file, tensors, {})
        with pytest.raises(InputError, match=message):
            load_into(small_net(), file)


@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), seed=st.integers(0, 99), size=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_quantised_rows_are_within_half_a_step(shape: list[int], seed: int, size: float) -> None:
    """Matrices, and kernels of convolutions in one and two dimensions."""
    kernel = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
    kernel[0] = 0
    small = quantise({"m": kernel}, smallest=1)
    assert small["m"].dtype == torch.int8
    assert small["m:scale"].shape == (shape[0],)
    back = dequantise(small)["m"]
    step = small["m:scale"].view(-1, *[1] * (len(shape) - 1))
    assert ((back - kernel).abs() <= step / 2 * 1.0001).all()
    assert torch.equal(back[0], torch.zeros(shape[1:]))
    assert small["m:scale"][0] == 1


def test_quantise_leaves_the_rest_alone_and_load_undoes_it(tmp_path: Path) -> None:
    tensors = {"m": torch.randn(64, 64), "bias": torch.randn(64), "ids": torch.arange(4096).reshape(64, 64)}
    small = quantise(tensors)
    assert torch.equal(small["bias"], tensors["bias"])
    assert torch.equal(small["ids"], tensors["ids"])
    save_tensors(tmp_path / "w.safetensors", small, {})
    loaded, _ = load_tensors(tmp_path / "w.safetensors")
    raw, _ = read_tensors(tmp_path / "w.safetensors")
    assert raw["m"].dtype == torch.int8
    assert loaded.keys() == tensors.keys()
    assert loaded["m"].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(loaded["m"], tensors["m"]).min() > 0.999


def test_scale_without_its_matrix_is_refused() -> None:
    for tensors in ({"m:scale": torch.ones(2)}, {"m": torch.ones(2, 2), "m:scale": torch.ones(2)}):
        with pytest.raises(ValueError, match="no 8-bit matrix"):
            dequantise(tensors)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"good": torch.ones(3), "bad": torch.tensor([1.0, value], dtype=dtype)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="tensor 'bad' contains NaN or infinity"):
        load_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("config", ["[" * 50_000, '{"a": ' + "9" * 5_000 + "}", "[1]"])
def test_a_hostile_config_is_one_clear_line(config: str, tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "x.safetensors", metadata={"config": config})
    with pytest.raises(InputError, match="a header whose config is not") as caught:
        read_config(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_an_index_names_files_beside_it_only(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    save_tensors(tmp_path / "secret.safetensors", {"a": torch.ones(3)}, {})
    index = tmp_path / "folder" / "model.safetensors.index.json"
    for hostile in ('{"weight_map": {"a": "../secret.safetensors"}}', '{"weight_map": 3}', "[" * 50_000, "[]"):
        index.write_text(hostile)
        with pytest.raises(InputError, match=r"model\.safetensors\.index\.json"):
            list(load_sharded(tmp_path / "folder", "model.safetensors"))

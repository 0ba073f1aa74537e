"""Damaged and planted weight files. Writes results/drill-weights.json.

    python drills/weights.py [--cases 500]

Half of the cases change the header of a safetensors file (hypothesis chooses how), half its body. A file must either be
refused with one line, the model left as it was to the last bit, or be read completely: every tensor, in the model's
shapes, exactly as the file has it. The same bytes in the place of shipped weights must be refused always, since their
sha256 is registered. Then a pickle that would write a file when it is opened is put wherever weights are read from.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import struct
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from limner.cli.app import main as limner
from limner.errors import InputError
from limner.evaluation.results import store_result
from limner.weights.registry import WeightFile, registry
from limner.weights.store import Installed, check, locate
from limner.weights.tensors import load_into, save_tensors

FLUX = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 16, "num_layers": 1, "num_single_layers": 1,
    "joint_attention_dim": 8, "pooled_projection_dim": 8, "axes_dims_rope": [4, 6, 6],
}  # fmt: skip
PHI = {
    "model_type": "phi", "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "intermediate_size": 8, "layer_norm_eps": 1e-5,
}  # fmt: skip


def small() -> nn.Module:
    """A network with matrices, vectors, a buffer of integers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))


def bits(model: nn.Module) -> bytes:
    """All of a model's state."""
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def change(data: bytes, header: bool) -> st.SearchStrategy[bytes]:
    """Ways to damage a file: bytes replaced, cut out, put in, the length field, whole JSON values."""
    length = struct.unpack("<Q", data[:8])[0]
    low, high = (0, 8 + length) if header else (8 + length, len(data))
    at = st.integers(low, high - 1)
    replaced = st.lists(st.tuples(at, st.integers(0, 255)), min_size=1, max_size=20).map(
        lambda edits: bytes(dict(edits).get(i, byte) for i, byte in enumerate(data))
    )
    cut = st.tuples(at, at).map(lambda ends: data[: min(ends)] + data[max(ends) :])
    put = st.tuples(at, st.binary(min_size=1, max_size=50)).map(lambda new: data[: new[0]] + new[1] + data[new[0] :])
    if not header:
        return st.one_of(replaced, cut, put)
    lengths = st.integers(0, 2**64 - 1).map(lambda size: struct.pack("<Q", size) + data[8:])
    table = json.loads(data[8 : 8 + length])
    names = sorted(name for name in table if name != "__metadata__")
    values = st.one_of(st.integers(-(2**40), 2**70), st.lists(st.integers(-5, 10**9), max_size=4), st.text(max_size=8),
                       st.none(), st.sampled_from(["F64", "F16", "I8", "BOOL"]))  # fmt: skip

    def edited(name: str, field: str, value: Any) -> bytes:
        other = json.loads(json.dumps(table))
        other[name][field] = value
        text = json.dumps(other).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    fields = st.builds(edited, st.sampled_from(names), st.sampled_from(["dtype", "shape", "data_offsets"]), values)
    return st.one_of(replaced, cut, put, lengths, fields, fields)


def fuzz(folder: Path, cases: int) -> dict[str, int]:
    """Damaged files through `load_into`, and in the place of registered ones."""
    good, bad = folder / "good.safetensors", folder / "bad.safetensors"
    save_tensors(good, small().state_dict(), {"width": 7})
    data, seen = good.read_bytes(), Counter[str]()
    entry_file = WeightFile(path="bad.safetensors", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    entry = replace(next(iter(registry().values())), name="drill", files=(entry_file,))

    def attempt(damaged: bytes) -> None:
        bad.write_bytes(damaged)
        torch.manual_seed(1)
        model = small()
        before = bits(model)
        try:
            load_into(model, bad)
        except InputError as error:
            assert "\n" not in str(error), error
            assert bits(model) == before, "a refused file changed the model"
            seen["refused"] += 1
        else:
            stored = load_file(bad)
            assert all(torch.equal(value, stored[name].to(value.dtype)) or bool(value.isnan().any())
                       for name, value in model.state_dict().items()), "read in part"  # fmt: skip
            seen["same as the good one" if damaged == data else "read completely"] += 1
        if damaged != data:
            with contextlib.suppress(InputError):
                check(Installed(entry, folder, entry.files, None), hashes=True)
                raise AssertionError("a damaged registered file passed")
            seen["registered, refused"] += 1

    for header in (True, False):
        run = given(change(data, header))(attempt)
        checks = list(HealthCheck.__members__.values())
        quiet = settings(max_examples=cases // 2, deadline=None, database=None, suppress_health_check=checks)
        seed(0)(quiet(run))()
    return dict(seen)


class Planted:
    """What an attacker pickles: opening it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.witness}",)


def plant(folder: Path) -> dict[str, str]:
    """A pickle wherever weights are read from; gives what each door said."""
    witness = folder / "witness"
    raw = pickle.dumps({"weight": Planted(witness)})
    archive, array = io.BytesIO(), io.BytesIO()
    torch.save({"weight": Planted(witness)}, archive)
    np.save(array, np.array([Planted(witness)], dtype=object), allow_pickle=True)
    said: dict[str, str] = {}

    def door(name: str, enter: Callable[[], Any]) -> None:
        try:
            enter()
        except InputError as error:
            said[name] = str(error).replace(str(folder), "…")
            assert "\n" not in said[name], said[name]
            # it must be the content that is refused, not something before it
            assert "safetensors" in said[name] or "array" in said[name].lower(), said[name]
        else:
            raise AssertionError(f"{name} took a pickle")
        assert not witness.exists(), f"{name} ran the planted command"

    def verb(*words: str) -> Callable[[], None]:
        def run() -> None:
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                status = limner(list(words))
            if status == 2 and errors.getvalue().count("error:") == 1 and "Traceback" not in errors.getvalue():
                raise InputError(errors.getvalue().strip().splitlines()[-1])

        return run

    from limner.codecs.continuous import KLCodec
    from limner.codecs.discrete import LFQCodec, LFQConfig
    from limner.data.prepared_set import PreparedSet as MaskSet
    from limner.data.synthetic import read_vectors
    from limner.models.mditface.flux import flux_config, from_flux
    from limner.models.mditface.lora_file import load_lora
    from limner.models.mditface.transformer import MDiT
    from limner.models.unif2ace.config import SHOWO
    from limner.models.unif2ace.phi import from_phi
    from limner.models.unif2ace.prepared import PreparedConversations as CodeSet
    from limner.models.unif2ace.showo import from_showo

    def tiny_flux() -> MDiT:
        return MDiT(flux_config(FLUX)).initialise(torch.Generator().manual_seed(0))

    for kind, content in (("pickle", raw), ("torch archive", archive.getvalue())):
        place = folder / kind.replace(" ", "-")
        place.mkdir()
        names = ("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin", "model.pt", "x.pkl")
        for name in names:
            (place / name).write_bytes(content)
        door(f"{kind}: load_into", lambda place=place: load_into(small(), place / "model.safetensors"))
        for name in names:
            door(f"{kind}: limner paint --engine {name}",
                 verb("paint", "a face", "--engine", str(place / name), "--out", str(folder / "out.png")))  # fmt: skip
        door(f"{kind}: mask corrections", lambda place=place: load_lora(tiny_flux(), place / "model.safetensors"))
        for name, load, config in (
            ("KL codec", KLCodec.load, json.loads((locate("kl-codec-nano") / "config.json").read_text())),
            ("LFQ codec", LFQCodec.load, {"lfq": LFQConfig().to_dict()}), ("FLUX", from_flux, FLUX),
            ("Phi", from_phi, PHI), ("Show-o", from_showo, {"vocab_size": SHOWO.vocabulary}),
        ):  # fmt: skip
            (place / "config.json").write_text(json.dumps(config))
            door(f"{kind}: {name}", lambda place=place, load=load: load(place))
        for name, opened in (("prepared codes", CodeSet), ("prepared latents", MaskSet)):
            (place / "prepared.json").write_text('{"format": 2, "shards": [1], "text_length": 1, "live": false}')
            (place / "index.safetensors").write_bytes(content)
            door(f"{kind}: {name}, index", lambda place=place, opened=opened: opened.open(place))
            save_tensors(place / "index.safetensors", {"validation": torch.zeros(1)}, {})
            (place / "shards").mkdir(exist_ok=True)
            (place / "shards" / "00000.safetensors").write_bytes(content)
            door(f"{kind}: {name}, shard", lambda place=place, opened=opened: opened.open(place))
    sets = folder / "set"
    sets.mkdir()
    np.savez(sets / "w.npz", ids=np.array([Planted(witness)], dtype=object), w=np.zeros((1, 512)))
    door("arrays: w vectors", lambda: read_vectors(sets))
    return said


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("results/drill-weights.json"))
    given_ = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        figures: dict[str, Any] = {"fuzzed": fuzz(folder, given_.cases)}
        figures["planted"] = plant(folder)
    store_result(given_.out, f"python drills/weights.py --cases {given_.cases}", figures, 0, {})
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""`limner doctor --real` on small folders in the published layouts, whole and damaged in the ways downloads are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from facex.tiny import write_stable_diffusion
from limner.cli.app import main
from limner.doctor.check import examine
from limner.doctor.parts import CHECKPOINTS, Part, show_o
from mditface.parts import write_flux

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """FLUX.1-schnell in bfloat16 shards and Stable Diffusion 1.5 in float32, tiny."""
    from diffusers import FluxTransformer2DModel

    flux = write_flux(tmp_path_factory.mktemp("flux"), guidance=False)
    place = flux / "transformer"
    model: Any = FluxTransformer2DModel.from_pretrained(place)
    (place / "diffusion_pytorch_model.safetensors").unlink()
    model.to(torch.bfloat16).save_pretrained(place, max_shard_size="40KB")
    assert len(list(place.glob("*.safetensors"))) > 3
    return {
        "flux-schnell": flux,
        "stable-diffusion-1.5": write_stable_diffusion(tmp_path_factory.mktemp("sd")),
    }


def report(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", "--real", "--any-size", "--json", "--device", "cpu", "--precision", "fp32", *words])
    return status, json.loads(capsys.readouterr().out)


def test_whole_checkpoints_pass_part_by_part(folders: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    given = [word for name, folder in folders.items() for word in ("--folder", f"{name}={folder}")]
    status, found = report(capsys, *given)
    findings = {(each["checkpoint"], each["part"]): each for each in found["findings"]}
    assert status == 0, [each["problem"] for each in found["findings"]]
    assert len(findings) == sum(len(CHECKPOINTS[name]) for name in folders)
    transformer = findings["flux-schnell", "transformer"]
    assert set(transformer["types"]) == {"BF16"} and len(transformer["files"]) > 3
    assert all(len(digest) == 16 for digest in transformer["files"].values())
    assert transformer["figures"]["velocity deviation"] > 0 and transformer["figures"]["mask changes it by"] > 0
    assert "round trip dB" in findings["stable-diffusion-1.5", "vae"]["figures"]
    assert found["environment"]["torch"] == torch.__version__


def shard(folder: Path, number: int = 1) -> Path:
    return sorted((folder / "transformer").glob("*.safetensors"))[number]


def lose_a_shard(folder: Path) -> None:
    shard(folder).unlink()


def cut_a_shard(folder: Path) -> None:
    whole = shard(folder).read_bytes()
    shard(folder).write_bytes(whole[:-20])


def store_as_integers(folder: Path) -> None:
    file = shard(folder)
    save_file({name: t.to(torch.float8_e4m3fn) for name, t in load_file(file).items()}, file)


def mix_up_the_index(folder: Path) -> None:
    index = next((folder / "transformer").glob("*.index.json"))
    listed = json.loads(index.read_text())
    names = list(listed["weight_map"])
    files = [listed["weight_map"][name] for name in names]
    listed["weight_map"] = dict(zip(names, files[1:] + files[:1]))
    index.write_text(json.dumps(listed))


def drop_a_tensor(folder: Path) -> None:
    file = shard(folder)
    tensors = load_file(file)
    gone = sorted(tensors)[0]
    tensors.pop(gone)
    save_file(tensors, file)
    index = next((folder / "transformer").glob("*.index.json"))
    listed = json.loads(index.read_text())
    listed["weight_map"].pop(gone)
    index.write_text(json.dumps(listed))


def describe_another(folder: Path) -> None:
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"num_single_layers": 2', '"num_single_layers": 1'))


def spoil_a_weight(folder: Path) -> None:
    file = shard(folder)
    save_file({name: torch.full_like(t, torch.nan) for name, t in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lose_a_shard, "is missing"),
        (cut_a_shard, "truncated"),
        (store_as_integers, "stored as F8_E4M3"),
        (mix_up_the_index, "which it does not"),
        (drop_a_tensor, "is missing from this FLUX transformer"),
        (describe_another, "unexpected"),
        (spoil_a_weight, "not finite"),
    ],
)
def test_damage_is_one_line(
    damage: Callable[[Path], None], says: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    place = tmp_path / "flux"
    shutil.copytree(folders["flux-schnell"], place)
    damage(place)
    part = CHECKPOINTS["flux-schnell"][0]
    found = examine("flux-schnell", part, place, CPU, torch.float32, hashes=False, any_size=True)
    assert found.problem is not None and says in found.problem and "\n" not in found.problem


def test_a_text_encoder_without_a_tensor_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    """transformers itself would only warn, and draw the missing weights."""
    place = tmp_path / "sd"
    shutil.copytree(folders["stable-diffusion-1.5"], place)
    file = place / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(name for name in sorted(tensors) if "q_proj" in name))
    save_file(tensors, file, metadata={"format": "pt"})
    part = CHECKPOINTS["stable-diffusion-1.5"][2]
    found = examine("stable-diffusion-1.5", part, place, CPU, torch.float32, hashes=False, any_size=True)
    assert found.problem is not None and "q_proj" in found.problem and "missing" in found.problem


def test_other_sizes_and_types_are_not_the_published_ones(folders: dict[str, Path]) -> None:
    part = CHECKPOINTS["flux-schnell"][0]
    found = examine("flux-schnell", part, folders["flux-schnell"], CPU, torch.float32, hashes=False)
    assert found.problem is not None and "11,891,178,560" in found.problem
    vae = CHECKPOINTS["flux-schnell"][1]
    found = examine("flux-schnell", vae, folders["flux-schnell"], CPU, torch.float32, hashes=False)
    assert found.problem == "vae: tensors are stored as F32; the published ones as BF16"


def test_show_o_magvit_and_clip(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    from unif2ace.parts import write_codec

    write_codec(tmp_path / "magvit")
    (part,) = CHECKPOINTS["magvit-v2"]
    found = examine("magvit-v2", part, tmp_path / "magvit", CPU, torch.float32)
    assert found.problem is None and found.figures["different codes"] > 1
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    text = {
        **sizes,
        "num_attention_heads": 2,
        "vocab_size": 12,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    vision = {**sizes, "num_attention_heads": 2, "image_size": 42, "patch_size": 14}
    config: Any = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    flux = write_flux(tmp_path / "flux")
    for file in (flux / "tokenizer").iterdir():
        shutil.copy(file, tmp_path / "clip")
    (part,) = CHECKPOINTS["clip-l"]
    found = examine("clip-l", part, tmp_path / "clip", CPU, torch.float32, any_size=True)
    assert found.problem is None and found.figures["vision features deviation"] > 0


def test_published_parameters_are_those_of_empty_networks() -> None:
    from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    base: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072}
    text: dict[str, Any] = {**base, "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
    vae: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
    }
    bare = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
    t5: dict[str, Any] = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24}
    whole: dict[str, Any] = {"text_config": text, "vision_config": {**vision, "patch_size": 14}, "projection_dim": 768}
    with torch.device("meta"):
        networks: dict[tuple[str, str], Any] = {
            ("flux-dev", "transformer"): FluxTransformer2DModel(guidance_embeds=True),
            ("flux-schnell", "transformer"): FluxTransformer2DModel(guidance_embeds=False),
            ("flux-schnell", "vae"): AutoencoderKL(**vae, **bare),
            ("flux-schnell", "text_encoder"): CLIPTextModel(CLIPTextConfig(**text)),
            ("flux-schnell", "text_encoder_2"): T5EncoderModel(
                T5Config(**t5, num_heads=64, feed_forward_proj="gated-gelu")
            ),
            ("stable-diffusion-1.5", "unet"): UNet2DConditionModel(cross_attention_dim=768, sample_size=64),
            ("stable-diffusion-1.5", "vae"): AutoencoderKL(**vae),
            ("clip-l", "."): CLIPModel(CLIPConfig(**whole)),
        }
    for (name, place), network in networks.items():
        part: Part = next(each for each in CHECKPOINTS[name] if each.name == place)
        assert part.parameters == sum(p.numel() for p in network.parameters()), (name, place)


def test_show_o_passes_forward(tmp_path: Path) -> None:
    from unif2ace.test_backbone import showo_file  # names as published
    from unif2ace.tiny import TINY

    config = TINY.dense()
    save_file({k: v.contiguous() for k, v in showo_file(config).items()}, tmp_path / "model.safetensors")
    values = {"vocab_size": config.vocabulary, "codebook_size": config.codebook}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert show_o(tmp_path, CPU, torch.float32, config)["vocabulary"] == config.vocabulary


def test_absent_ones_and_wrong_words_say_the_way_out(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("LIMNER_HOME", str(tmp_path))
    assert main(["doctor", "--real", "flux-schnell"]) == 1
    said = capsys.readouterr().out
    assert "limner models pull flux-schnell" in said and "To report" in said
    assert main(["doctor", "--real", "flux-pro"]) == 2
    assert main(["doctor", "--real", "--folder", "show-o"]) == 2
    assert main(["doctor", "show-o"]) == 2
    assert main(["doctor"]) == 0
    assert "whole" in capsys.readouterr().out

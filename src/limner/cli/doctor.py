"""`limner doctor`: is this installation whole, and, with `--real`, are the published checkpoints here what they should
be."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.doctor.check import Finding


def doctor(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]…", help="Checkpoints, as `limner models list` names them.", show_default=False),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Check published checkpoints: files, shapes, hashes, a forward pass each.")
    ] = False,
    folder: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FOLDER", help="Where a checkpoint lies, if not pulled by limner.")
    ] = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Pull what is not here from the hub: some 45 GB in all.")
    ] = False,
    hashes: Annotated[bool, typer.Option("--hashes/--no-hashes", help="Read every file for its sha256.")] = True,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept other sizes and number types than the published ones.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation; with --real, the published checkpoints on this machine.

    Prints what to report when something is wrong. Status 1 when something is.
    """
    about = environment()
    if not real:
        if names or folder or pull:
            raise InputError("NAME, --folder and --pull belong to --real: add it")
        return _installation(about, as_json)
    from limner.doctor.check import examine
    from limner.doctor.parts import CHECKPOINTS
    from limner.weights.device import choose

    places = _places(folder or [])
    chosen = names or sorted(places) or ["flux-schnell", "stable-diffusion-1.5", "show-o", "magvit-v2", "clip-l"]
    for name in [*chosen, *places]:
        if name not in CHECKPOINTS:
            raise InputError(f"'{name}' is not a checkpoint that can be checked: {', '.join(CHECKPOINTS)}")
    where, dtype, why = choose(device, precision)
    about["computed on"] = why
    findings: list[Finding] = []
    for name in chosen:
        place = places.get(name) or _installed(name, pull, as_json)
        findings += [_absent(name)] if place is None else [
            examine(name, part, place, where, dtype, hashes, any_size) for part in CHECKPOINTS[name]
        ]  # fmt: skip
        if not as_json:
            for found in [each for each in findings if each.checkpoint == name]:
                _show(found)
    if as_json:
        print(json.dumps({"environment": about, "findings": [each.to_dict() for each in findings]}, indent=2))
    else:
        print("\nTo report, copy everything above and this:")
        for key, value in about.items():
            print(f"  {key}: {value}")
    if any(each.problem for each in findings):
        raise typer.Exit(1)


def environment() -> dict[str, str]:
    """Versions and the machine, as a report needs them."""
    from importlib.metadata import version

    import torch

    found = {"limner": version("limner"), "python": platform.python_version(), "system": platform.platform()}
    found |= {name: version(name) for name in ("torch", "diffusers", "transformers", "safetensors")}
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return found | {"devices": ", ".join(gpus) or "no GPU"}


def _installation(about: dict[str, str], as_json: bool) -> None:
    from limner.weights.registry import registry
    from limner.weights.store import verify

    faults: dict[str, str] = {}
    embedded = [entry.name for entry in registry().values() if entry.embedded]
    for name in embedded:
        try:
            verify(name)
        except InputError as error:
            faults[name] = str(error)
    if as_json:
        print(json.dumps({"environment": about, "weights": len(embedded), "faults": faults}, indent=2))
    else:
        for key, value in about.items():
            print(f"{key}: {value}")
        print(f"weights in the package: {len(embedded) - len(faults)} of {len(embedded)} whole")
        for fault in faults.values():
            print(f"BAD  {fault}")
    if faults:
        raise typer.Exit(1)


def _places(pairs: list[str]) -> dict[str, Path]:
    places = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals or not Path(folder).expanduser().is_dir():
            raise InputError(f"--folder {pair}: write it as NAME=FOLDER, with a folder that exists")
        places[name] = Path(folder).expanduser()
    return places


def _installed(name: str, pull: bool, quiet: bool) -> Path | None:
    from limner.weights.registry import find_entry
    from limner.weights.store import installed

    entry = find_entry(name)
    if pull:
        from limner.weights.hub import pull as pull_weights

        return pull_weights(entry, report=(lambda line: None) if quiet else print).folder
    found = installed(entry)
    return None if found is None else found.folder


def _absent(name: str) -> Finding:
    from limner.doctor.check import Finding

    return Finding(
        checkpoint=name, part="", problem=f"not on this machine: limner models pull {name}, or --folder {name}=FOLDER"
    )


def _show(found: Any) -> None:
    name = f"{found.checkpoint}/{found.part}".removesuffix("/.").removesuffix("/")
    if found.problem is not None:
        print(f"BAD  {name}: {found.problem}")
    else:
        types = ", ".join(f"{count} {kind}" for kind, count in sorted(found.types.items()))
        figures = ", ".join(f"{key} {value:.4g}" for key, value in found.figures.items())
        size = f"{found.parameters:,} parameters ({types}), {found.gigabytes} GB, {found.seconds} s"
        print(f"ok   {name}: {size}; {figures}")
    for file, digest in found.files.items():
        print(f"     {file}  {digest}")

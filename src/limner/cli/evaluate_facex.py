"""`limner evaluate facex…`: editing tasks on held-out people; ablations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.ablation import run_cells
from limner.cli.progress_bar import bar
from limner.cli.result_file import picture, store
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.evaluation.ablation_runner import Report, Variant
    from limner.evaluation.edit_benchmark import Case

SUITES = (
    "swap", "swap-head", "reenact", "same", "reconstruct", "itself", "sliders", "regions", "erase", "inpaint", "mixed",
)  # fmt: skip


def facex(
    people: Annotated[Path, typer.Argument(metavar="PEOPLE", help="Pair set, folder of people, or folder of photos.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = "swap",
    count: Annotated[int, typer.Option(min=0, help="Number of people; 0 uses all.")] = 100,
    frames: Annotated[
        int, typer.Option(min=2, help="Frames per person. Above 2: spread over a clip, every frame is edited.")
    ] = 2,
    weights: Annotated[str, typer.Option(help="Weights: a registry name or a path.")] = "facex-nano",
    base: Annotated[str | None, typer.Option(help="Base model. Default: from the weights.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale. Default: from the weights.")] = None,
    identity_guidance: Annotated[
        float | None, typer.Option(help="Identity guidance. Default: from the weights.")
    ] = None,
    warp_strength: Annotated[
        float | None, typer.Option(help="Warp strength, 0 to 1. Default: from the weights.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of noise, slider values and holes.")] = 0,
    judge: Annotated[
        Path | None,
        typer.Option(help="ArcFace network (.onnx, or .safetensors of an IResNet) as an independent identity metric."),
    ] = None,
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    log: Annotated[Path | None, typer.Option(help="Also write the measurements of every edit to this file.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a sheet of the first edits; check the licence of the pictures.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the JSON result.")] = Path("results"),
) -> None:
    """Evaluate FaceX on held-out people.

    swap, swap-head: identity of the source and motion of the target. reenact: the driver's motion on another person.
    same: reenactment of the same person, compared with the second picture. reconstruct: regeneration of the person
    from their own factors, from pure noise. itself: a face swapped onto its own photo. sliders: requested against
    measured motion. regions: similarity of a transferred region to the donor. erase: are glasses and beards gone?
    inpaint: compared with biharmonic inpainting. mixed: three edits in one pass, compared with three passes.

    PEOPLE: a set of `limner data pairs` (its test split), a folder with one sub-folder of videos, frames or photos per
    person (VoxCeleb, VFHQ, CelebV), FaceForensics++, or a folder with one photo per person.
    """
    if suite not in SUITES:
        raise InputError(f"--suite {suite}: choose {', '.join(SUITES)}")
    from limner.codecs.perceptual import LPIPS
    from limner.evaluation.edit_benchmark import EditBenchmark
    from limner.evaluation.edit_measurement import EditSampling
    from limner.evaluation.edit_suites import sheet as draw
    from limner.evaluation.galleries import read_gallery
    from limner.evaluation.identity_judge import IdentityJudge
    from limner.evaluation.identity_metrics import gallery_of
    from limner.evaluation.published import edits_table, published_edits
    from limner.evaluation.suites import SUITES as MEASURES
    from limner.faces.data_folders import data_root
    from limner.files import write_json_atomic
    from limner.models.facex.engine import FaceX, check_settings
    from limner.models.facex.loading import Strength
    from limner.weights.registry import hash_file

    sampling = EditSampling(steps, guidance, identity_guidance, warp_strength, seed)
    check_settings(seed, steps, Strength().replaced(guidance, identity_guidance, warp_strength), "euler")
    second = None if judge is None else IdentityJudge.load(judge)
    gallery = read_gallery(data_root() / people, count, frames)
    for line in gallery.skipped:
        typer.echo(f"skipped: {line}", err=True)
    editor = FaceX.load(weights, base)
    with bar(suite) as progress:
        bench = EditBenchmark(editor, gallery, sampling, lambda: LPIPS.load(data_root() / lpips), progress, second)
        figures, cases = MEASURES[suite](bench)
    if log is not None:
        write_json_atomic(log, [case.record for case in cases])
    if sheet is not None:
        picture(sheet, draw(cases))
    settings: dict[str, Any] = {"people": str(people), "weights": weights, "base": base, "steps": steps}
    settings["frames"] = frames
    settings |= {
        **asdict(editor.components.strength.replaced(guidance, identity_guidance, warp_strength)),
        "hashes": editor.weights(),
    }
    if "gallery" in figures:
        settings["gallery"] = gallery_of(bench)
    if judge is not None:
        settings["judge"] = {"file": judge.name, "sha256": hash_file(judge)}
    if gallery.skipped:
        settings["skipped"] = len(gallery.skipped)
    reference = published_edits(suite)
    remarks = []
    if reference:
        settings["published"] = reference
        remarks = [edits_table(figures, reference), reference["note"]]
    store(out / f"facex-{suite}.{people.name}.json", figures, seed, settings, remarks)


def facex_ablation(
    config: Annotated[Path, typer.Argument(help="Training config of one cell.")] = Path("configs/facex-ablation.toml"),
    variants: Annotated[
        list[str] | None, typer.Option("--variant", help="Variant to run. Repeatable. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per variant.")] = 2,
    people: Annotated[Path, typer.Option(help="People to edit, as in `limner evaluate facex`.")] = Path("pairs"),
    count: Annotated[int, typer.Option(min=0, help="Number of people; 0 reports only losses.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    runs: Annotated[Path, typer.Option(help="Folder of the runs; finished runs are reused.")] = Path(
        "runs/facex-ablation"
    ),
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as in `limner train`.")
    ] = None,
    plot: Annotated[Path, typer.Option(help="File of the plot.")] = Path("docs/images/facex-ablation.png"),
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a sheet of the first swaps; check the licence of the pictures.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the JSON result.")] = Path("results"),
) -> None:
    """Ablation of FaceX at a small budget: without the region assembler, without the representation assembler, and with
    a frozen UNet.

    Interrupted runs continue from their checkpoints. The sheet has one row per person: source, target, and the swap
    of each variant's first seed.
    """
    if sheet is not None and not count:
        raise InputError("--sheet needs edited people: give --count above 0")
    from limner.codecs.perceptual import LPIPS
    from limner.evaluation.ablation_runner import choose, draw, markdown, summarise
    from limner.evaluation.edit_measurement import EditSampling
    from limner.evaluation.facex_ablation import FIGURES, VARIANTS, run_variant
    from limner.evaluation.facex_ablation import sheet as draw_sheet
    from limner.evaluation.galleries import read_gallery
    from limner.faces.data_folders import data_root
    from limner.training.config import read_training_config

    parsed, chosen = read_training_config(config, set_), choose(VARIANTS, variants or [])
    gallery = read_gallery(data_root() / people, count) if count else None
    judge = LPIPS.load(data_root() / lpips) if count else None
    swaps: dict[str, Sequence[Case]] = {}

    def run(variant: Variant, seed: int, report: Report) -> dict[str, float]:
        number = parsed.train.seed + seed
        found, cases = run_variant(variant, parsed, number, runs, report, gallery, EditSampling(steps), judge)
        swaps.setdefault(variant.name, cases)
        return found

    summary = summarise(run_cells(chosen, seeds, runs, run), FIGURES)
    draw(summary, VARIANTS, FIGURES, plot)
    if sheet is not None:
        picture(sheet, draw_sheet(swaps))
    settings = {"config": parsed.model_dump(), "seeds": seeds, "people": str(people), "count": count, "steps": steps}
    store(out / "facex-ablation.json", summary, parsed.train.seed, settings)
    print(markdown(summary, VARIANTS, FIGURES))
    print(f"drawn in {plot}")

"""`limner evaluate facex…`: every editing task on people the editor never saw; ablations."""

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
    people: Annotated[Path, typer.Argument(metavar="PEOPLE", help="Set of pairs, folder of people, or of photos.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = "swap",
    count: Annotated[int, typer.Option(min=0, help="How many people; 0: all of them.")] = 100,
    weights: Annotated[str, typer.Option(help="Weights: a registry name or a path.")] = "facex-nano",
    base: Annotated[str | None, typer.Option(help="Base model to steer, if not the weights' own.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[float | None, typer.Option(help="Guidance; default: the weights' own.")] = None,
    identity_guidance: Annotated[float | None, typer.Option(help="Likeness; default: the weights' own.")] = None,
    warp_strength: Annotated[float | None, typer.Option(help="Draft; default: the weights' own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise, of slider values and of holes.")] = 0,
    judge: Annotated[
        Path | None,
        typer.Option(
            help="ArcFace-style network (.onnx, or .safetensors of an iresnet) as a second judge of identity."
        ),
    ] = None,
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    log: Annotated[Path | None, typer.Option(help="Also write what was measured on every edit to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the first edits: mind the pictures' licence.")] = None,
    out: Annotated[Path, typer.Option(help="Folder the result (JSON) is written to.")] = Path("results"),
) -> None:
    """Measure FaceX on people it never saw, task by task.

    swap, swap-head: whose face it is, and whether it moves as the target did. reenact: the driver's motion on another
    person; same: on the same person, against the second picture. reconstruct: the person painted anew as they are,
    without a draft. itself: a face swapped onto its own photo. sliders: asked against measured. regions: nearer to the
    donor than to what was there? erase: are glasses and beards gone? inpaint: beside biharmonic filling. mixed: three
    edits in one pass, beside one after another.

    PEOPLE may be a set of `limner data pairs` (its test split), a folder with a sub-folder of videos, frames or photos
    for each person (VoxCeleb, VFHQ, CelebV), FaceForensics++, or a folder of photos of people who are each there once.
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
    gallery = read_gallery(data_root() / people, count)
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
    config: Annotated[Path, typer.Argument(help="Budget of one cell.")] = Path("configs/facex-ablation.toml"),
    variants: Annotated[
        list[str] | None, typer.Option("--variant", help="A variant; may be given several times. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each.")] = 2,
    people: Annotated[Path, typer.Option(help="People to edit, as of `limner evaluate facex`.")] = Path("pairs"),
    count: Annotated[int, typer.Option(min=0, help="How many of them; 0: report losses alone.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    lpips: Annotated[str, typer.Option(help="LPIPS weights.")] = "lpips/alex.safetensors",
    runs: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not trained again.")] = Path(
        "runs/facex-ablation"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As of `limner train`.")] = None,
    plot: Annotated[Path, typer.Option(help="Where to draw it.")] = Path("docs/images/facex-ablation.png"),
    sheet: Annotated[Path | None, typer.Option(help="Also draw the first swaps: mind the pictures' licence.")] = None,
    out: Annotated[Path, typer.Option(help="Folder the result (JSON) is written to.")] = Path("results"),
) -> None:
    """Train and compare FaceX without its region assembler, without its representation assembler, and with the UNet
    kept as it is, at a small budget, and draw them.

    Stop with Ctrl-C and start again at will: runs go on after their checkpoints. The sheet has a row for each person:
    source, target, then the swap of each variant's first seed.
    """
    if sheet is not None and not count:
        raise InputError("--sheet shows people who are edited: give a --count above 0")
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

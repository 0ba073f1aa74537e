"""`limner evaluate paper …`: the evaluation protocol of a paper, beside its published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli.progress_bar import bar
from limner.cli.result_file import keep
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.evaluation.paper_protocol import Judges

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Evaluation protocols of the papers: published test splits and metrics. You supply the metric networks.",
)
Set = Annotated[Path, typer.Argument(metavar="SET", help="Built set with the published splits of its data set.")]
Split = Annotated[str, typer.Option(help="Split to evaluate on.")]
Texts = Annotated[str, typer.Option(help="Texts: of the data set (carried), of the grammar, or both.")]
Limit = Annotated[int | None, typer.Option(min=2, help="Use only the first N faces.")]
Paintings = Annotated[Path, typer.Option(help="Folder for the samples; an interrupted run is continued.")]
InceptionFile = Annotated[
    Path | None, typer.Option("--inception", help="FID, KID: InceptionV3 as safetensors (tools/convert/inception.py).")
]
ClipFolder = Annotated[Path | None, typer.Option("--clip", help="CLIP score: folder of a CLIP model.")]
CmmdFolder = Annotated[Path | None, typer.Option("--cmmd", help="CMMD: folder of CLIP ViT-L/14-336.")]
ParserFile = Annotated[Path | None, typer.Option("--parser", help="Masks: ONNX file of a BiSeNet or SegFormer.")]
ParserOrder = Annotated[str, typer.Option(help="Order of the parser's labels: celebamask or bisenet.")]
VqaFolder = Annotated[Path | None, typer.Option("--vqa", help="VQAscore: folder of CLIP-FlanT5.")]
Weights = Annotated[str, typer.Option(help="Weights: a registry name or a path.")]
Seed = Annotated[int, typer.Option(help="Random seed of the samples and of the KID subsets.")]
Out = Annotated[Path, typer.Option(help="Folder for the JSON result.")]
MODES = ("words", "mask", "both")


@app.command()
def mditface(
    faces: Set,
    mode: Annotated[list[str] | None, typer.Option(help="Conditioning: words, mask or both. Repeatable.")] = None,
    split: Split = "test",
    texts: Texts = "carried",
    limit: Limit = None,
    paintings: Paintings = Path("paintings/mditface"),
    inception: InceptionFile = None,
    clip: ClipFolder = None,
    cmmd: CmmdFolder = None,
    parser: ParserFile = None,
    parser_order: ParserOrder = "celebamask",
    vqa: VqaFolder = None,
    weights: Weights = "mditface-nano",
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 28,
    size: Annotated[int | None, typer.Option(help="Picture side in pixels, for FLUX.1.")] = None,
    seed: Seed = 0,
    out: Out = Path("results"),
) -> None:
    """Protocol of MDiTFace: FID, KID, CMMD, CLIP score, mask accuracy and mIoU."""
    import numpy as np

    from limner.evaluation.paper_protocol import Judges, measure, real_pictures
    from limner.faces.data_folders import data_root
    from limner.models.mditface.engine import MDiTFace

    chosen = tuple(mode or ("both",))
    if unknown := [name for name in chosen if name not in MODES]:
        raise InputError(f"--mode {unknown[0]}: choose {', '.join(MODES)}")
    judges = _given(Judges(inception, clip, cmmd, parser, parser_order, vqa))
    folder, engine = data_root() / faces, MDiTFace.load(weights)
    measured: dict[str, dict[str, float]] = {}
    used: dict[str, Any] = {}
    for name in chosen:

        def paint(words: str, regions: np.ndarray, number: int, name: str = name) -> np.ndarray:
            given = {"text": words if name != "mask" else None, "mask": regions if name != "words" else None}
            return np.asarray(engine.paint(**given, steps=steps, seed=seed + number, size=size)[0].image)

        settings = {"weights": weights, "mode": name, "steps": steps, "size": size, "seed": seed}
        painted = _paint(folder, split, texts, limit, paint, paintings / name, settings)
        with bar("judging") as progress:
            measured[f"ours, {name}"], used[name] = measure(
                painted, lambda: real_pictures(folder, split, limit), judges, name != "words", seed, progress
            )
    file = Path(__file__).parents[1] / "evaluation" / "published_mditface.json"
    published = json.loads(file.read_text("utf-8"))
    settings = {"weights": weights, "set": str(faces), "split": split, "texts": texts, "steps": steps, "used": used}
    columns = published["models"] | published["other_protocol"]
    _show("mditface", out, measured, columns, published, settings, seed)


@app.command()
def unif2ace(
    faces: Set,
    split: Split = "test",
    texts: Texts = "carried",
    limit: Limit = None,
    paintings: Paintings = Path("paintings/unif2ace"),
    inception: InceptionFile = None,
    clip: ClipFolder = None,
    cmmd: CmmdFolder = None,
    vqa: VqaFolder = None,
    judge: Annotated[
        str | None, typer.Option(help="Desc, Conv, VLM-score: the model at LIMNER_JUDGE_URL, beside these judges.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation before the first request to the judge.")
    ] = False,
    weights: Weights = "unif2ace-nano",
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 50,
    seed: Seed = 0,
    out: Out = Path("results"),
) -> None:
    """Protocol of UniF²ace: VQAscore, FID, CMMD and VLM-score of samples; Desc and Conv of captions and answers."""
    import numpy as np

    from limner.evaluation.paper_protocol import Judges, measure, real_pictures
    from limner.evaluation.published import published as stored
    from limner.faces.data_folders import data_root
    from limner.models.unif2ace.engine import UniF2ace

    judges = _given(Judges(inception, clip, cmmd, None, "celebamask", vqa), judge)
    folder, engine = data_root() / faces, UniF2ace.load(weights)

    def paint(words: str, regions: np.ndarray, number: int) -> np.ndarray:
        return np.asarray(engine.paint(words, steps=steps, seed=seed + number)[0].image)

    settings = {"weights": weights, "steps": steps, "seed": seed}
    painted = _paint(folder, split, texts, limit, paint, paintings, settings)
    with bar("judging") as progress:
        figures, used = measure(painted, lambda: real_pictures(folder, split, limit), judges, False, seed, progress)
    if judge is not None:
        figures |= _by_language_models(engine, folder, painted, limit, texts, judge, out, yes)
    found = stored()
    settings = {**settings, "set": str(faces), "split": split, "texts": texts, "used": used, "judge": judge}
    columns = {
        name: {metric: value for metric, value in row.items() if metric != "parameters"}
        for name, row in found["models"].items()
    }
    _show("unif2ace", out, {"ours": figures}, columns, found, settings, seed)


def _given(judges: Judges, judge: str | None = None) -> Judges:
    """The judges, if there is any."""
    if judge is None and not any((judges.inception, judges.clip, judges.cmmd, judges.parser, judges.vqa)):
        raise InputError(
            "no metric network given: pass at least one of --inception, --clip, --cmmd, --parser, --vqa or --judge"
        )
    return judges


def _paint(
    folder: Path, split: str, texts: str, limit: int | None, paint: Any, out: Path, settings: dict[str, Any]
) -> Path:
    from limner.data.shards import count_rows
    from limner.data.texts import check_choice
    from limner.evaluation.paper_protocol import paint_split, subjects

    faces = subjects(folder, split, check_choice(texts), limit)
    total = min(count_rows(folder, split), limit or 1 << 60)
    settings = {**settings, "set": folder.name, "split": split, "texts": texts, "limit": limit}
    with bar("painting") as progress:
        return paint_split(faces, total, paint, out, settings, progress)


def _by_language_models(
    engine: Any, folder: Path, painted: Path, limit: int | None, texts: str, judge: str, out: Path, yes: bool
) -> dict[str, float]:
    """Desc, Conv and VLM-score by one judge, under the names of the paper's columns."""
    from limner.cli import judge as room
    from limner.evaluation.answer_accuracy import measure_answers, measure_captions
    from limner.evaluation.llm_judge_files import write_texts
    from limner.evaluation.paper_protocol import PAIRS

    files: dict[str, Path] = {}
    for suite, take in (("captions", measure_captions), ("answers", measure_answers)):
        with bar(suite) as progress:
            files[suite] = write_texts(painted, suite, take(engine, folder, limit or 0, progress, texts)[1])
    kind = "DS" if "deepseek" in judge.lower() else "GPT"
    rubrics = (
        ("desc", files["captions"], f"Desc-{kind}"),
        ("conv", files["answers"], f"Conv-{kind}"),
        ("vlm", painted / PAIRS, "VLM-score"),
    )
    figures: dict[str, float] = {}
    for rubric, source, name in rubrics:
        summary = getattr(room, rubric)(source, model=judge, out=out, yes=yes)
        if summary is not None and "mean" in summary:
            figures[name] = summary["mean"]
    return figures


def _show(
    paper: str,
    out: Path,
    measured: dict[str, dict[str, float]],
    published: dict[str, dict[str, float]],
    stored: dict[str, Any],
    settings: dict[str, Any],
    seed: int,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from limner.evaluation.paper_protocol import table

    path = out / f"paper-{paper}.json"
    result = keep(path, measured, seed, {**settings, "published": published})
    header, *rows = table(result["figures"], published)
    drawn = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*row)
    Console(width=max(120, 30 + 14 * len(header))).print(drawn)
    print(f"published: {stored['source']}; {stored['note']}")
    print(f"stored in {path}")

"""The one training loop. It knows tasks, not models."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.errors import InputError
from limner.files import make_folder, write_bytes_atomic, write_json_atomic
from limner.training.average import Average
from limner.training.checkpoint import clear_unfinished, find_checkpoints, load_checkpoint, save_checkpoint
from limner.training.journal import Journal
from limner.training.optimizer import Optimizers, make_optimizers
from limner.training.recipe import Recipe, TrainSettings, check_same_run
from limner.training.schedule import learning_rate
from limner.training.summary import write_summary
from limner.training.task import Task
from limner.training.throughput import FlopMeter, matmul_peak

Report = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


def train(
    task: Task,
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = False,
    report: Report = lambda line: None,
    stop_after: int | None = None,
) -> Path:
    """Train `task` as `recipe.train` says; everything it writes lies below `run`.

    Writes `log.jsonl`, TensorBoard events, `samples/`, `checkpoints/` and, at the end, `weights.safetensors` (or
    whatever `task.export` makes of that path) and `summary.json`. `report` is called with every log line. `stop_after`
    ends the run early after that many steps, with a checkpoint, as a signal would.

    `resume` goes on after the newest checkpoint; where there is none it starts at step 0 and reports a line of kind
    "note" that says so. One process at a time trains in a folder.

    Returns the path of the exported weights. Raises InputError when `run` holds checkpoints and `resume` is off, or
    those of another task, seed or batch; and when the loss is not finite. Interrupted after SIGINT or SIGTERM.
    """
    settings = recipe.train
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = _device(settings)
    checkpoints = run / "checkpoints"
    found = find_checkpoints(checkpoints)
    if found and not resume:
        raise InputError(f"{run} holds a run at step {found[-1].step}; add --resume to go on, or choose another --run")
    if found:
        check_same_run(run, recipe)
    elif resume:
        report({"step": 0, "kind": "note", "text": f"{run} holds no checkpoint to go on from: starting at step 0"})
    clear_unfinished(checkpoints)
    torch.manual_seed(settings.seed)
    model = task.build().to(device).train()
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizers = make_optimizers(model, settings)
    average = Average(model, settings.ema)
    step = 0
    if found:
        average.tensors, state = load_checkpoint(found[-1], model, optimizers)
        step = state["step"]
    make_folder(run)
    write_json_atomic(run / "recipe.json", recipe.model_dump())
    last = min(settings.steps, stop_after or settings.steps)
    with Journal(run, step, report) as journal, _signals() as stop, _batches(task, settings, step, last) as batches:
        progress = _Progress(settings, device, step)
        saved = time.monotonic()
        while step < last and not stop:
            parts = _step(task, model, optimizers, batches, settings, device, step, progress)
            step += 1
            average.update(model, step)
            if step % settings.log_every == 0 or step == settings.steps:
                journal.write(step, "train", progress.line(step, parts))
            if step % settings.validate_every == 0 or step == settings.steps:
                with average.applied(model) as averaged, torch.no_grad():
                    journal.write(step, "validate", task.validate(averaged))
                progress.pause()
            if step % settings.sample_every == 0 or step == settings.steps:
                _write_samples(task, model, average, run / "samples" / f"step-{step:08d}.png")
                progress.pause()
            if time.monotonic() - saved > settings.checkpoint_minutes * 60:
                save_checkpoint(checkpoints, step, model, average.tensors, optimizers, {})
                saved = time.monotonic()
                progress.pause()
        save_checkpoint(checkpoints, step, model, average.tensors, optimizers, {})
        if stop:
            raise Interrupted(f"stopped at step {step}; go on with --resume")
    path = run / "weights.safetensors"
    with average.applied(model) as averaged:
        task.export(averaged, path, {"recipe": recipe.model_dump_json(), "step": str(step)})
    write_summary(run)
    return path


def _step(
    task: Task,
    model: nn.Module,
    optimizers: Optimizers,
    batches: Iterator[dict[str, Tensor]],
    settings: TrainSettings,
    device: torch.device,
    step: int,
    progress: _Progress,
) -> dict[str, Tensor]:
    peak, final = settings.learning_rate, settings.final_learning_rate
    rate = learning_rate(step, peak, final, settings.warmup, settings.steps)
    optimizers.set_rate(rate / peak)
    totals: dict[str, Tensor] = {}
    for micro in range(settings.accumulate):
        batch = {key: value.to(device, non_blocking=True) for key, value in next(batches).items()}
        index = step * settings.accumulate + micro
        generator = torch.Generator().manual_seed(_noise_seed(settings.seed, index))

        def forward_backward(batch=batch, generator=generator) -> tuple[Tensor, dict[str, Tensor]]:
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss, parts = task.loss(model, batch, generator, step)
            (loss / settings.accumulate).backward()
            return loss.detach(), parts

        loss, parts = progress.measured(forward_backward)
        for key, value in {"loss": loss, **parts}.items():
            totals[key] = totals.get(key, 0.0) + torch.as_tensor(value).detach().float() / settings.accumulate
    norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    if not torch.isfinite(norm):
        raise InputError(
            f"the gradient is not finite at step {step}; resume from the last checkpoint with a lower learning rate "
            "(--set train.learning_rate=…) or train.precision=fp32"
        )
    optimizers.step()
    return {**totals, "gradient_norm": norm.detach(), "learning_rate": torch.tensor(rate)}


class _Progress:
    """Turns steps into samples a second, utilisation and time left."""

    def __init__(self, settings: TrainSettings, device: torch.device, step: int) -> None:
        self.settings = settings
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.peak = matmul_peak(device, dtype)
        self.meter = FlopMeter()
        self.seen: int | None = step
        self.since = time.monotonic()

    def measured(self, forward_backward: Callable[[], tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict]:
        """The first step of a process is counted in FLOPs; later ones just run."""
        return forward_backward() if self.meter.flops else self.meter.measure(forward_backward)

    def pause(self) -> None:
        """Leave validation, sampling and saving out of the throughput."""
        self.since, self.seen = time.monotonic(), None

    def line(self, step: int, parts: dict[str, Tensor]) -> dict[str, float]:
        """The figures of one log line."""
        figures = {key: float(value) for key, value in parts.items()}
        now = time.monotonic()
        if self.seen is not None and step > self.seen:
            per_step = (now - self.since) / (step - self.seen)
            samples = self.settings.batch_size * self.settings.accumulate
            figures["samples_per_second"] = samples / per_step
            figures["utilisation"] = self.meter.flops * self.settings.accumulate / per_step / self.peak
            figures["seconds_left"] = per_step * (self.settings.steps - step)
        self.since, self.seen = now, step
        return figures


@contextlib.contextmanager
def _batches(task: Task, settings: TrainSettings, step: int, last: int):
    """Batches in order, prepared ahead by `loaders` threads."""
    ahead = settings.loaders + 1
    pool = ThreadPoolExecutor(settings.loaders, thread_name_prefix="loader")

    def produce() -> Iterator[dict[str, Tensor]]:
        pending: list[Future[dict[str, Tensor]]] = []
        end = last * settings.accumulate
        upcoming = step * settings.accumulate
        while upcoming < end or pending:
            while upcoming < end and len(pending) < ahead:
                pending.append(pool.submit(task.batch, upcoming))
                upcoming += 1
            yield pending.pop(0).result()

    try:
        yield produce()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that is filled when SIGINT or SIGTERM arrives, so that the running step can finish."""
    received: list[int] = []
    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # only the main thread may install handlers; elsewhere the owner of the process decides
        with contextlib.suppress(ValueError):
            kept[number] = signal.signal(number, lambda signum, frame: received.append(signum))
    try:
        yield received
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _device(settings: TrainSettings) -> torch.device:
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device is cuda, but PyTorch sees no GPU; use --set train.device=cpu")
    return torch.device(settings.device)


def _noise_seed(seed: int, index: int) -> int:
    return (seed << 40) + index


def _write_samples(task: Task, model: nn.Module, average: Average, path: Path) -> None:
    from limner.faces.picture import encode_png

    with average.applied(model) as averaged, torch.no_grad():
        sheet = task.samples(averaged)
    if sheet is not None:
        write_bytes_atomic(path, encode_png(sheet))

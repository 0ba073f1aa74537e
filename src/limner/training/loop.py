"""The one training loop. It knows tasks, not models."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from limner.errors import InputError
from limner.files import make_folder, write_bytes_atomic, write_json_atomic
from limner.training.checkpoint import (
    clear_unfinished,
    find_checkpoints,
    load_checkpoint,
    load_ema,
    save_checkpoint,
)
from limner.training.config import TrainingConfig, TrainSettings, check_same_run
from limner.training.ema import EMA
from limner.training.optimizer import Optimizers, make_optimizers
from limner.training.parallel import Replica
from limner.training.ranks import Ranks, join
from limner.training.run_log import NullLog, RunLog
from limner.training.schedule import learning_rate
from limner.training.summary import write_summary
from limner.training.task import Task
from limner.training.throughput import FlopMeter, matmul_peak

Report = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is written."""


def train(
    task: Task,
    config: TrainingConfig,
    run: Path,
    *,
    resume: bool = False,
    report: Report = lambda line: None,
    stop_after: int | None = None,
) -> Path:
    """Train `task` as `config.train` says; everything it writes lies below `run`.

    Writes `log.jsonl`, TensorBoard events, `samples/`, `checkpoints/` and, at the end, `weights.safetensors` (or
    whatever `task.export` makes of that path) and `summary.json`. `report` is called with every log line. `stop_after`
    ends the run early after that many steps, with a checkpoint, as a signal would.

    `resume` goes on after the newest checkpoint; where there is none it starts at step 0 and reports a line of kind
    "note" that says so. One run at a time trains in a folder; its processes (see `ranks.py`) share that folder, in
    which only the first of them writes, but for the pieces of a sharded checkpoint.

    Returns the path of the exported weights. Raises InputError when `run` holds checkpoints and `resume` is off, or
    those of another task, seed or batch; and when the loss is not finite. RankLost when another process of the run
    died. Interrupted after SIGINT or SIGTERM to any of them.
    """
    settings = config.train
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with join(settings) as ranks:
        return _train(task, config, run, ranks, resume, report, stop_after)


def _train(
    task: Task, config: TrainingConfig, run: Path, ranks: Ranks, resume: bool, report: Report, stop_after: int | None
) -> Path:
    settings, checkpoints = config.train, run / "checkpoints"
    found = find_checkpoints(checkpoints)
    if found and not resume:
        raise InputError(f"{run} holds a run at step {found[-1].step}; add --resume to go on, or choose another --run")
    if found:
        check_same_run(run, config)
    elif resume and ranks.first:
        report({"step": 0, "kind": "note", "text": f"{run} holds no checkpoint to go on from: starting at step 0"})
    ranks.wait()  # all have looked before anyone writes
    torch.manual_seed(settings.seed)
    replica = Replica(task.build().train(), settings, ranks, getattr(task, "fill", None))
    model = replica.model
    known = _refilled(task, model)
    optimizers = make_optimizers(model, settings)
    average = EMA(model, settings.ema)
    step = 0
    if found:
        averages, state = load_checkpoint(found[-1], model, optimizers, known)
        average.load(averages)
        step = state["step"]
    if ranks.first:
        clear_unfinished(checkpoints)
        make_folder(run)
        write_json_atomic(run / "config.json", config.model_dump())
    last = min(settings.steps, stop_after or settings.steps)
    with (
        RunLog(run, step, report) if ranks.first else NullLog() as run_log,
        _signals() as received,
        _batches(task, settings, ranks, step, last) as batches,
    ):
        progress = _Progress(settings, ranks, step)
        saved = time.monotonic()
        stop = False
        while step < last and not stop:
            parts = _step(task, replica, optimizers, batches, settings, step, progress)
            step += 1
            average.update(model, step)
            if step % settings.log_every == 0 or step == settings.steps:
                run_log.write(step, "train", progress.line(step, parts, ranks))
            if step % settings.validate_every == 0 or step == settings.steps:
                with average.applied(model), torch.no_grad():
                    run_log.write(step, "validate", replica.look(task.validate))
                progress.pause()
            if step % settings.sample_every == 0 or step == settings.steps:
                with average.applied(model), torch.no_grad():
                    sheet = replica.look(task.samples)
                if ranks.first and sheet is not None:
                    _write_sheet(sheet, run / "samples" / f"step-{step:08d}.png")
                progress.pause()
            due = ranks.first and time.monotonic() - saved > settings.checkpoint_minutes * 60
            stop, due = ranks.any(bool(received), due)
            if due:
                save_checkpoint(checkpoints, step, model, average.tensors, optimizers, {}, ranks, known)
                saved = time.monotonic()
                progress.pause()
        save_checkpoint(checkpoints, step, model, average.tensors, optimizers, {}, ranks, known)
        if stop:
            raise Interrupted(f"stopped at step {step}; go on with --resume")
    path = run / "weights.safetensors"
    if ranks.first and replica.sharded:
        export(task, config, run)
    elif ranks.first:
        with average.applied(model) as averaged:
            task.export(averaged, path, {"training_config": config.model_dump_json(), "step": str(step)})
    if ranks.first:
        write_summary(run)
    return path


def export(task: Task, config: TrainingConfig, run: Path) -> Path:
    """Write the averaged weights of the newest checkpoint of `run` as training would at its end; returns their path.

    In this process alone, whatever number of processes made the checkpoint. Raises InputError where there is none.
    """
    found = find_checkpoints(run / "checkpoints")
    if not found:
        raise InputError(f"{run} holds no checkpoint to export")
    check_same_run(run, config)
    model = task.build().eval()
    load_ema(found[-1], model, _refilled(task, model))
    path = run / "weights.safetensors"
    with torch.no_grad():
        task.export(model, path, {"training_config": config.model_dump_json(), "step": str(found[-1].step)})
    return path


def _refilled(task: Task, model: nn.Module) -> frozenset[str]:
    """Names of the parameters that the task fills itself and never changes, which checkpoints need not hold."""
    if not hasattr(task, "fill"):
        return frozenset()
    return frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)


def _step(
    task: Task,
    replica: Replica,
    optimizers: Optimizers,
    batches: Iterator[dict[str, Tensor]],
    settings: TrainSettings,
    step: int,
    progress: _Progress,
) -> dict[str, Tensor]:
    peak, final = settings.learning_rate, settings.final_learning_rate
    rate = learning_rate(step, peak, final, settings.warmup, settings.steps)
    optimizers.set_rate(rate / peak)
    totals: dict[str, Tensor] = {}
    ranks, device = replica.ranks, replica.ranks.device
    mine = ranks.micro_batches(settings.accumulate)
    for micro in mine:
        batch = {key: value.to(device, non_blocking=True) for key, value in next(batches).items()}
        index = step * settings.accumulate + micro
        generator = torch.Generator().manual_seed(_noise_seed(settings.seed, index))
        if ranks.several:
            # dropout's draws follow the micro-batch too, so that they are the same for any number of processes
            torch.manual_seed(_noise_seed(settings.seed, index))

        def forward_backward(
            batch=batch, generator=generator, last=micro == mine[-1]
        ) -> tuple[Tensor, dict[str, Tensor]]:
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss, parts = replica.learn(lambda model: task.loss(model, batch, generator, step), last)
            # DDP and FSDP take the mean over ranks of what each sums up here
            (loss / len(mine)).backward()
            return loss.detach(), parts

        loss, parts = progress.measured(forward_backward)
        for key, value in {"loss": loss, **parts}.items():
            totals[key] = totals.get(key, 0.0) + torch.as_tensor(value).detach().float() / settings.accumulate
    replica.finish_step()
    norm = nn.utils.clip_grad_norm_(replica.model.parameters(), settings.clip)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if not torch.isfinite(norm):
        raise InputError(
            f"the gradient is not finite at step {step}; resume from the last checkpoint with a lower learning rate "
            "(--set train.learning_rate=…) or train.precision=fp32"
        )
    optimizers.step()
    return {**totals, "gradient_norm": norm.detach() / ranks.world, "learning_rate": torch.tensor(rate / ranks.world)}


class _Progress:
    """Turns steps into samples a second, utilisation and time left."""

    def __init__(self, settings: TrainSettings, ranks: Ranks, step: int) -> None:
        self.settings = settings
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        # only the first process writes a log
        self.peak = matmul_peak(ranks.device, dtype) * ranks.world if ranks.first else float("inf")
        self.meter = FlopMeter()
        self.seen: int | None = step
        self.since = time.monotonic()

    def measured(self, forward_backward: Callable[[], tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict]:
        """The first step of a process is counted in FLOPs; later ones just run."""
        return forward_backward() if self.meter.flops else self.meter.measure(forward_backward)

    def pause(self) -> None:
        """Leave validation, sampling and saving out of the throughput."""
        self.since, self.seen = time.monotonic(), None

    def line(self, step: int, parts: dict[str, Tensor], ranks: Ranks) -> dict[str, float]:
        """The figures of one log line; `parts` are this rank's share of sums over all ranks."""
        figures = {key: float(value) for key, value in ranks.sum(parts).items()}
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
def _batches(task: Task, settings: TrainSettings, ranks: Ranks, step: int, last: int):
    """This process's batches in order, prepared ahead by `loaders` threads."""
    ahead = settings.loader_threads + 1
    pool = ThreadPoolExecutor(settings.loader_threads, thread_name_prefix="loader")
    mine = ranks.micro_batches(settings.accumulate)

    def produce() -> Iterator[dict[str, Tensor]]:
        pending: list[Future[dict[str, Tensor]]] = []
        upcoming = (at * settings.accumulate + micro for at in range(step, last) for micro in mine)
        while True:
            for index in itertools.islice(upcoming, ahead - len(pending)):
                pending.append(pool.submit(task.batch, index))
            if not pending:
                return
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


def _noise_seed(seed: int, index: int) -> int:
    return (seed << 40) + index


def _write_sheet(sheet: np.ndarray, path: Path) -> None:
    from limner.faces.picture import encode_png

    write_bytes_atomic(path, encode_png(sheet))

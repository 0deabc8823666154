"""The training loop: one process, one device; resumable to the bit; every task's own score on the way.

Writes into the run's folder: ``run.json`` (the resolved run), ``log.jsonl`` (losses per task),
``scores.jsonl`` (PSNR per task on held-out pictures), ``checkpoint.safetensors``, and ``weights.safetensors``
(the running average, as the zoo loads it).
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from tqdm import tqdm

from anyrestore.data.synthetic import TASKS, Batch, CompositeSource, draw_tasks
from anyrestore.errors import DataError
from anyrestore.inference.memory import keep_freed_memory
from anyrestore.storage import store_bytes
from anyrestore.training.checkpoint import State, load_checkpoint, save_checkpoint
from anyrestore.training.objective import balance, reconstruction
from anyrestore.training.run import Run
from anyrestore.training.schedule import cosine
from anyrestore.types import Image
from anyrestore.zoo import create_model, load_model, save_weights

_BAD_STEPS = 5  # so many non-finite steps in a row end a run


class Trainer:
    """A run in progress.

    Args:
        run: what to train.
        data: folder with everything ``run.layout`` names.
        out: the run's folder; if it holds a checkpoint of the same run, training goes on from there.
        device: "cpu" or "cuda".
        save_every: seconds between checkpoints.
        score_every: seconds between scores.
        limit: read at most so many pictures of a folder (to try things out).
        bf16: compute in bfloat16 where that is safe (autocast).
        workers: compute a batch in so many parts side by side, each in a thread of its own. On a CPU two
        parts
            on one core each are faster than one part on two cores, whose threads wait for each other in
            every operation.
        progress: show a progress bar.

    Raises:
        DataError: the data is not there, or ``out`` holds a different run.
    """

    def __init__(
        self,
        run: Run,
        data: Path,
        out: Path,
        *,
        device: str = "cpu",
        save_every: float = 120.0,
        score_every: float = 300.0,
        limit: int | None = None,
        bf16: bool = False,
        workers: int = 1,
        progress: bool = True,
    ) -> None:
        self.run, self.out, self.device, self.bf16, self.progress = (
            run,
            out,
            torch.device(device),
            bf16,
            progress,
        )
        self.save_every, self.score_every = save_every, score_every
        if self.device.type == "cpu":
            keep_freed_memory()
        self.workers, cores = workers, max(1, torch.get_num_threads() // workers)
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores,))
        if workers > 1:
            # This thread too: on a busy machine a barrier of threads was seen to cost 9/10 of the speed.
            torch.set_num_threads(cores)
        out.mkdir(parents=True, exist_ok=True)
        self._claim()
        model = create_model(run.model)
        _initialise(model, torch.Generator().manual_seed(run.seed))
        if run.start is not None:
            model.load_state_dict(load_model(run.start).state_dict())
        self.model = model.to(self.device).train()
        self.average: State = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=run.learning_rate, betas=run.betas, fused=True
        )
        self.step = 0
        if self.checkpoint.exists():
            self.step = load_checkpoint(self.checkpoint, self.model, self.average, self.optimizer)
        self.source = CompositeSource(data, run.layout, device=self.device, limit=limit, progress=progress)
        held_out = CompositeSource(data, run.layout, part="validation", limit=limit, progress=progress)
        self.validation = _validation(held_out, run.seed)
        self._stop: int | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the state is stored."""
        return self.out / "checkpoint.safetensors"

    def _claim(self) -> None:
        """Write ``run.json``, or see that the folder belongs to the same run."""
        path, wanted = self.out / "run.json", json.dumps(self.run.to_json(), indent=1, sort_keys=True)
        if path.exists() and path.read_text() != wanted:
            old, new = json.loads(path.read_text()), json.loads(wanted)
            odd = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
            raise DataError(
                f"expected {self.out} to hold this run, but its {', '.join(odd)} differ; "
                "choose another output folder"
            )
        store_bytes(wanted.encode(), path, overwrite=True)

    def train(self, seconds: float = math.inf) -> int | None:
        """Train until the run's end, for at most ``seconds``, or until a signal asks to stop.

        Returns:
            The number of the signal that ended it, or None.
        """
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        start = saved = scored = logged = time.monotonic()
        losses: defaultdict[str, list[float]] = defaultdict(list)
        crops = bad = 0
        bar = tqdm(
            total=self.run.steps, initial=self.step, desc=self.run.name, delay=1, disable=not self.progress
        )
        try:
            while self.step < self.run.steps and self._stop is None and time.monotonic() - start < seconds:
                batch = self._batch(self.step)
                per_image = self._update(batch)
                bad = 0 if per_image is not None else bad + 1
                if bad == _BAD_STEPS:
                    raise DataError(
                        f"{bad} steps in a row gave no finite loss at step {self.step}; "
                        f"the last good state is in {self.checkpoint}: lower the learning rate"
                    )
                for task, loss in zip(batch.tasks, per_image if per_image is not None else (), strict=False):
                    losses[task].append(loss)
                crops += len(batch.tasks)
                self.step += 1
                bar.update()
                now = time.monotonic()
                if now - logged > 20:
                    means = {task: sum(v) / len(v) for task, v in sorted(losses.items())}
                    self._append(
                        "log.jsonl", {"step": self.step, "crops_per_second": crops / (now - logged), **means}
                    )
                    losses.clear()
                    crops, logged = 0, now
                if now - saved > self.save_every:
                    self.save()
                    saved = time.monotonic()
                if now - scored > self.score_every:
                    self._append("scores.jsonl", {"step": self.step, **self.score()})
                    scored = logged = time.monotonic()
                    crops = 0
        finally:
            bar.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.save()
        if self.step >= self.run.steps:
            self._append("scores.jsonl", {"step": self.step, **self.score()})
        return self._stop

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stop is not None:  # asked twice: at once
            raise KeyboardInterrupt
        self._stop = number

    def _batch(self, step: int) -> Batch:
        phase = self.run.phase(step)
        generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + step)
        return self.source.batch(phase.crop, draw_tasks(phase.shares, phase.batch, generator), generator)

    def _update(self, batch: Batch) -> list[float] | None:
        """One step; the loss of every image, or None where a loss or gradient was not finite."""
        run = self.run
        for group in self.optimizer.param_groups:
            group["lr"] = run.learning_rate * cosine(
                self.step, steps=run.steps, warmup=run.warmup, floor=run.final_rate
            )
        weights = torch.tensor([run.weights.get(task, 1.0) for task in batch.tasks], device=self.device)
        parts = (tensor.chunk(self.workers) for tensor in (batch.degraded, batch.clean, weights))
        found = list(self.pool.map(partial(self._gradients, of=len(batch.tasks)), *parts))
        for parameter, *gradients in zip(self.model.parameters(), *(g for g, _ in found), strict=True):
            parameter.grad = sum(gradients[1:], gradients[0])
        per_image = torch.cat([losses for _, losses in found])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), run.clip)
        if not bool(torch.isfinite(per_image).all()) or not bool(torch.isfinite(norm)):
            return None
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        # Early on the average must not remember the random start.
        decay = min(run.average_decay, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)
        return [float(loss) for loss in per_image]

    def _gradients(
        self, degraded: Image, clean: Image, weights: Tensor, *, of: int
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The gradient of a part of a batch of ``of`` images, and that part's losses per image."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            restored = self.model(degraded)
        per_image = reconstruction(restored.float(), clean, self.run.fourier_weight)
        loss = balance(per_image, self.run.balance, weights=weights, floor=self.run.floor) * (
            len(degraded) / of
        )
        return torch.autograd.grad(loss, list(self.model.parameters())), per_image.detach()

    def save(self) -> None:
        """Write the checkpoint and the averaged weights."""
        save_checkpoint(self.checkpoint, self.model, self.average, self.optimizer, self.step)
        with _weights(self.model, self.average):
            save_weights(self.model, self.out / "weights.safetensors")

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """PSNR in dB of the averaged weights on held-out pictures, per task (mean over images)."""
        scores = dict[str, float]()
        with _weights(self.model, self.average):
            self.model.eval()
            for task, batch in self.validation.items():
                values = [
                    _psnr(self.model(x[None].to(self.device)).cpu().clamp(0, 1), y[None])
                    for x, y in zip(batch.degraded, batch.clean, strict=True)
                ]
                scores[task] = sum(values) / len(values)
            self.model.train()
        return scores

    def _append(self, name: str, record: Mapping[str, float]) -> None:
        rounded = {k: round(v, 4) for k, v in record.items()}
        with (self.out / name).open("a") as file:
            file.write(json.dumps(rounded) + "\n")
        if self.progress:
            tqdm.write(
                f"{name.removesuffix('.jsonl')}: " + "  ".join(f"{k} {v:g}" for k, v in rounded.items())
            )


class _weights:  # noqa: N801 - used as a function
    """Other weights in a model for the length of a ``with``."""

    def __init__(self, model: nn.Module, state: State) -> None:
        self.model, self.state = model, state

    def __enter__(self) -> None:
        self.own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.state)

    def __exit__(self, *_: object) -> None:
        self.model.load_state_dict(self.own)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation from a generator of our own: a run's start is its seed's."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.endswith("queries"):
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5, generator=generator)


def _validation(source: CompositeSource, seed: int, size: int = 128, count: int = 8) -> dict[str, Batch]:
    """The same held-out crops for every score: ``count`` of every task."""
    tasks = [task for task in TASKS if task != "pair" or source.pairs]
    return {
        task: source.batch(size, [task] * count, torch.Generator().manual_seed(seed + 7 * i))
        for i, task in enumerate(tasks)
    }


def _psnr(restored: Tensor, clean: Tensor) -> float:
    error = (restored - clean).square().mean().item()
    return min(60.0, -10 * math.log10(error)) if error > 0 else 60.0

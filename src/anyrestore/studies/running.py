"""Trains and scores the variants of a study: two processes of one thread each, or one after another.

A variant is an ordinary run in a folder of its own, OUT/STUDY/VARIANT/seedS, with its ``results.json``
beside: where that is there and belongs to the same run on the same data, the variant is finished. A study
that was killed goes on from the runs' checkpoints when the same command is given again.

Unusual: on a CPU every variant computes with one thread, however many run side by side. The sums of
another number of threads differ in their last bits, and a study shall give the same table on every machine
of a kind. Two processes with one thread each are also faster than one with two.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from anyrestore.errors import AnyRestoreError, DataError
from anyrestore.evaluation.results import RESULTS, Results, read_results
from anyrestore.studies import toys
from anyrestore.studies.budgets import group_of
from anyrestore.studies.catalog import Study, Variant
from anyrestore.studies.scoring import held_out, held_out_data, measure, store_results
from anyrestore.training.monitor import LOG
from anyrestore.training.run import Run
from anyrestore.zoo import load_model

__all__ = ["Job", "Measured", "pending", "read_measured", "run_jobs"]

_CACHE = 2 << 30  # bytes of decoded pictures, at most, in each process


@dataclass(frozen=True, kw_only=True)
class Job:
    """One variant to be trained with one seed.

    Attributes:
        study: It belongs to.
        variant: To be trained.
        seed: Of weights and samples.
        run: What to train; None for a toy.
        steps: Of a toy.
        data: The folder of the data sets; None for a toy.
        out: OUT/STUDY.
        device: "auto", "cpu" or "cuda".
        forced: Variants that use this one's weights.
        command: By which it can be done again; stored with the results.
    """

    study: Study
    variant: Variant
    seed: int
    run: Run | None
    out: Path
    steps: int = 0
    data: Path | None = None
    device: str = "auto"
    forced: tuple[Variant, ...] = ()
    command: str = ""

    @property
    def folder(self) -> Path:
        """The run's."""
        return folder_of(self.out, self.variant, self.seed)

    @property
    def title(self) -> str:
        """For a person."""
        return f"{self.variant.name}, seed {self.seed}"

    def notes(self, variant: Variant, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What ``results.json`` says of where it is from."""
        run = {"steps": self.steps} if self.run is None else json.loads(json.dumps(self.run.to_json()))
        return {"study": self.study.name, "variant": variant.name, "seed": self.seed, "run": run, **facts}

    @property
    def length(self) -> int:
        """Steps, as far as they are known before the data is read."""
        return self.steps if self.run is None else self.run.steps or 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A variant's results with one seed."""

    variant: Variant
    seed: int
    parameters: int
    results: Results


@dataclass
class _Child:
    process: Any
    answer: Connection
    job: Job


def folder_of(out: Path, variant: Variant, seed: int) -> Path:
    """Where a variant's run and results are."""
    return out / variant.name / f"seed{seed}"


def pending(jobs: Sequence[Job]) -> list[Job]:
    """Those that are not finished.

    Raises:
        DataError: A data set is missing.
    """
    facts: dict[str, Any] | None = None
    left = list[Job]()
    for job in jobs:
        if facts is None:  # the mixture, and so what is held out of it, is the same for all variants
            facts = {} if job.run is None else {"data": dict(_held_out_of(job).fingerprint)}
        if not all(_is_finished(job, variant, facts) for variant in (job.variant, *job.forced)):
            left.append(job)
    return left


def read_measured(job: Job) -> list[Measured]:
    """The results of a finished job.

    Raises:
        DataError: They are not there, or damaged.
    """
    found = list[Measured]()
    for variant in (job.variant, *job.forced):
        folder = folder_of(job.out, variant, job.seed)
        results = read_results(folder)
        notes = json.loads((folder / RESULTS).read_text(encoding="utf-8")).get("study", {})
        found.append(
            Measured(
                variant=variant, seed=job.seed, parameters=int(notes.get("parameters", 0)), results=results
            )
        )
    return found


def run_jobs(jobs: Sequence[Job], *, at_once: int, progress: bool) -> int | None:
    """Train and score.

    Args:
        jobs: In the order in which they begin.
        at_once: Processes side by side; 1: in this one, one after another.
        progress: Whether to show a bar on standard error.

    Returns:
        The number of the signal that ended it, or None.

    Raises:
        AnyRestoreError: A variant could not be trained; the others stopped with a checkpoint.
    """
    if at_once > 1 and len(jobs) > 1:
        _run_in_children(jobs, at_once=at_once, progress=progress)
        return None
    threads = torch.get_num_threads()
    try:
        for i, job in enumerate(jobs):
            if progress:
                tqdm.write(f"anyrestore: {job.title} ({i + 1} of {len(jobs)})", file=sys.stderr)
            ended_by = _work(job, progress=progress)
            if ended_by is not None:
                return ended_by
    finally:
        torch.set_num_threads(threads)
    return None


# ------------------------------------------------------------------------------------------ one variant


def _work(job: Job, *, progress: bool = False) -> int | None:
    """Train, or go on, and score; the number of the signal that ended it, or None."""
    if not (job.device == "cuda" or (job.device == "auto" and torch.cuda.is_available())):
        torch.set_num_threads(1)
    if job.run is None:
        networks, parameters = toys.train(job.variant.options, steps=job.steps, seed=job.seed)
        store_results(
            measure(networks.__getitem__, toys.held_out(), str),
            job.folder,
            model=f"{job.study.name}/{job.variant.name}",
            weights=None,
            command=job.command,
            device="cpu",
            notes=job.notes(job.variant, {"parameters": parameters}),
        )
        return None
    assert job.data is not None
    # Accelerate is part of an extra, and the command says so where it is missing.
    from anyrestore.training.loop import Options, Trainer  # noqa: PLC0415

    options = Options(device=job.device, cache_bytes=_CACHE, progress=progress, tensorboard=False)
    trainer = Trainer(job.run, job.data, job.folder, options)
    device = trainer.accelerator.device
    ended_by = trainer.train()
    del trainer
    if ended_by is not None:
        return ended_by
    _score(job, device)
    return None


def _score(job: Job, device: torch.device) -> None:
    assert job.run is not None
    assert job.data is not None
    weights = job.folder / "weights.safetensors"
    network = load_model(str(weights)).to(device).eval()
    pictures = held_out(job.run, job.data)
    facts: dict[str, Any] = {
        "data": dict(_held_out_of(job).fingerprint),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    for variant in (*job.forced, job.variant):  # the trained one last: it says that all are finished
        store_results(
            measure(_forced(network, variant.expert), pictures, group_of, device),
            folder_of(job.out, variant, job.seed),
            model=f"{job.study.name}/{variant.name}",
            weights=weights,
            command=job.command,
            device=device.type,
            notes=job.notes(variant, facts),
        )


def _forced(network: nn.Module, expert: int | None) -> Callable[[str], Callable[[Tensor], Tensor]]:
    """The network for every task, with one expert in every block if there is one named."""
    condition = None if expert is None else cast("Any", network).force(expert)

    def restore(image: Tensor) -> Tensor:
        return network(image, condition)

    return lambda _: restore


def _held_out_of(job: Job) -> Any:
    assert job.run is not None
    assert job.data is not None
    return held_out_data(job.run, job.data)


def _is_finished(job: Job, variant: Variant, facts: Mapping[str, Any]) -> bool:
    """Whether the results are there and are those of this run on this data; if not, the engine says why."""
    folder = folder_of(job.out, variant, job.seed)
    try:
        read_results(folder)
        notes: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["study"]
    except (DataError, OSError, KeyError, ValueError):
        return False
    expected = job.notes(variant, facts)
    return all(notes.get(key) == value for key, value in expected.items())


# --------------------------------------------------------------------------------------- side by side


def _run_in_children(jobs: Sequence[Job], *, at_once: int, progress: bool) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in some odd state
    waiting, running = list(jobs), list[_Child]()
    total = sum(job.length for job in jobs)
    with tqdm(total=total or None, unit="step", disable=not progress) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_child, args=(job, theirs), name=job.title)
                    process.start()
                    theirs.close()
                    running.append(_Child(process, ours, job))
                wait([child.process.sentinel for child in running], timeout=1.0)
                bar.update(sum(_steps_of(job) for job in jobs) - bar.n if progress else 0)
                for child in [one for one in running if one.process.exitcode is not None]:
                    running.remove(child)
                    _finish(child)
        finally:
            for child in running:
                child.process.terminate()  # the engine stores a checkpoint on SIGTERM
            for child in running:
                child.process.join()


def _finish(child: _Child) -> None:
    """Raise what a child that ended could not do."""
    child.process.join()
    problem: AnyRestoreError | None = None
    with suppress(EOFError, OSError):
        problem = child.answer.recv() if child.answer.poll() else None
    child.answer.close()
    if problem is not None:
        raise problem
    if child.process.exitcode:
        raise AnyRestoreError(
            f"expected {child.job.title} to be trained, but its process ended with exit code "
            f"{child.process.exitcode}; start the same command again to go on",
            code="process_lost",
        )


def _child(job: Job, answer: Connection) -> None:
    """A process of its own: do the work, tell the parent what went wrong, and end when the parent does."""
    # Ctrl-C reaches all processes of a terminal; the parent passes it on in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # tqdm's own lock is a semaphore of the system, which a process that is ended by a signal leaves behind.
    cast("Any", tqdm).set_lock(threading.RLock())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow_parent, daemon=True).start()
    try:
        ended_by = _work(job)
    except AnyRestoreError as error:
        answer.send(error)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 (told to the parent, with the place where it happened)
        traceback.print_exc()
        answer.send(AnyRestoreError(f"{job.title}: {type(error).__name__}: {error}", code="internal"))
        sys.exit(1)
    sys.exit(0 if ended_by is None else 128 + ended_by)


def _steps_of(job: Job) -> int:
    """How far a variant is."""
    if (job.folder / RESULTS).exists():
        return job.length
    with suppress(OSError, ValueError, KeyError):
        *_, last = (job.folder / f"{LOG}.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(last)["step"])
    return 0

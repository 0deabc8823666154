"""The engine: Hugging Face Accelerate around one loop that loses nothing to a crash.

One process or many (``torchrun``, ``accelerate launch``): DDP, FSDP, mixed precision and devices are
Accelerate's. Ours is what it leaves out: a sampler whose position is the step, so that sample i is the same
on any number of machines; checkpoints without pickle from which a run goes on bit for bit; a guard against
steps that are not finite; scores on held-out scenes.

The run's folder holds ``run.json`` (the resolved run), ``checkpoints/``, ``weights.safetensors`` and
``best.safetensors`` (the averaged weights, as the zoo loads them), ``log.jsonl``, ``scores.jsonl``,
``speed.jsonl``, ``sheets/`` and ``tensorboard/``.

Unusual: nothing that changes a result depends on the clock. Checkpoints by the clock are extra ones, and
hold the half-filled sums of the log too.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from accelerate import utils as accelerate_utils
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from anyrestore.data.loading import RawBatch, load_batches
from anyrestore.data.samples import MixtureData
from anyrestore.data.synthetic import validation_batches
from anyrestore.errors import AnyRestoreError, DataError, OutputError, UsageError
from anyrestore.inference.memory import keep_freed_memory
from anyrestore.storage import store_bytes
from anyrestore.training.assembly import make_accelerator
from anyrestore.training.checkpoint import Checkpoint, CheckpointStore
from anyrestore.training.configuration import from_json
from anyrestore.training.instructions import InstructionPool
from anyrestore.training.monitor import LOG, SCORES, SPEED, Journal, Meter
from anyrestore.training.pacing import Deadline, Work
from anyrestore.training.plan import Plan
from anyrestore.training.run import Run
from anyrestore.training.state import State, collect, copy_of, restore, weights_of, whole
from anyrestore.training.stepping import NORM, Found, Stepper
from anyrestore.zoo import create_model, crops_seen, save_weights

_across: Any = accelerate_utils  # what processes do together; its types are partly unknown
_BAD_PICTURES = 0.01  # share of unreadable pictures above which a run stops
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HALF = torch.finfo(torch.float16).max
_FACTS = {
    *("step", "processes", "mixture", "random", "scaler", "best"),
    *("bad_in_row", "skipped", "bad_pictures", "sums"),
}
_LATER_FACTS = {"crops_before"}  # which checkpoints of older versions have not


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how a run is computed: what does not change what it is."""

    device: str = "auto"  # "auto", "cpu" or "cuda"
    workers: int = 0  # loader processes of each process
    cache_bytes: int = 4 << 30  # of decoded pictures kept in memory, per process
    limit: int | None = None  # at most so many pictures of a data set, to try things out
    save_seconds: float = 600.0  # a checkpoint at least so often, beside those of the run's own
    force: bool = False  # go on although the run or its data differ from what the folder holds
    progress: bool = True  # a bar, and a line of losses now and then
    tensorboard: bool = True
    compile: bool = False  # torch.compile
    channels_last: bool = False


class Trainer(Stepper):
    """A run in progress.

    Args:
        run: what to train.
        data: the folder that holds the data sets.
        out: the run's folder; if it holds a checkpoint of the same run, training goes on from there.
        options: where and how.

    Raises:
        UsageError: a batch cannot be split evenly, no such device.
        DataError: the data is not there; ``out`` holds another run (``run_differs``), or one on other data
            (``data_differs``); all of its checkpoints are damaged (``checkpoints_damaged``).
        ModelError: the network takes instructions, and the sentence encoder is not installed
            (``no_encoder``).
    """

    def __init__(self, run: Run, data: Path, out: Path, options: Options | None = None) -> None:
        self.run, self.out, self.options = run, out, options or Options()
        self.accelerator: Any = make_accelerator(self.options.device, run.precision)
        self.main = self.accelerator.is_main_process
        if self.accelerator.device.type == "cpu":
            keep_freed_memory()
        self.store = CheckpointStore(out / "checkpoints", run.checkpoints.keep)
        self._check_folder()
        instructions = InstructionPool(run) if run.model.takes_instructions else None
        self.data, held_out = (
            MixtureData(
                run.mixture,
                data,
                part=part,
                held_out=run.validation.held_out,
                seed=run.seed,
                limit=self.options.limit,
                cache_bytes=self.options.cache_bytes if part == "train" else 0,
                warn=self._tell if part == "train" else None,
            )
            for part in ("train", "validation")
        )
        self.plan = plan = Plan(run, self.data.epoch)
        self._check_batches()
        if run.schedule.warmup >= self.plan.epochs:
            self._tell(
                f"the warm-up is {run.schedule.warmup:g} epochs and the run {self.plan.epochs:g}: "
                "the learning rate stays below its peak"
            )
        validated = run.validation.every > 0 and run.validation.held_out > 0
        self.validation = (
            validation_batches(held_out, run.validation.count, run.validation.crop) if validated else {}
        )
        if run.validation.every > 0 and not self.validation:
            self._tell("no scene could be held out, so there are no scores and no best weights")
        found = self._found()
        # A run that goes on has its weights; those it started from may be gone.
        super().__init__(
            run,
            self.accelerator,
            plan,
            self.data.tasks,
            fresh=found is None,
            instructions=instructions,
            channels_last=self.options.channels_last,
            compiled=self.options.compile,
        )
        self.best: dict[str, float] | None = None
        self.bad_pictures = list[str]()
        # Crops that the weights it starts from have seen, by side, where they say it.
        self.crops_before = {} if run.model.start is None or found else crops_seen(run.model.start) or {}
        if found is not None:
            self._restore(found)
        if self.step > self.plan.steps:
            raise UsageError(
                f"expected a run of at least the {self.step} steps that {out} has made, came "
                f"{self.plan.steps}; choose another output folder"
            )
        if self.instructions is not None:
            self.instructions.encode(self.accelerator.device)
            self.validation = {
                task: dataclasses.replace(batch, condition=self.instructions.fixed(batch.instructions))
                for task, batch in self.validation.items()
            }
        self._deadline = Deadline()
        self._stopped_by: int | None = None
        self._asked = 0.0  # when a signal asked to stop
        self._validated = False
        self._stopping = self._saving = False  # what the processes have agreed on

    # ---------------------------------------------------------------------------------- setting up

    def _tell(self, sentence: str) -> None:
        if self.main:
            with suppress(OSError):  # nobody may be reading any more
                tqdm.write(f"anyrestore: {sentence}", file=sys.stderr)

    def _check_folder(self) -> None:
        """See that the folder is free or belongs to the same run; nothing is written yet."""
        path = self.out / "run.json"
        if self.options.force or not path.exists() or not self.store.steps():
            return  # what was never stored may be described anew
        try:
            old: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            old = dict[str, Any]()
        with suppress(UsageError):  # what no run of this version is, is compared as it stands
            old = json.loads(_described(from_json(old)))  # fields that it did not know yet: their defaults
        odd = _differences(old, json.loads(_described(self.run)))
        if odd:
            raise DataError(
                f"expected {self.out} to hold this run, but it differs in {', '.join(odd[:8])}; choose "
                "another output folder; `anyrestore train --force` goes on with the new values",
                code="run_differs",
            )

    def _found(self) -> Checkpoint | None:
        """The checkpoint to go on from: the main process chooses, the others must see the same.

        Raises:
            DataError: all are damaged or lost, or a process does not see the main one's.
        """
        found: Checkpoint | None = None
        problem: AnyRestoreError | None = None
        if self.main:
            try:
                found = self.store.load_newest(self._tell)
                if found is None and (self.out / "weights.safetensors").exists() and not self.options.force:
                    problem = DataError(
                        f"expected a checkpoint beside the weights in {self.out}, but there is none; put it "
                        "back, or choose another output folder; `anyrestore train --force` begins again here",
                        code="checkpoints_damaged",
                    )
            except DataError as error:
                problem = error
        step, problem = self._from_main((None if found is None else found.step, problem))
        if problem is not None:
            raise problem
        if step is not None and not self.main:
            found = self.store.load(step)
        alike = step is None or found is not None
        if not all(cast("list[bool]", _across.gather_object([alike]))):
            raise DataError(
                f"expected all processes to find the checkpoint of step {step} in {self.store.folder}, but "
                "some do not; give --out a folder that all machines share",
                code="checkpoint_foreign",
            )
        return found

    def _from_main(self, thing: Any) -> Any:
        """What the main process has, on every process."""
        if self.accelerator.num_processes == 1:
            return thing
        return _across.broadcast_object_list([thing])[0]

    def _check_batches(self) -> None:
        parts = self.accelerator.num_processes * self.run.accumulate
        for phase in self.run.phases:
            if phase.batch % parts:
                raise UsageError(
                    f"phases.batch: expected a multiple of {parts} (processes times accumulate), came "
                    f"{phase.batch}"
                )

    # -------------------------------------------------------------------------------- the training

    def train(self, seconds: float = math.inf) -> int | None:
        """Train until the run's end, for at most ``seconds``, or until SIGINT or SIGTERM asks to stop.

        Scores and the last checkpoint are within the seconds, as far as what came before tells how long they
        take; a step is made in any case.

        Returns:
            The number of the signal that ended it, or None.

        Raises:
            DataError: too many steps in a row were not finite (``diverged``), or pictures unreadable
                (``bad_pictures``).
            OutputError: the last checkpoint could not be stored.
        """
        with self._alone():
            return self._train(seconds)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """The run's folder for this run only; the lock goes with the process, however that ends."""
        if not self.main:
            yield
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = (self.out / ".lock").open("w")
        except OSError as error:
            raise OutputError(
                f"expected a folder that can be written to at {str(self.out)!r}: {error.strerror}",
                code="output_unwritable",
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DataError(
                    f"expected {self.out} for this run alone, but another one is training in it; wait for it "
                    "or choose another output folder",
                    code="run_differs",
                ) from error
            yield

    def _train(self, seconds: float) -> int | None:
        if self.main:
            store_bytes(_described(self.run).encode(), self.out / "run.json", overwrite=True)
        saved = time.monotonic()
        self._deadline = Deadline(seconds)
        self._stopping = self._saving = False
        journal = self._journal()
        bar = tqdm(
            total=self.plan.samples,
            initial=self.plan.position(self.step),
            desc=self.run.name,
            unit="crop",
            delay=1,
            disable=not (self.main and self.options.progress),
        )
        meter = Meter(self.accelerator.device)
        batches = self._batches()
        with _catching_signals(self._on_signal):
            try:
                while self.step < self.plan.steps:
                    stop = self._stopped_by is not None or not self._deadline.leaves(*self._ahead())
                    with self._deadline.doing("step"):
                        meter.waiting()
                        raw = self._next(batches)
                        meter.working()
                        self._advance(
                            raw, stop=stop, save=time.monotonic() - saved >= self.options.save_seconds
                        )
                    bar.update(self.plan.phase(self.step - 1).batch)
                    meter.crops += self.plan.phase(self.step - 1).batch
                    self._report(journal, meter, bar)
                    if self._stopping or self.step == self.plan.steps:
                        break
                    if self._saving or self._validated or self.step % self.run.checkpoints.every == 0:
                        with self._deadline.doing("storing"):
                            self._unless_the_disk_is_full(self.save)
                        saved, self._saving = time.monotonic(), False
                self.save()
            finally:
                cast("Any", batches).close()
                bar.close()
                if journal is not None:
                    journal.close()
        return self._stopped_by

    def _ahead(self) -> list[Work]:
        """What must fit for a step after the next one: both, what is due after them, and the end."""
        works: list[Work] = ["storing", "storing"]  # the last checkpoint; an export, and leaving
        for step in range(self.step, min(self.step + 2, self.plan.steps)):
            now, before = self.plan.phase(step), self.plan.phase(max(0, step - 1))
            works.append("step" if (now.crop, now.batch) == (before.crop, before.batch) else "first step")
            done, last = step + 1, step + 1 == self.plan.steps
            if self.validation and (done % self.run.validation.every == 0 or last):
                works += cast("list[Work]", ["scores", "storing"])
            elif done % self.run.checkpoints.every == 0:
                works.append("storing")
        return works

    def _next(self, batches: Iterator[RawBatch]) -> RawBatch:
        try:
            return next(batches)
        except AnyRestoreError as error:
            if not self.main:  # only this process knows
                tqdm.write(f"anyrestore: process {self.accelerator.process_index}: {error}", file=sys.stderr)
            raise

    def _journal(self) -> Journal | None:
        if not self.main:
            return None
        return Journal(self.out, self.step, tensorboard=self.options.tensorboard, tell=self._tell)

    def _batches(self) -> Iterator[RawBatch]:
        """This process's share of every batch from the present step on."""
        requests = self.plan.requests(
            self.step, self.accelerator.process_index, self.accelerator.num_processes
        )
        return load_batches(self.data, requests, workers=self.options.workers, warn=self._tell)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Stop after this step. Launchers repeat their signals; a person's second Ctrl-C means at once."""
        if self._stopped_by is None:
            self._stopped_by, self._asked = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked > 1.0:
            raise KeyboardInterrupt

    def _advance(self, raw: RawBatch, *, stop: bool, save: bool) -> None:
        """One step. Alone, what is due after it is known at once; several processes must agree on it."""
        self.advance(raw, stop=stop, save=save)
        if self.accelerator.num_processes == 1:
            self._stopping |= stop
            self._saving |= save

    def settle(self) -> Found | None:
        """Take in what the last step found, and do what it asks for; see :meth:`Stepper.settle`."""
        found = super().settle()
        if found is not None:
            self._stopping |= found.stop
            self._saving |= found.save
            if found.bad:
                self._count_bad_pictures(found.batch.bad)
            if self.bad_in_row >= self.run.patience:
                self._stop_diverged(found)
        return found

    def _count_bad_pictures(self, mine: tuple[str, ...]) -> None:
        """Remember unreadable pictures; above 1 % of all the run stops."""
        known = set(self.bad_pictures)
        for name in sorted(set(cast("list[str]", _across.gather_object(list(mine)))) - known):
            self.bad_pictures.append(name)
            self._tell(f"cannot be read, another picture is used: {name}")
        if len(self.bad_pictures) > max(1, _BAD_PICTURES * self.data.pictures):
            self._unless_the_disk_is_full(self.save)
            raise DataError(
                f"expected at most 1 % unreadable pictures, but {len(self.bad_pictures)} of "
                f"{self.data.pictures} are: {', '.join(self.bad_pictures[:5])}; mend or remove them",
                code="bad_pictures",
            )

    def _stop_diverged(self, found: Found) -> None:
        """Leave the batch for inspection, and end the run; the last good state is on disk already."""
        batch, step = found.batch, found.step
        dump = self.out / f"diverged-step-{step:09}-process-{self.accelerator.process_index}.safetensors"
        tensors = {"degraded": batch.degraded, "clean": batch.clean, "losses": found.per_image}
        if batch.condition is not None:
            tensors["condition"] = batch.condition
        notes = {"tasks": json.dumps(batch.tasks), "step": str(step)}
        store_bytes(
            save({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata=notes), dump, overwrite=True
        )
        raise DataError(
            f"{self.bad_in_row} steps in a row gave no finite gradient, up to step {step}; the batch "
            f"is in {dump}, the last good state in {self.store.folder}: lower optimizer.lr or set "
            "optimizer.clip",
            code="diverged",
        )

    # ---------------------------------------------------------------------------- logs and scores

    def _report(self, journal: Journal | None, meter: Meter, bar: Any) -> None:
        """What is due after a step: a line of the log, scores of the held-out scenes."""
        step, last = self.step, self.step == self.plan.steps
        logged = step % self.run.log_every == 0 or last
        self._validated = bool(self.validation) and (step % self.run.validation.every == 0 or last)
        if logged or self._validated:
            self.settle()
        if logged:
            losses = {k: total / count for k, (total, count) in sorted(self.sums.items()) if k != NORM}
            record = {
                "step": step,
                "samples": self.plan.position(step),
                "epoch": self.plan.epoch(step),
                "lr": self.optimizer.param_groups[0]["lr"],
                "norm": _mean([self.sums.get(NORM, [0.0, 0])]),
                "loss": _mean([v for k, v in self.sums.items() if k != NORM]),
                "losses": losses,
                "skipped": self.skipped,
            }
            self.sums.clear()
            speed = meter.read()
            if journal is not None:
                journal.append(LOG, record)
                journal.append(SPEED, {"step": step, **speed})
                bar.set_postfix(
                    {"loss": f"{record['loss']:.4f}", "crops/s": f"{speed['crops_per_second']:.0f}"}
                )
        if self._validated:
            with self._deadline.doing("scores"):
                scores = self._score(journal)
            mean = sum(scores.values()) / len(scores)
            if self.best is None or mean > self.best["mean"]:
                self.best = {"step": step, "mean": mean}
                weights = self._averaged()
                self._unless_the_disk_is_full(lambda: self._store_weights(weights, "best.safetensors"))
            if journal is not None:
                journal.append(SCORES, {"step": step, "mean": mean, "psnr": scores})
                if self.options.progress:
                    shown = "  ".join(f"{k} {v:.2f} dB" for k, v in scores.items())
                    with suppress(OSError):  # nobody may be reading any more
                        tqdm.write(f"step {step}  {shown}", file=sys.stderr)
            meter.pause()

    def score(self) -> dict[str, float]:
        """PSNR in dB of the averaged weights on held-out scenes, per task (mean over images)."""
        return self._score(None)

    @torch.no_grad()
    def _score(self, journal: Journal | None) -> dict[str, float]:
        scores, rows = dict[str, float](), list[tuple[Tensor, Tensor, Tensor]]()
        with weights_of(self.average, self.network):
            self.model.eval()
            for task, batch in self.validation.items():
                values = list[float]()
                for i, (degraded, clean) in enumerate(zip(batch.degraded, batch.clean, strict=True)):
                    # Through the prepared model: FSDP gathers its weights there.
                    told = None if batch.condition is None else batch.condition[i : i + 1]
                    restored = self.model(degraded[None].to(self.accelerator.device), told)[0]
                    restored = restored.float().cpu()[0].clamp(0, 1)
                    values.append(_psnr(restored, clean))
                    if i < self.run.validation.sheet:
                        rows.append((degraded, restored, clean))
                scores[task] = sum(values) / len(values)
            self.model.train()
        if journal is not None and rows:
            journal.sheet(self.step, rows)
        return scores

    # --------------------------------------------------------------------------------- the state

    def _unless_the_disk_is_full(self, store: Callable[[], None]) -> None:
        """Store something on the way; where that fails, what was there is whole and training goes on."""
        try:
            store()
        except OutputError as error:
            self._tell(f"nothing stored at step {self.step}: {error} Training goes on.")

    def save(self) -> None:
        """Store the whole state, and the averaged weights as the zoo loads them.

        Raises:
            OutputError: they cannot be stored; what was there before is whole.
        """
        if self.step == 0:  # nothing to lose yet; the start is the seed's
            return
        self.settle()
        # All that processes must do together comes before the first thing that can fail on one of them.
        tensors, weights = collect(self.network, self.average, self.optimizer), self._averaged()
        randoms = cast("list[tuple[State, dict[str, Any]]]", _across.gather_object([self._random.capture()]))
        facts = {
            "step": self.step,
            "processes": self.accelerator.num_processes,
            "mixture": self._fingerprint(),
            "random": [plain for _, plain in randoms],
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "best": self.best,
            "bad_in_row": self.bad_in_row,
            "skipped": self.skipped,
            "bad_pictures": self.bad_pictures,
            "sums": self.sums,
            "crops_before": {str(side): count for side, count in self.crops_before.items()},
        }
        for rank, (states, _) in enumerate(randoms):
            tensors |= {f"random.{kind}.{rank}": v for kind, v in states.items()}
        problem: OutputError | None = None
        if self.main:
            best = None if self.best is None else int(self.best["step"])
            try:
                self.store.save(self.step, tensors, facts, best=best)
                self._store_weights(weights, "weights.safetensors")
            except OutputError as error:
                problem = error
        problem = self._from_main(problem)  # so that all go on, or all stop
        if problem is not None:
            raise problem

    def _restore(self, found: Checkpoint) -> None:
        """Take the whole state of a checkpoint.

        Raises:
            DataError: it belongs to another network or data, or a part of it is missing.
        """
        facts, tensors = found.facts, found.tensors
        if set(facts) - _LATER_FACTS != _FACTS:
            raise DataError(
                f"expected a checkpoint of this version in {self.store.folder}, but its "
                f"{', '.join(sorted(set(facts) - _LATER_FACTS ^ _FACTS))} differ; start in another folder",
                code="checkpoint_foreign",
            )
        then, now = facts["mixture"], self._fingerprint()
        odd = [k for k in {**then, **now} if then.get(k) != now.get(k)]
        if odd and not self.options.force:
            raise DataError(
                f"expected the data that this run began with, but {', '.join(sorted(odd))} changed; "
                "put it back; `anyrestore train --force` goes on with the data as it is",
                code="data_differs",
            )
        try:
            restore(
                {k: v for k, v in tensors.items() if not k.startswith("random.")},
                self.network,
                self.average,
                self.optimizer,
            )
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(
                f"expected a checkpoint of {self.run.model.name} in {self.store.folder}, but it does not fit "
                f"({error}); start in another folder",
                code="checkpoint_foreign",
            ) from error
        rank = self.accelerator.process_index
        if rank < len(facts["random"]):  # more processes than before: the new ones begin with their seed's
            ending = f".{rank}"
            own = {
                k.removeprefix("random.").removesuffix(ending): v
                for k, v in tensors.items()
                if k.startswith("random.") and k.endswith(ending)
            }
            if "torch" not in own:
                raise DataError(
                    f"expected a checkpoint with the random state of process {rank} in {self.store.folder}, "
                    "but it has none; start in another folder",
                    code="checkpoint_foreign",
                )
            self._random.load(own, facts["random"][rank])
        self.step = found.step
        self.bad_in_row, self.skipped = facts["bad_in_row"], facts["skipped"]
        self.best, self.bad_pictures, self.sums = facts["best"], facts["bad_pictures"], facts["sums"]
        self.crops_before = {int(side): count for side, count in facts.get("crops_before", {}).items()}
        if self.accelerator.scaler is not None and facts["scaler"]:
            self.accelerator.scaler.load_state_dict(facts["scaler"])

    def _fingerprint(self) -> dict[str, str]:
        """What decides the samples beside the run: the data sets, and the words where there are any."""
        words = {} if self.instructions is None else {"instructions": self.instructions.fingerprint}
        return {**self.data.fingerprint, **words}

    def _averaged(self) -> State:
        """The weights that a model is judged by, whole; every process must call it."""
        return {k: whole(v).cpu() for k, v in (self.average or copy_of(self.network)).items()}

    def _crops_seen(self) -> dict[int, int]:
        """By the averaged weights as they are now, by side in pixels: of this run and of those before it."""
        now = self.plan.crops(self.step)
        sides = now.keys() | self.crops_before.keys()
        return {side: now.get(side, 0) + self.crops_before.get(side, 0) for side in sides}

    def _store_weights(self, weights: State, name: str) -> None:
        if self.main:
            with torch.device("meta"):  # without memory and random numbers: only the form is wanted
                network = create_model(self.run.model.name, **self.run.model.options)
            network.load_state_dict(weights, assign=True)
            # A run that diverges goes through weights that float16 cannot hold.
            fits = all(bool((w.abs() <= _HALF).all()) for w in weights.values())
            kind = torch.float16 if fits else torch.float32
            save_weights(network, self.out / name, dtype=kind, crops=self._crops_seen())


@contextmanager
def _catching_signals(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, handler) for s in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _described(run: Run) -> str:
    return json.dumps(run.to_json(), indent=1)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The paths at which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        one, other = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        keys = sorted(one.keys() | other.keys())
        return [p for k in keys for p in _differences(one.get(k), other.get(k), f"{path}.{k}" if path else k)]
    if isinstance(old, list) and isinstance(new, list):
        first, second = cast("list[Any]", old), cast("list[Any]", new)
        if len(first) == len(second):
            pairs = enumerate(zip(first, second, strict=True))
            return [p for i, (a, b) in pairs for p in _differences(a, b, f"{path}.{i}")]
    return [] if old == new else [path or "run.json"]


def _mean(sums: Sequence[Sequence[float]]) -> float:
    total, count = (sum(s[i] for s in sums) for i in (0, 1))
    return total / count if count else 0.0


def _psnr(restored: Tensor, clean: Tensor) -> float:
    """In dB, at most 60; 0 where the network gave no numbers."""
    error = (restored - clean).square().mean().item()
    if not math.isfinite(error):
        return 0.0
    return min(60.0, -10 * math.log10(error)) if error > 0 else 60.0

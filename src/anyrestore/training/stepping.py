"""A training step: from samples on the CPU to new weights, and what is known of it afterwards.

No data sets, logs or files: :mod:`anyrestore.training.loop` puts those around it, and
:mod:`anyrestore.training.speed` measures it alone.

Unusual: on a GPU the host runs ahead. Whoever asks a GPU for a number waits until everything queued is
done, and the GPU then waits in turn for new work. So what a step found (losses, the norm of the gradient,
whether all of it is finite, what other processes ask for) is read when the step after it has been queued; a
step that is not finite is skipped on the GPU itself, by the flag that torch's fused Adam knows from gradient
scaling (``found_inf``). Degrading the next batch does ask for numbers; it has a queue of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from anyrestore.data.loading import RawBatch
from anyrestore.data.synthetic import Batch, degrade_batch
from anyrestore.errors import UsageError
from anyrestore.training.assembly import Forward, make_network, make_optimizer
from anyrestore.training.instructions import InstructionPool
from anyrestore.training.objective import balance, image_losses
from anyrestore.training.plan import Plan
from anyrestore.training.randomness import RandomStates
from anyrestore.training.run import Run
from anyrestore.training.schedule import factor
from anyrestore.training.state import average_in, copy_of, whole

__all__ = ["NORM", "Found", "Stepper"]

NORM = "gradient norm"  # among the sums; no task has a space in its name


@dataclass(frozen=True, kw_only=True)
class Found:
    """What all processes know of a step once it is read."""

    step: int  # from 0
    batch: Batch
    per_image: Tensor  # losses of this process's share of the batch
    finite: bool
    norm: float  # of the gradient, before it was clipped
    stop: bool  # a process was asked to stop
    save: bool  # a process finds a checkpoint due
    bad: bool  # a process met an unreadable picture
    losses: Mapping[str, tuple[float, int]]  # sum and count per task


@dataclass(frozen=True, kw_only=True)
class _Queued:
    """A step that the device may not have finished yet."""

    step: int
    batch: Batch
    per_image: Tensor
    spoiled: Tensor  # on the device: 1.0 where the step is not finite on some process
    told: Tensor  # on its way to the host: see `Stepper._ask`
    there: torch.cuda.Event | None  # when it has arrived; None: it has


class Stepper:
    """Network, optimiser and average of a run, and the step that moves them.

    Args:
        run: what is trained.
        accelerator: of :func:`anyrestore.training.assembly.make_accelerator`.
        plan: where the run stands at a step.
        tasks: all that samples may have.
        fresh: whether the network gets the weights that the run starts from; others come later.
        instructions: what samples are told, for a network that takes it.
        channels_last: whether weights and images lie in memory channel by channel of each pixel.
        compiled: whether torch.compile takes the network.
        fused: the optimiser in one kernel; False is torch's own choice.

    Raises:
        ModelError: no such model, or no such weights to start from.
        UsageError: those weights do not fit; the network has no losses of its own, and they are asked for.

    Attributes:
        step: made so far.
        ahead: whether what a step found is read only after the step after it has been queued. The weights,
            the counts and the sums are the same either way. Off on a CPU, which has no queue; with fp16,
            whose scaler must know at once; under FSDP, whose tensors the flag does not reach.
        skipped: steps that were not finite; ``bad_in_row``: the last so many.
        sums: of every loss and of the norm since whoever logs them cleared them: [sum, count].
    """

    def __init__(
        self,
        run: Run,
        accelerator: Any,
        plan: Plan,
        tasks: Sequence[str],
        *,
        fresh: bool = True,
        instructions: InstructionPool | None = None,
        channels_last: bool = False,
        compiled: bool = False,
        fused: bool = True,
    ) -> None:
        self.run, self.accelerator, self.plan = run, accelerator, plan
        self.instructions = instructions
        self._tasks, self._channels_last = tuple(tasks), channels_last
        self.network = make_network(run, fresh=fresh)
        if run.loss.auxiliary and not hasattr(self.network, "forward_with_losses"):
            raise UsageError(
                f"loss.auxiliary: expected none, as {run.model.name} has no losses of its own, came "
                f"{', '.join(run.loss.auxiliary)}"
            )
        self._prepare(make_optimizer(run, self.network, fused=fused), compiled=compiled)
        self.average = None if run.ema is None else copy_of(self.network)
        self.step = self.bad_in_row = self.skipped = 0
        self.sums = dict[str, list[float]]()
        self._random = RandomStates(run.seed, accelerator.process_index)
        self._queued: _Queued | None = None
        on_gpu = accelerator.device.type == "cuda"
        sharded = any(isinstance(parameter, DTensor) for parameter in self.network.parameters())
        self.ahead = on_gpu and fused and not sharded and accelerator.scaler is None
        # Its few small kernels go before the many of the network.
        self._beside = torch.cuda.Stream(accelerator.device, priority=-1) if on_gpu else None

    def _prepare(self, optimizer: torch.optim.Optimizer, *, compiled: bool) -> None:
        """Hand network and optimiser to Accelerate; ``self.network`` keeps the names."""
        module: nn.Module = Forward(self.network, auxiliary=bool(self.run.loss.auxiliary))
        if self._channels_last:
            module = cast("nn.Module", cast("Any", module).to(memory_format=torch.channels_last))
        if compiled:
            cast("Any", module).compile()
        self.model: nn.Module
        self.optimizer: Any
        self.model, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.network = cast("nn.Module", self.accelerator.unwrap_model(self.model).network)

    # ------------------------------------------------------------------------------------ the step

    def advance(self, raw: RawBatch, *, stop: bool = False, save: bool = False) -> None:
        """One step, whether taken or skipped.

        Args:
            raw: this process's share of the batch.
            stop: this process was asked to stop; all learn of it, see :class:`Found`.
            save: it finds a checkpoint due.
        """
        batch = self._degraded(raw)
        rate = self.run.optimizer.lr * factor(
            self.run.schedule, self.plan.epoch(self.step), epochs=self.plan.epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self._random:
            per_image = self._gradients(batch)
        clip = self.run.optimizer.clip
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), math.inf if clip is None else clip)
        queued = self._ask(batch, per_image, whole(norm), stop=stop, save=save)
        if self.ahead:
            self.settle()  # the step before this one, whose weights are still in place
            self._move_unless(queued.spoiled)
        self._queued = queued
        if not self.ahead:
            self.settle()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def settle(self) -> Found | None:
        """Wait for the step that was queued last and take its results in; None if that is done already."""
        queued, self._queued = self._queued, None
        if queued is None:
            return None
        found = self._read(queued)
        if found.finite:
            if not self.ahead:
                self.optimizer.step()
            if self.average is not None and self.run.ema is not None:
                # Early on the average must not remember the random start.
                decay = min(self.run.ema, (1 + found.step) / (10 + found.step))
                average_in(self.average, self.network, decay)
            self.bad_in_row = 0
            self._add(NORM, found.norm, 1)
            for name, (total, count) in found.losses.items():
                self._add(name, total, count)
        else:
            self.skipped += 1
            self.bad_in_row += 0 if self._searches_its_scale(found) else 1
        return found

    def _searches_its_scale(self, found: Found) -> bool:
        """Halve the gradient scaler's scale, if there is one: an overflow alone is how it is found."""
        scaler = self.accelerator.scaler
        if scaler is None:
            return False
        searching = bool(found.losses) and scaler.get_scale() > 1
        scaler.update(scaler.get_scale() / 2)
        return searching

    def _degraded(self, raw: RawBatch) -> Batch:
        """The batch on the device; on a GPU in a queue of its own, so that only that one is waited for."""
        if self._beside is None:
            return self._told(raw, degrade_batch(raw, self.accelerator.device))
        with torch.cuda.stream(self._beside):
            batch = self._told(raw, degrade_batch(raw, self.accelerator.device))
        network = torch.cuda.current_stream(self.accelerator.device)
        network.wait_stream(self._beside)
        for tensor in (batch.degraded, batch.clean, batch.weights, batch.condition):
            if tensor is not None:
                tensor.record_stream(network)  # its memory is not to be used anew before the network is done
        return batch

    def _told(self, raw: RawBatch, batch: Batch) -> Batch:
        if self.instructions is None:
            return batch
        return dataclasses.replace(batch, condition=self.instructions.of_samples(raw.instructions, raw.seeds))

    def _gradients(self, batch: Batch) -> Tensor:
        """Accumulate the gradient of this process's share of the batch; its losses per image."""
        parts = self.run.accumulate
        per_image = list[Tensor]()
        conditions = [None] * parts if batch.condition is None else batch.condition.chunk(parts)
        for i, (degraded, clean, weights, condition) in enumerate(
            zip(
                *(t.chunk(parts) for t in (batch.degraded, batch.clean, batch.weights)),
                conditions,
                strict=True,
            )
        ):
            if self._channels_last:
                degraded = degraded.to(memory_format=torch.channels_last)  # noqa: PLW2901
            last = i == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                restored, auxiliary = self.model(degraded, condition)
                losses = image_losses(restored.float(), clean, self.run.loss)
                loss = balance(losses, self.run.loss.balance, weights=weights, floor=self.run.loss.floor)
                if unknown := self.run.loss.auxiliary.keys() - auxiliary.keys():
                    raise UsageError(
                        f"loss.auxiliary: expected names among {', '.join(auxiliary)}, came "
                        f"{', '.join(sorted(unknown))}"
                    )
                for name, value in auxiliary.items():
                    loss = loss + self.run.loss.auxiliary.get(name, 0.0) * value
                self.accelerator.backward(loss / parts)
            per_image.append(losses.detach())
        return torch.cat(per_image)

    def _move_unless(self, spoiled: Tensor) -> None:
        """The optimiser's step; none of its tensors changes where ``spoiled`` is 1."""
        inner = getattr(self.optimizer, "optimizer", self.optimizer)  # Accelerate's wrapper hides attributes
        inner.found_inf = spoiled
        try:
            self.optimizer.step()
        finally:
            del inner.found_inf

    # ---------------------------------------------------------------------- what became of the step

    def _ask(self, batch: Batch, per_image: Tensor, norm: Tensor, *, stop: bool, save: bool) -> _Queued:
        """Queue one sum over all processes: flags, and the losses of every task; and their way to the host.

        All of it lies in one vector: not finite, stop, save, bad pictures, a sum for each task, a count for
        each task, and the norm. In float64 the sums of float32 losses are exact, in whatever order.
        """
        device = self.accelerator.device
        here = device if device.type == "cuda" else torch.device("cpu")  # others may not know float64
        shares = torch.zeros(len(self._tasks), len(batch.tasks), dtype=torch.float64)
        shares[[self._tasks.index(task) for task in batch.tasks], range(len(batch.tasks))] = 1
        flags = torch.tensor([stop, save, len(batch.bad)], dtype=torch.float64)
        flags, shares = _sent(flags, here), _sent(shares, here)
        losses, norm = per_image.to(here).double(), norm.to(here).double()
        known = losses.isfinite().all()
        spoiled = ~(known & norm.isfinite())
        sums = shares @ torch.where(known, losses, 0)
        vector = torch.cat([spoiled.double()[None], flags, sums, shares.sum(1) * known])
        if self.accelerator.num_processes > 1:
            # A vector of numbers, so that no process waits on the device for another one's flags.
            vector = cast("Tensor", self.accelerator.reduce(vector.to(device), "sum")).to(here)
        told = torch.cat([vector, norm[None]]).to("cpu", non_blocking=True)
        there = None
        if here.type == "cuda":
            there = torch.cuda.Event()
            there.record(torch.cuda.current_stream(device))
        return _Queued(
            step=self.step,
            batch=batch,
            per_image=per_image,
            spoiled=(vector[0] > 0).float(),
            told=told,
            there=there,
        )

    def _read(self, queued: _Queued) -> Found:
        """Wait until the numbers are there."""
        if queued.there is not None:
            queued.there.synchronize()
        spoiled, stop, save, bad, *table, norm = cast("list[float]", cast("Any", queued.told).tolist())
        sums, counts = table[: len(self._tasks)], table[len(self._tasks) :]
        return Found(
            step=queued.step,
            batch=queued.batch,
            per_image=queued.per_image,
            finite=spoiled == 0,
            norm=norm,
            stop=stop > 0,
            save=save > 0,
            bad=bad > 0,
            losses={
                task: (total, int(count))
                for task, total, count in zip(self._tasks, sums, counts, strict=True)
                if count
            },
        )

    def _add(self, name: str, total: float, count: int) -> None:
        now = self.sums.setdefault(name, [0.0, 0])
        now[0] += total
        now[1] += count


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; not waited for, as a copy from memory that is not page-locked would be."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

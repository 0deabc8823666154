"""A step whose results are read one step late: fewer waits for the device, and nothing else is different."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from anyrestore.data.loading import RawBatch
from anyrestore.errors import DataError
from anyrestore.training import stepping
from anyrestore.training.assembly import make_accelerator
from anyrestore.training.plan import Plan
from anyrestore.training.run import Run
from training_runs import contents

Make = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("unchecked")


def trained(trainer: Any, *, ahead: bool, **options: Any) -> Any:
    trainer.ahead = ahead
    trainer.train(**options)
    return trainer


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Makes the losses of some calls, counted from now, not finite."""
    real = stepping.image_losses

    def spoil(which: set[int]) -> None:
        calls = itertools.count()
        monkeypatch.setattr(
            stepping,
            "image_losses",
            lambda *args: real(*args) * (float("nan") if next(calls) in which else 1.0),
        )

    return spoil


def test_a_run_that_reads_late_is_the_same_run_to_the_byte(
    miniature: Run, make_trainer: Make, tmp_path: Path, spoiled: Callable[[set[int]], None]
) -> None:
    for ahead in (False, True):
        spoiled({0, 4, 5})  # before there are moments; two in a row, over a validation
        trainer = trained(make_trainer(miniature, tmp_path / str(ahead)), ahead=ahead)
        assert trainer.skipped == 3
    assert contents(tmp_path / "True") == contents(tmp_path / "False")


def test_so_it_is_when_it_is_interrupted_after_every_step(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    trained(make_trainer(miniature, tmp_path / "whole"), ahead=False)
    for made in range(miniature.steps or 0):
        assert trained(make_trainer(miniature, tmp_path / "parts"), ahead=True, seconds=0).step == made + 1
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_patience_ends_the_run_a_step_late_with_the_batch_of_the_step_that_was_one_too_many(
    miniature: Run, make_trainer: Make, tmp_path: Path, spoiled: Callable[[set[int]], None]
) -> None:
    run = dataclasses.replace(
        miniature,
        patience=2,
        log_every=100,
        validation=dataclasses.replace(miniature.validation, every=0, held_out=0),
        checkpoints=dataclasses.replace(miniature.checkpoints, every=100),
    )
    for ahead in (False, True):
        spoiled({1, 2})
        trainer = make_trainer(run, tmp_path / str(ahead))
        with pytest.raises(DataError, match=r"2 steps in a row .* up to step 2;") as caught:
            trained(trainer, ahead=ahead)
        assert caught.value.code == "diverged"
        assert trainer.step == 2 + ahead
        assert all(bool(torch.isfinite(p).all()) for p in trainer.network.parameters())
    dumps = [next((tmp_path / str(ahead)).glob("diverged-*")) for ahead in (False, True)]
    assert dumps[0].name == dumps[1].name
    first, second = (load_file(dump) for dump in dumps)
    assert first["degraded"].shape[2:] == (16, 16)
    assert all(torch.equal(value, second[name]) for name, value in first.items() if name != "losses")


class Reads(TorchDispatchMode):
    """Counts numbers that are taken out of tensors: on a GPU each would wait for all that is queued."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Copies(TorchFunctionMode):
    """Counts whole tensors that are brought to the host, by the call: here they are there already.

    A device that is meant as "wherever the run is" is a torch.device, and no string.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        queued = bool(kwargs) and kwargs.get("non_blocking", False)
        to_host = func is Tensor.to and "cpu" in [arg for arg in args if isinstance(arg, str)] and not queued
        self.count += to_host or func in (Tensor.tolist, Tensor.cpu, Tensor.numpy)
        return func(*args, **(kwargs or {}))


def raw_batch(tasks: tuple[str, ...], crop: int) -> RawBatch:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, len(tasks), 3, crop, crop), dtype=torch.uint8, generator=generator)
    return RawBatch(
        target=pictures[0],
        degraded=pictures[1],
        tasks=tasks,
        seeds=tuple(range(len(tasks))),
        recipes=((),) * len(tasks),
        layers={},
        weights=(1.0,) * len(tasks),
        instructions=(None,) * len(tasks),
        bad=(),
        eight_bits="round",
    )


@pytest.fixture
def stepper(miniature: Run) -> stepping.Stepper:
    tasks = tuple(dict.fromkeys(part.task for part in miniature.mixture.parts))
    return stepping.Stepper(miniature, make_accelerator("cpu", "fp32"), Plan(miniature, 12), tasks)


def test_a_step_reads_nothing_but_the_vector_of_the_step_before(stepper: stepping.Stepper) -> None:
    raw = raw_batch(("noise", "noise", "pair", "mixture"), 16)
    stepper.ahead = True
    stepper.advance(raw)
    with Reads() as reads, Copies() as copies:
        stepper.advance(raw)
    assert (reads.count, copies.count) == (0, 1)
    with Reads() as reads, Copies() as copies:
        assert float(torch.ones(1)) == 1
        torch.ones(1).cpu()
        torch.ones(1).to("cpu")
    assert (reads.count, copies.count) == (1, 2)  # both do count


def test_what_a_step_found_is_told_once(stepper: stepping.Stepper) -> None:
    stepper.ahead = True
    raw = dataclasses.replace(raw_batch(("noise", "pair", "noise", "pair"), 16), bad=("a.png",))
    stepper.advance(raw, save=True)
    found = stepper.settle()
    assert found is not None
    assert (found.step, found.finite, found.stop, found.save, found.bad) == (0, True, False, True, True)
    assert {task: count for task, (_, count) in found.losses.items()} == {"noise": 2, "pair": 2}
    assert found.losses["noise"][0] == pytest.approx(float(found.per_image[[0, 2]].sum()))
    assert stepper.sums["noise"] == [found.losses["noise"][0], 2]
    assert stepper.sums[stepping.NORM] == [found.norm, 1]
    assert stepper.settle() is None
    assert stepper.sums["noise"][1] == 2


def test_a_spoiled_step_moves_nothing(stepper: stepping.Stepper, spoiled: Callable[[set[int]], None]) -> None:
    raw = raw_batch(("noise",) * 4, 16)
    stepper.ahead = True
    stepper.advance(raw)
    stepper.settle()
    assert stepper.average is not None
    before = [
        *(p.detach().clone() for p in stepper.network.parameters()),
        *(v.clone() for state in stepper.optimizer.state.values() for v in state.values()),
        *(v.clone() for v in stepper.average.values()),
    ]
    spoiled({0})
    stepper.advance(raw)
    stepper.settle()
    after = [
        *stepper.network.parameters(),
        *(v for state in stepper.optimizer.state.values() for v in state.values()),
        *stepper.average.values(),
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert (stepper.skipped, stepper.bad_in_row) == (1, 1)
    stepper.advance(raw)
    stepper.settle()
    assert not torch.equal(before[0], next(stepper.network.parameters()))
    assert (stepper.skipped, stepper.bad_in_row) == (1, 0)

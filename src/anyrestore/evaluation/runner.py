"""Runs a model over benchmarks: image by image, whole where they fit in memory, one at a time.

The model is any callable from (1, 3, h, w) to (1, 3, h, w), so the training loop scores the
network it is working on with the same code, on a few images (`limit`), as the command scores a
released one. The degraded input is measured beside the output, because a gain says more than a
score, and because the input's own PSNR tells whether the copy of the data is the right one.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from anyrestore.errors import ModelError
from anyrestore.evaluation.benchmarks import Benchmark, Sample, check_present, middle
from anyrestore.evaluation.instruction import Instructor, instructor_for, takes_instruction
from anyrestore.evaluation.journal import Journal
from anyrestore.evaluation.protocols import Protocol
from anyrestore.evaluation.scores import ImageScore, Score
from anyrestore.evaluation.sheets import Sheets
from anyrestore.inference import memory, planning
from anyrestore.inference.restorer import Restorer
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.metrics import Lpips, colour_shift

__all__ = ["ImageScore", "Score", "evaluate", "identity", "iterate"]

Restore = Callable[[Tensor], Tensor]

#: The share of free memory that an image may take before it is cut into tiles.
_SHARE = 0.8


def identity(image: Tensor) -> Tensor:
    """The restorer that does nothing: its scores are those of the degraded inputs."""
    return image


def evaluate(
    model: Restore,
    benchmarks: Sequence[Benchmark],
    root: Path,
    protocol: Protocol,
    *,
    limit: int | None = None,
    device: str | torch.device = "cpu",
    tile: int | str = "auto",
    lpips: Lpips | None = None,
    journal: Journal | None = None,
    sheets: Sheets | None = None,
    instruction: str | None = None,
    progress: bool = True,
) -> list[Score]:
    """Score a model on benchmarks.

    Args:
        model: From (1, 3, h, w) RGB in [0, 1] to the same. If it is a `torch.nn.Module` it runs in
            eval mode and is left in the mode it had; if it has a `size_multiple`, images are padded
            to it and the result is cropped back.
        benchmarks: What to run; see `anyrestore.evaluation.select`.
        root: The folder that holds the test sets.
        protocol: How to measure.
        limit: Only the first so many images of each benchmark.
        device: Where the model is and the images go. Measuring happens on the CPU.
        tile: "auto" takes the image whole where it fits in memory, else in strips where the model can (still
            the whole image, see `anyrestore.strips`), else in tiles; "off" never anything but whole; a number
            is the longest side of a tile in pixels. Only modules are tiled. Tiles change scores a little, so
            each image's score says whether there were some.
        lpips: LPIPS, if it shall be measured too.
        journal: Where scores are kept image by image, and taken from if they are known already.
        sheets: Where restored images go.
        instruction: What a model that takes instructions is told, in words; None: what each benchmark wants
            (`anyrestore.evaluation.instruction`). Others find out by themselves.
        progress: Whether to show a bar on standard error.

    Returns:
        One score for each benchmark, in the order given.

    Raises:
        DataError: A test set is missing or damaged, or other than the journal's.
        UsageError: A model that takes instructions is to be measured on a folder of one's own without one, or
            another model was given one.
        ModelError: The model's output has another shape than its input, or is not finite; or the sentence
            encoder is not installed (code `no_encoder`).
    """
    check_present(benchmarks, root)
    return list(
        iterate(
            model,
            benchmarks,
            root,
            protocol,
            limit=limit,
            device=device,
            tile=tile,
            lpips=lpips,
            journal=journal,
            sheets=sheets,
            instructor=instructor_for(model, benchmarks, instruction),
            progress=progress,
        )
    )


def iterate(
    model: Restore,
    benchmarks: Sequence[Benchmark],
    root: Path,
    protocol: Protocol,
    *,
    limit: int | None = None,
    device: str | torch.device = "cpu",
    tile: int | str = "auto",
    lpips: Lpips | None = None,
    journal: Journal | None = None,
    sheets: Sheets | None = None,
    instructor: Instructor | None = None,
    progress: bool = True,
) -> Iterator[Score]:
    """As `evaluate`, one benchmark after another, without a look at the later ones before.

    `instructor` knows what to tell the model; one that takes instructions and is told nothing is an error of
    the caller's.
    """
    assert instructor is not None or not takes_instruction(model)
    device = torch.device(device)
    if device.type == "cpu":
        memory.keep_freed_memory()

    def score(benchmark: Benchmark, sample: Sample, data_sha256: str) -> ImageScore:
        sentence = instructor.sentences[benchmark.name] if instructor else None
        known = (
            journal.find(benchmark.name, sample.name, data_sha256, instruction=sentence) if journal else None
        )
        if known is not None and (sheets is None or sheets.have(benchmark.name, sample.name)):
            return known
        restored, seconds, side = _restore(
            instructor.tell(benchmark) if instructor else model, sample, device, tile
        )
        if sheets is not None:
            sheets.save(benchmark.name, sample, restored)
        if known is not None:
            return known
        measured = _measure(restored, sample, protocol, lpips, seconds=seconds, side=side)
        if journal is not None:
            journal.add(benchmark.name, data_sha256, measured, instruction=sentence)
        return measured

    for benchmark in benchmarks:
        with _eval_mode(model), torch.inference_mode():
            samples = benchmark.samples(root, crop_multiple=protocol.crop_multiple, limit=limit)
            count = len(benchmark.pairs(root)[:limit])
            digest = hashlib.sha256()
            images: list[ImageScore] = []
            with tqdm(
                total=count, desc=benchmark.name, unit="image", leave=False, disable=not progress
            ) as bar:
                for sample in samples:
                    # As they lie in memory: a copy of a photograph's would take as much again.
                    halves = [half.reshape(-1).numpy().data for half in (sample.degraded, sample.target)]
                    own = hashlib.sha256()
                    for half in halves:
                        digest.update(half)
                        own.update(half)
                    images.append(score(benchmark, sample, own.hexdigest()))
                    bar.update()
        yield Score(
            name=benchmark.name,
            group=benchmark.group,
            protocol=protocol.name,
            data_sha256=digest.hexdigest(),
            images=tuple(images),
            instruction=instructor.sentences[benchmark.name] if instructor else None,
        )


def _restore(
    model: Restore, sample: Sample, device: torch.device, tile: int | str
) -> tuple[Tensor, float, int | None]:
    """The model's result on the CPU, the seconds that it took, and the side of its tiles."""
    start = time.perf_counter()
    side = _side(model, sample.degraded, device, tile)
    restored: Tensor | None = None
    if side is None:
        multiple = int(getattr(model, "size_multiple", 1))
        try:
            padded, size = pad_to_multiple(sample.degraded.to(device), multiple)
            restored = crop_to(model(padded), size).float().cpu()
        except (MemoryError, RuntimeError) as error:
            if tile != "auto" or not isinstance(model, nn.Module) or not memory.is_out_of_memory(error):
                raise
            side = max(sample.degraded.shape[-2:]) // 2
    if restored is None:
        assert isinstance(model, nn.Module)
        assert side is not None
        if tile == "auto" and planning.runs_in_strips(model, device):
            side = None  # in strips it is still the whole image
        restorer = Restorer(model, device=device.type, tile="off" if side is None else side)
        restored = restorer(sample.degraded.to(device)).float().cpu()
    seconds = time.perf_counter() - start
    if restored.shape != sample.target.shape:
        raise ModelError(
            f"Expected an output of shape {tuple(sample.target.shape)} for {sample.name}, got "
            f"{tuple(restored.shape)}; evaluation needs a model that keeps the size.",
            code="bad_output",
        )
    if not restored.isfinite().all():
        raise ModelError(
            f"Expected finite values for {sample.name}, got NaN or infinity; the weights are broken "
            "or the computation overflowed.",
            code="bad_output",
        )
    return restored, seconds, side


def _side(model: Restore, image: Tensor, device: torch.device, tile: int | str) -> int | None:
    """The longest side of a tile, None for the whole image."""
    if tile == "off" or not isinstance(model, nn.Module):
        return None
    height, width = image.shape[-2:]
    if isinstance(tile, int):
        return tile if max(height, width) > tile else None
    budget = int(memory.free_memory(device) * _SHARE)
    if planning.runs_in_strips(model, device):
        budget = min(budget, memory.CPU_BUDGET)  # nothing is lost by strips
    return memory.choose_tile(height, width, model, device, budget)


def _measure(
    restored: Tensor,
    sample: Sample,
    protocol: Protocol,
    lpips: Lpips | None,
    *,
    seconds: float,
    side: int | None,
) -> ImageScore:
    height, width = sample.target.shape[-2:]
    restored, degraded, target = (
        half if sample.measured is None else middle(half, sample.measured)
        for half in (restored, sample.degraded, sample.target)
    )
    output = protocol.prepare(restored, target)
    given = protocol.prepare(degraded, target)
    return ImageScore(
        name=sample.name,
        height=height,
        width=width,
        psnr=protocol.psnr(output, target),
        ssim=protocol.similarity(output, target),
        input_psnr=protocol.psnr(given, target),
        input_ssim=protocol.similarity(given, target),
        seconds=seconds,
        tile=side,
        lpips=None if lpips is None else lpips(output, target),
        input_lpips=None if lpips is None else lpips(given, target),
        colour_shift=colour_shift(output, target).item(),
        input_colour_shift=colour_shift(given, target).item(),
    )


@contextmanager
def _eval_mode(model: Restore) -> Generator[None]:
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        if isinstance(model, nn.Module):
            model.train(training)

"""Runs a model over benchmarks: image by image, whole, one at a time.

The model is any callable from (1, 3, h, w) to (1, 3, h, w), so the training loop scores the
network it is working on with the same code, on a few images (`limit`), as the command scores a
released one. The degraded input is measured beside the output, because a gain says more than a
score, and because the input's own PSNR tells whether the copy of the data is the right one.
"""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from anyrestore.errors import ModelError
from anyrestore.evaluation.benchmarks import Benchmark, Sample, check_present
from anyrestore.evaluation.protocols import Protocol
from anyrestore.inference.memory import keep_freed_memory
from anyrestore.layers.padding import crop_to, pad_to_multiple

__all__ = ["ImageScore", "Score", "evaluate", "identity"]

Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image: PSNR in dB (infinite for an exact copy), SSIM, of the output and of the input."""

    name: str
    height: int
    width: int
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """One benchmark under one protocol: plain means of per-image values.

    Attributes:
        name: The benchmark's.
        group: The benchmark's.
        protocol: The protocol's id.
        data_sha256: Over every input and target that was measured, as float32 bytes.
        images: The per-image values, in sorted order.
    """

    name: str
    group: str
    protocol: str
    data_sha256: str
    images: tuple[ImageScore, ...]

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.images)

    @property
    def psnr(self) -> float:
        """Mean PSNR of the outputs, in dB."""
        return _mean([image.psnr for image in self.images])

    @property
    def ssim(self) -> float:
        """Mean SSIM of the outputs."""
        return _mean([image.ssim for image in self.images])

    @property
    def input_psnr(self) -> float:
        """Mean PSNR of the degraded inputs, in dB."""
        return _mean([image.input_psnr for image in self.images])

    @property
    def input_ssim(self) -> float:
        """Mean SSIM of the degraded inputs."""
        return _mean([image.input_ssim for image in self.images])

    @property
    def gain(self) -> float | None:
        """How many dB the output is better than the input; None where the input is exact."""
        return self.psnr - self.input_psnr if math.isfinite(self.input_psnr) else None

    @property
    def seconds(self) -> float:
        """Time in the model, over all images."""
        return math.fsum(image.seconds for image in self.images)


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
        progress: Whether to show a bar on standard error.

    Returns:
        One score for each benchmark, in the order given.

    Raises:
        DataError: A test set is missing or damaged.
        ModelError: The model's output has another shape than its input, or is not finite.
    """
    check_present(benchmarks, root)
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    scores: list[Score] = []
    with _eval_mode(model), torch.inference_mode():
        for benchmark in benchmarks:
            samples = benchmark.samples(root, crop_multiple=protocol.crop_multiple, limit=limit)
            bar = tqdm(samples, desc=benchmark.name, unit="image", leave=False, disable=not progress)
            digest = hashlib.sha256()
            images: list[ImageScore] = []
            for sample in bar:
                digest.update(sample.degraded.numpy().tobytes())
                digest.update(sample.target.numpy().tobytes())
                images.append(_measure(model, sample, protocol, torch.device(device)))
            scores.append(
                Score(
                    name=benchmark.name,
                    group=benchmark.group,
                    protocol=protocol.name,
                    data_sha256=digest.hexdigest(),
                    images=tuple(images),
                )
            )
    return scores


def _measure(model: Restore, sample: Sample, protocol: Protocol, device: torch.device) -> ImageScore:
    start = time.perf_counter()
    padded, size = pad_to_multiple(sample.degraded.to(device), int(getattr(model, "size_multiple", 1)))
    restored = crop_to(model(padded), size).float().cpu()
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
    output = protocol.prepare(restored)
    height, width = sample.target.shape[-2:]
    return ImageScore(
        name=sample.name,
        height=height,
        width=width,
        psnr=protocol.psnr(output, sample.target),
        ssim=protocol.similarity(output, sample.target),
        input_psnr=protocol.psnr(sample.degraded, sample.target),
        input_ssim=protocol.similarity(sample.degraded, sample.target),
        seconds=seconds,
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


def _mean(values: Sequence[float]) -> float:
    # fsum is exact: the mean does not depend on the order of the images.
    return math.fsum(values) / len(values)

"""Scores of a trained variant on crops of held-out scenes, in the format that `compare` and `report` read.

The crops depend on the mixture and the held-out scenes alone, not on the run's seed: every variant and
every seed is measured on the same pictures, which is what lets them be compared image by image.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyrestore.data.samples import MixtureData
from anyrestore.data.synthetic import validation_batches
from anyrestore.errors import DataError, ModelError
from anyrestore.evaluation.protocols import PROMPTIR
from anyrestore.evaluation.results import RESULTS, as_dict
from anyrestore.evaluation.scores import ImageScore, Score
from anyrestore.storage import store_bytes
from anyrestore.training.run import Run

__all__ = ["PROTOCOL", "HeldOut", "held_out", "held_out_data", "measure", "store_results"]

PROTOCOL = PROMPTIR
"""How images are measured."""

#: Task -> degraded and clean crops, each (n 3 s s) float32 in [0, 1].
HeldOut = Mapping[str, tuple[Tensor, Tensor]]


def held_out_data(run: Run, data: Path) -> MixtureData:
    """The scenes that the run's training never sees.

    Raises:
        DataError: A data set is missing, or has too few pictures to keep one.
    """
    found = MixtureData(run.mixture, data, part="validation", held_out=run.validation.held_out)
    if not any(len(pairs) for pairs in found.pairs):
        raise DataError(
            f"expected at least two pictures in a data set in {data}, so that one can be kept out of "
            "training, but there are none to measure on; give --data a folder with more"
        )
    return found


def held_out(run: Run, data: Path) -> HeldOut:
    """``validation.count`` crops of ``validation.crop`` pixels for every task of the run.

    Raises:
        DataError: A data set is missing, or has too few pictures to keep one.
    """
    found = validation_batches(held_out_data(run, data), run.validation.count, run.validation.crop)
    return {task: (batch.degraded, batch.clean) for task, batch in found.items()}


@torch.inference_mode()
def measure(
    restorer_of: Callable[[str], Callable[[Tensor], Tensor]],
    pictures: HeldOut,
    group_of: Callable[[str], str],
    device: torch.device | None = None,
) -> list[Score]:
    """Restore every crop by itself and measure it.

    Args:
        restorer_of: A task to what restores its crops, (1 3 s s) to the same, in inference mode.
        pictures: What to restore.
        group_of: A task to the group whose mean is a column too.
        device: Where the restorers compute.

    Returns:
        A score for each task.

    Raises:
        ModelError: What was restored is not finite.
    """
    scores = list[Score]()
    for task, (degraded, clean) in pictures.items():
        images = list[ImageScore]()
        restore = restorer_of(task)
        for i in range(len(clean)):
            given, target = degraded[i : i + 1], clean[i : i + 1]
            began = time.perf_counter()
            restored = restore(given.to(device)).float().cpu().clamp(0, 1)
            seconds = time.perf_counter() - began
            if not restored.isfinite().all():
                raise ModelError(
                    f"expected finite values for a held-out crop of {task}, but the network gave none; its "
                    "training has diverged",
                    code="bad_output",
                )
            images.append(
                ImageScore(
                    name=f"{task}-{i:03}",
                    height=target.shape[-2],
                    width=target.shape[-1],
                    psnr=PROTOCOL.psnr(restored, target),
                    ssim=PROTOCOL.similarity(restored, target),
                    input_psnr=PROTOCOL.psnr(given, target),
                    input_ssim=PROTOCOL.similarity(given, target),
                    seconds=seconds,
                )
            )
        digest = hashlib.sha256(degraded.numpy().tobytes())
        digest.update(clean.numpy().tobytes())
        scores.append(
            Score(
                name=task,
                group=group_of(task),
                protocol=PROTOCOL.name,
                data_sha256=digest.hexdigest(),
                images=tuple(images),
            )
        )
    return scores


def store_results(
    scores: list[Score],
    folder: Path,
    *,
    model: str,
    weights: Path | None,
    command: str,
    device: str,
    notes: Mapping[str, Any],
) -> None:
    """Write ``results.json`` in one step; that it is there says that the variant is finished.

    Args:
        scores: Of all tasks.
        folder: The variant's.
        model: What was measured.
        weights: Its file, whose hash is stored; None: there is none.
        command: By which it can be done again.
        device: Where the model ran.
        notes: Stored under "study".

    Raises:
        OutputError: It cannot be stored.
    """
    sha256 = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    content = as_dict(scores, model=model, weights_sha256=sha256, command=command, device=device, tile="off")
    text = json.dumps({**content, "study": dict(notes)}, indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    store_bytes(text.encode(), folder / RESULTS, overwrite=True)

"""What a run tells: JSON lines, TensorBoard, sheets of samples, a bar.

``log.jsonl`` (losses) and ``scores.jsonl`` (validation) hold nothing but what the run's definition decides,
so that an interrupted run's logs equal an uninterrupted one's to the byte; what depends on the machine goes
to ``speed.jsonl``. A log that cannot be written is said once and does not stop the training.
"""

from __future__ import annotations

import json
import os
import resource
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyrestore import image
from anyrestore.errors import OutputError
from anyrestore.storage import store_bytes

LOG, SCORES, SPEED = "log", "scores", "speed"


class Journal:
    """The logs of one run.

    Args:
        folder: the run's.
        step: steps made so far; later lines, of a run that was killed after its last checkpoint, are removed.
        tensorboard: also write event files for TensorBoard, where it is installed.
        tell: is told of what cannot be written.
    """

    def __init__(
        self, folder: Path, step: int, *, tensorboard: bool = True, tell: Callable[[str], None]
    ) -> None:
        self.folder, self.tell, self.failed = folder, tell, False
        for name in (LOG, SCORES, SPEED):
            self._try(lambda name=name: _cut(self._path(name), step))
        self.events = _event_writer(folder / "tensorboard", step) if tensorboard else None
        self._hook = threading.excepthook
        if self.events is not None:
            # TensorBoard writes in a thread, which prints a traceback when the disk is full; the error itself
            # comes again from the next call.
            threading.excepthook = self._quietly

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """One line, which begins with the step; numbers also go to TensorBoard."""
        line = json.dumps(record)

        self._try(lambda: _append(self._path(name), line + "\n"))
        for key, value in _flat(record):
            self._event(
                lambda to, key=key, value=value: to.add_scalar(f"{name}/{key}", value, record["step"])
            )

    def sheet(self, step: int, rows: Sequence[Sequence[Tensor]]) -> None:
        """A picture of rows of images (3 h w) in [0, 1], all of one size: input, output, target."""
        whole = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).clamp(0, 1)
        pixels = (whole * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()

        def write() -> None:
            path = self.folder / "sheets" / f"step-{step:09}.png"
            path.parent.mkdir(exist_ok=True)
            store_bytes(image.encode(image.Picture(pixels=pixels), "png"), path, overwrite=True)

        self._try(write)
        self._event(lambda to: to.add_image("samples", whole.cpu(), step))

    def close(self) -> None:
        """Write what TensorBoard still buffers."""
        self._event(lambda to: to.close())
        threading.excepthook = self._hook

    def _event(self, write: Callable[[Any], None]) -> None:
        """Something for TensorBoard; after the first failure there is nothing more for it."""
        if self.events is None:
            return
        try:
            write(self.events)
        except OSError as error:
            self.events = None
            self.tell(f"no more TensorBoard files in {self.folder} ({error}); training goes on")

    def _quietly(self, args: Any) -> None:
        if not isinstance(args.exc_value, OSError):
            self._hook(args)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, OutputError) as error:
            if not self.failed:
                self.tell(f"the logs in {self.folder} cannot be written ({error}); training goes on")
            self.failed = True


class Meter:
    """How fast it goes: for the eye, never for the result."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.crops, self._waited = device, 0, 0.0
        self._since = self._mark = time.monotonic()

    def waiting(self) -> None:
        """For data, from now on."""
        self._mark = time.monotonic()

    def working(self) -> None:
        """The data came."""
        self._waited += time.monotonic() - self._mark

    def pause(self) -> None:
        """What was done since the last reading (a validation) is not training."""
        self._since, self._waited, self.crops = time.monotonic(), 0.0, 0

    def read(self) -> dict[str, float]:
        """Since the last reading; then begin again."""
        elapsed = max(1e-9, time.monotonic() - self._since)
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        found = {
            "crops_per_second": round(self.crops / elapsed, 2),  # of all processes together
            "waiting_for_data": round(self._waited / elapsed, 4),  # share of the time
            "memory_mib": round(memory, 1),  # the peak so far
        }
        self.pause()
        return found


def _append(path: Path, line: str) -> None:
    """A whole line or nothing of it."""
    with path.open("ab") as file:
        size = file.tell()
        try:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())  # a checkpoint may follow, and the log must not be behind it
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def _cut(path: Path, step: int) -> None:
    """Remove lines after ``step``, and a last one that was torn."""
    if not path.exists():
        return
    kept = list[str]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    store_bytes("".join(kept).encode(), path, overwrite=True)


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = list[tuple[str, float]]()
    for key, value in record.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}/")  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, int | float) and key != "step":
            found.append((f"{prefix}{key}", float(value)))
    return found


def _event_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None where TensorBoard is not installed or the folder cannot be written."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies' own
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
    except (ImportError, OSError):
        return None

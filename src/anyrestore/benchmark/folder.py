"""What it is worth that reading, the model and writing overlap: a folder's run against single calls.

Three ways through the same pictures, in turn, several times: a loop (read, restore, write), the model alone
(only its calls are timed), and `run_jobs`. A run that hides reading and writing wholly is as fast as the
model alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyrestore import image
from anyrestore.batch.decoding import Decoder
from anyrestore.batch.jobs import Job
from anyrestore.batch.running import run_jobs
from anyrestore.inference.restorer import Restorer
from anyrestore.tables import aligned

__all__ = ["FolderTimes", "as_table", "measure_folder"]


@dataclass(kw_only=True)
class FolderTimes:
    """Seconds for all pictures, one number for each repeat.

    Attributes:
        pictures: how many.
        pixels: of all of them.
        loop: read, restore, write, one after another.
        model: the restoring alone.
        folder: `run_jobs`.
    """

    pictures: int
    pixels: int
    loop: list[float] = field(default_factory=list[float])
    model: list[float] = field(default_factory=list[float])
    folder: list[float] = field(default_factory=list[float])

    @property
    def gain(self) -> float:
        """The folder's throughput in that of the loop."""
        return statistics.median(self.loop) / statistics.median(self.folder)

    @property
    def possible(self) -> float:
        """The same for the model alone: what hiding all reading and writing would give."""
        return statistics.median(self.loop) / statistics.median(self.model)


def measure_folder(
    paths: Sequence[Path],
    restorer: Restorer,
    *,
    repeats: int = 3,
    writers: int = 1,
    decoder: Callable[[], Decoder] = Decoder,
    say: Callable[[str], None] = lambda _: None,
) -> FolderTimes:
    """Measure; results go to a temporary folder, and are removed.

    Args:
        paths: of pictures.
        restorer: the model.
        repeats: rounds of all three ways.
        writers: as in `run_jobs`; likewise `decoder`.
        decoder: makes what decodes.
        say: is told what goes on.

    Raises:
        AnyRestoreError: a picture cannot be restored.
    """
    sizes = [image.read_header(path) for path in paths]
    times = FolderTimes(pictures=len(paths), pixels=sum(size.width * size.height for size in sizes))
    restorer(image.read(paths[0]))  # (what is done only once is done now)
    for i in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            jobs = [
                Job(source=path, target=Path(folder) / f"{n}{path.suffix}") for n, path in enumerate(paths)
            ]
            say(f"round {i + 1} of {repeats}: loop")
            began = time.perf_counter()
            for job in jobs:
                image.write(restorer(image.read(job.source)), job.target)
            times.loop.append(time.perf_counter() - began)
            say(f"round {i + 1} of {repeats}: model alone")
            times.model.append(sum(_restoring(restorer, job.source) for job in jobs))
            say(f"round {i + 1} of {repeats}: folder")
            began = time.perf_counter()
            for result in run_jobs(jobs, restorer, overwrite=True, writers=writers, decoder=decoder):
                if result.error is not None:
                    raise result.error
            times.folder.append(time.perf_counter() - began)
    return times


def as_table(times: FolderTimes) -> str:
    """Plain text: medians over the repeats."""
    rows = [("", "seconds", "MP/s", "of the loop")]
    loop = statistics.median(times.loop)
    named = (("loop", times.loop), ("model alone", times.model), ("folder", times.folder))
    for name, seconds in named:
        median = statistics.median(seconds)
        rows.append((name, f"{median:.2f}", f"{times.pixels / 1e6 / median:.3f}", f"{loop / median:.3f}"))
    return "\n".join(aligned(rows, left=(0,)))


def _restoring(restorer: Restorer, path: Path) -> float:
    picture = image.read(path)
    began = time.perf_counter()
    restorer(picture)
    return time.perf_counter() - began

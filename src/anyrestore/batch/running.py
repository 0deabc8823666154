"""Doing jobs: read, restore, write; one that fails is reported and does not stop the rest.

The one exception is a full disk, where each further file would only be computed to be thrown away.

Three stages are at work at once: threads that read ahead, the model in the thread of the caller, threads that
encode and store. libvips and zlib let go of Python's lock while they work. What is on its way is
bounded by `Room`, in bytes. Small pictures of one size are held back until there are enough for one pass.

Unusual: a picture that is large goes by itself, through a scratch folder, when nothing else is on its way,
and wholly in the caller's thread, where Ctrl-C can stop libvips. And a picture for which memory ran out while
others were on their way is tried again, by itself, at the end.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch

from anyrestore import image
from anyrestore.batch.decoding import Decoder
from anyrestore.batch.jobs import Job
from anyrestore.batch.room import Room
from anyrestore.errors import AnyRestoreError, InputError, OutputError
from anyrestore.image import Picture, Pixels
from anyrestore.inference import memory
from anyrestore.inference.restorer import TOGETHER, Restorer
from anyrestore.scratch import allocate, release
from anyrestore.storage import make_folder

_DIVIDER = 4
"""Width, in pixels, of the white line between the two halves of a before/after sheet."""
_BAND = 64
"""Rows of a sheet that are made at once."""
_COPIES = 6
"""What a picture takes on its way, in units of itself: itself, its result, and what encoding takes (of JPEG
all coefficients, and the check of what was encoded)."""
_LARGE_SHARE = 4
"""A picture is large if it takes more than this part (1/n) of the memory..."""
_ROOM_SHARE = 8
"""...and what is on its way may take this part, one large picture by itself excepted."""
_PLACES = 2 * TOGETHER
"""Pictures on their way at most: more would not make anything faster."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a job.

    Attributes:
        job: the job.
        seconds: that were spent on it, waiting for its turns not counted; of a picture that went through the
            model with others, its share.
        width: of the picture, in pixels; 0 if it failed. Likewise `height`.
        height: rows.
        warnings: one sentence for everything that was odd in the file, or dropped.
        sha256: of the bytes of the file at the job's target; None if it failed.
        error: why it failed.
    """

    job: Job
    seconds: float
    width: int = 0
    height: int = 0
    warnings: tuple[str, ...] = ()
    sha256: str | None = None
    error: Exception | None = None


def run_jobs(
    jobs: Sequence[Job],
    restore: Callable[[Picture], Picture],
    *,
    overwrite: bool = False,
    keep_gps: bool = False,
    quality: int | None = None,
    max_pixels: int | None = None,
    scratch: Path | None = None,
    memory_limit: int | None = None,
    readers: int = 1,
    writers: int = 1,
    decoder: Callable[[], Decoder] = Decoder,
) -> Iterator[Result]:
    """Do the jobs, handing out each result when it is stored.

    Closing the generator, or an exception in it (Ctrl-C), ends its threads: what is being stored is stored
    whole or not at all, the rest is dropped.

    Args:
        jobs: from `plan_jobs`.
        restore: usually a `Restorer`; called in the caller's thread.
        overwrite: whether results may replace files.
        keep_gps: whether the place where a picture was taken stays in its metadata.
        quality: of lossy formats, 1 to 100; None for the format's default.
        max_pixels: the largest picture to accept; None for the default of `image.read`.
        scratch: a folder of a disk for pictures that would take a good part of the memory; None for nowhere.
        memory_limit: bytes that the process may occupy; None for no limit but what is free.
        readers: threads that decode; with one of each, results come in the order of the jobs, but for those
            that are done together with others or again.
        writers: threads that encode and store.
        decoder: makes what decodes, for each reader its own; `Isolated` for a process of its own.

    Yields:
        A result per job; fewer where the disk is full, the last of which says so.
    """
    limit = image.MAX_PIXELS if max_pixels is None else max_pixels
    if memory_limit is None:
        budget = memory.default_budget(torch.device("cpu"))
    else:  # of which a part is taken already: the interpreter, libraries, weights
        budget = max(memory_limit - memory.resident(), 1)
    steps = _Steps(restore, overwrite=overwrite, keep_gps=keep_gps, quality=quality, max_pixels=limit)
    decoders = [decoder() for _ in range(readers + 1)]  # one more for pictures that go by themselves
    line = _Line(jobs, steps, budget=budget, scratch=scratch, decoders=decoders, writers=writers)
    return line.run()


@dataclass(kw_only=True, eq=False)
class _Item:
    """A job on its way.

    Attributes:
        weight: bytes that it takes at most, by its header.
        alone: whether it goes by itself.
        folder: where its pixels lie if not in memory.
        held: bytes that it was seen to take.
        done: whether nothing is left to do, because it is stored or has failed.
    """

    job: Job
    weight: int = 0
    alone: bool = False
    folder: Path | None = None
    held: int = 0
    before: Picture | None = None
    after: Picture | None = None
    seconds: float = 0
    width: int = 0
    height: int = 0
    warnings: tuple[str, ...] = ()
    sha256: str | None = None
    error: Exception | None = None
    done: bool = False

    def result(self) -> Result:
        return Result(
            job=self.job,
            seconds=self.seconds,
            width=self.width,
            height=self.height,
            warnings=self.warnings,
            sha256=self.sha256,
            error=self.error,
        )


class _Steps:
    """What is done with an item; each step leaves in it what the next one takes."""

    def __init__(
        self,
        restore: Callable[[Picture], Picture],
        *,
        overwrite: bool,
        keep_gps: bool,
        quality: int | None,
        max_pixels: int,
    ) -> None:
        self.restore_one = restore
        self._overwrite = overwrite
        self._keep_gps = keep_gps
        self._quality = quality
        self._max_pixels = max_pixels

    def weigh(self, item: _Item, decoder: Decoder) -> None:
        """Find out from its header what a picture takes."""
        header = decoder.read_header(item.job.source, max_pixels=self._max_pixels)
        size = header.width * header.height * header.bands * header.bit_depth // 8
        item.weight = _COPIES * size

    def read(self, item: _Item, decoder: Decoder) -> None:
        """Decode, and see whether the result will find a place."""
        job = item.job
        before = decoder.read(
            job.source, max_pixels=self._max_pixels, keep_gps=self._keep_gps, scratch=item.folder
        )
        _check_targets(job, overwrite=self._overwrite)
        image.check_holds(before, job.target)
        item.before = before

    def restore(self, items: Sequence[_Item]) -> None:
        """Run the model, over several pictures at once if there are several."""
        befores = [item.before for item in items if item.before is not None]
        if isinstance(self.restore_one, Restorer) and self.goes_together(items[0]):
            afters = self.restore_one.restore_together(befores)
        else:
            afters = [self.restore_one(before) for before in befores]
        for item, after in zip(items, afters, strict=True):
            item.after = after
            if item.job.sheet is None:
                item.before = None

    def goes_together(self, item: _Item) -> bool:
        return (
            not item.alone
            and item.before is not None
            and isinstance(self.restore_one, Restorer)
            and self.restore_one.goes_together(item.before)
        )

    def store(self, item: _Item) -> None:
        """Encode, and put in place."""
        job, after = item.job, item.after
        assert after is not None
        make_folder(job.target.parent)
        item.sha256 = image.write(after, job.target, overwrite=self._overwrite, quality=self._quality)
        if job.sheet is not None and item.before is not None:
            image.write(_sheet(item.before, after, item.folder), job.sheet, overwrite=self._overwrite)
        item.height, item.width = after.pixels.shape[:2]
        item.warnings = after.warnings


class _Line:
    """The stages, and what passes between them.

    Everything comes to one inbox: pictures that were read, for the model; items that are done, whichever way;
    and None from a reader that waits for room, or has come to the end, so that nothing is held back any more.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        steps: _Steps,
        *,
        budget: int,
        scratch: Path | None,
        decoders: Sequence[Decoder],
        writers: int,
    ) -> None:
        self._steps = steps
        self._budget = budget
        self._scratch = scratch
        self._room = Room(max(budget // _ROOM_SHARE, 1), _PLACES)
        self._left = len(jobs)
        self._todo = iter(jobs)
        self._turn = threading.Lock()
        self._inbox: SimpleQueue[_Item | None] = SimpleQueue()
        self._to_store: SimpleQueue[_Item | None] = SimpleQueue()
        self._groups = dict[tuple[int, ...], list[_Item]]()
        self._stopping = False
        self._own_decoder, *others = decoders
        self._decoders = decoders
        self._readers = [self._thread("read", self._read_all, decoder) for decoder in others]
        self._writers = [self._thread("write", self._store_all) for _ in range(writers)]

    @staticmethod
    def _thread(name: str, target: Callable[..., None], *arguments: object) -> threading.Thread:
        # Daemons: a second Ctrl-C, while they are waited for, ends the process all the same.
        return threading.Thread(target=target, args=arguments, name=f"anyrestore-{name}", daemon=True)

    def run(self) -> Iterator[Result]:
        try:
            for thread in (*self._readers, *self._writers):
                thread.start()
            yield from self._results()
        finally:
            self._stop()

    def _results(self) -> Iterator[Result]:
        """The calling thread's part: the model, and handing out what is done."""
        again = list[Job]()
        while self._left:
            item = self._inbox.get()
            if item is None or not item.done:
                self._advance(item)
                continue
            self._left -= 1
            if _is_disk_full(item.error):
                self._stop()
                yield from (other.result() for other in self._finished())
                yield item.result()
                return
            if not item.alone and _is_out_of_memory(item.error):
                again.append(item.job)
            else:
                yield item.result()
        for job in again:
            item = _Item(job=job, alone=True)
            self._room.enter(0, full=_nothing)
            self._do_alone(item)
            yield item.result()
            if _is_disk_full(item.error):
                return

    def _advance(self, item: _Item | None) -> None:
        """Run the model over what has been read, or over what was held back."""
        if item is None:
            while self._groups:
                self._restore(self._groups.popitem()[1])
        elif item.error is not None:
            self._to_store.put(item)  # (so that it comes in its turn)
        elif item.alone:
            self._do_alone(item)
        elif item.before is not None and self._steps.goes_together(item):
            key = item.before.pixels.shape[:2]
            group = self._groups.setdefault(key, [])
            group.append(item)
            if len(group) == TOGETHER:
                self._restore(self._groups.pop(key))
        else:
            self._restore([item])

    def _restore(self, items: list[_Item]) -> None:
        """Restore together, or by themselves where that fails, and pass on."""
        self._tell_restorer()
        began = time.monotonic()
        error = self._try(items, lambda: self._steps.restore(items))
        if error is not None and len(items) > 1:
            for item in items:
                self._restore([item])
            return
        for item in items:
            item.seconds += (time.monotonic() - began) / len(items)
            self._hold(item)
            self._to_store.put(item)

    def _tell_restorer(self, *, alone: bool = False) -> None:
        """Say what of its memory limit the other threads may still take."""
        if isinstance(self._steps.restore_one, Restorer):
            self._steps.restore_one.reserved = 0 if alone else self._room.growth()

    def _do_alone(self, item: _Item) -> None:
        """All of a job, in this thread."""
        self._tell_restorer(alone=True)
        steps, decoder = self._steps, self._own_decoder
        began = time.monotonic()
        self._try([item], lambda: (steps.read(item, decoder), steps.restore([item]), steps.store(item)))
        item.seconds += time.monotonic() - began
        self._finish(item)

    def _hold(self, item: _Item) -> None:
        """Let the room know what an item takes by now."""
        taken = sum(_bytes_of(picture) for picture in (item.before, item.after) if picture is not None)
        self._room.hold(taken - item.held)
        item.held = taken

    def _try(self, items: Sequence[_Item], step: Callable[[], object]) -> Exception | None:
        """Take a step; what goes wrong is the items' error, and holds no picture."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not end the other files' turn)
            traceback.clear_frames(error.__traceback__)  # the places stay; the pictures in them do not
            if len(items) == 1:
                items[0].error = error
            return error
        return None

    def _finish(self, item: _Item) -> None:
        """Nothing is left to do for an item: its room is free, and its result can be handed out."""
        item.before = item.after = None
        item.done = True
        self._room.leave(item.weight, item.held)
        self._inbox.put(item)

    def _finished(self) -> Iterator[_Item]:
        """What was done meanwhile, once no thread is at work any more."""
        while not self._inbox.empty():
            item = self._inbox.get()
            if item is not None and item.done:
                yield item

    # ------------------------------------------------------------------------------ the threads

    def _read_all(self, decoder: Decoder) -> None:
        while (item := self._next(decoder)) is not None:
            if item.error is None and not item.alone:
                began = time.monotonic()
                self._try([item], lambda item=item: self._steps.read(item, decoder))
                item.seconds += time.monotonic() - began
                self._hold(item)
            self._inbox.put(item)
            if self._room.is_awaited():  # by another reader, whose None came before this item
                self._inbox.put(None)
            del item
        self._inbox.put(None)

    def _next(self, decoder: Decoder) -> _Item | None:
        """The next job, when there is room for its picture; readers have their turns in order."""
        with self._turn:
            job = next(self._todo, None)
            if job is None or self._stopping:
                return None
            item = _Item(job=job)
            self._try([item], lambda: self._steps.weigh(item, decoder))
            if item.weight > self._budget // _LARGE_SHARE:
                item.folder = self._scratch
            item.alone = item.weight > self._room.size
            if not self._room.enter(item.weight, full=lambda: self._inbox.put(None)):
                return None
            return item

    def _store_all(self) -> None:
        while (item := self._to_store.get()) is not None:
            if self._stopping:
                continue
            if item.error is None:
                began = time.monotonic()
                self._try([item], lambda item=item: self._steps.store(item))
                item.seconds += time.monotonic() - began
            self._finish(item)
            del item

    def _stop(self) -> None:
        """End the threads; what waits is dropped."""
        self._stopping = True
        self._room.close()
        for decoder in self._decoders:
            decoder.close()
        for _ in self._writers:
            self._to_store.put(None)
        for thread in (*self._readers, *self._writers):
            if thread.ident is not None:
                thread.join()
        if isinstance(self._steps.restore_one, Restorer):
            self._steps.restore_one.reserved = 0


def _nothing() -> None:
    """What is to be done about a full room that cannot be full."""


def _is_disk_full(error: Exception | None) -> bool:
    return isinstance(error, OutputError) and error.code == "disk_full"


def _is_out_of_memory(error: Exception | None) -> bool:
    if isinstance(error, AnyRestoreError):
        return error.code in ("out_of_memory", "memory_limit")
    return error is not None and memory.is_out_of_memory(error)


def _bytes_of(picture: Picture) -> int:
    return picture.pixels.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)


def _check_targets(job: Job, *, overwrite: bool) -> None:
    """Before the model runs: whether its result will find a place."""
    if job.target.suffix.lower() not in image.SUFFIXES:
        raise InputError(
            f"the name {job.target.name} does not say in which format to write; use -o NAME.png or another",
            code="unsupported_format",
        )
    for target in (job.target, job.sheet):
        if target is not None and target.parent.exists():
            image.check_writable(target, overwrite=overwrite)


def _sheet(before: Picture, after: Picture, scratch: Path | None) -> Picture:
    """Before on the left, after on the right, a thin white line between them; 8 bits, without alpha."""
    height, width, *channels = before.pixels.shape
    shape = (height, 2 * width + _DIVIDER, *channels)
    sheet = np.empty(shape, np.uint8) if scratch is None else allocate(shape, np.uint8, scratch)
    # In floats there are a few rows at a time, and in memory too if the pictures are in files.
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        sheet[rows, :width] = _to_eight_bits(before.pixels[rows])
        sheet[rows, width : width + _DIVIDER] = 255
        sheet[rows, width + _DIVIDER :] = _to_eight_bits(after.pixels[rows])
        for array in (before.pixels, after.pixels, sheet):
            release(array, top, top + _BAND)
    return replace(after, pixels=sheet, alpha=None, format="png")


def _to_eight_bits(pixels: Pixels) -> Pixels:
    return image.from_tensor(image.to_tensor(pixels), like=np.empty(pixels.shape, dtype=np.uint8))

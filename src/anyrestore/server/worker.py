"""The process that computes: it decodes, restores and encodes; `python -m anyrestore.server.worker`.

Orders come on standard input, answers go to what was standard output; `pipes.py` says what they look like.
Another thread reads the orders meanwhile, so that an order can be dropped while it is done, within the
model's present block; and it ends the process when its input ends, also with a parent that was killed.

The same picture gives the same bytes, whatever is done beside it. Its way through the model depends on the
memory that is left, and that is reckoned by the picture alone, not measured (`Restorer.occupied`). Small
pictures go in a pass of so many places, alone too.

Unusual: it asks the kernel to be killed before others where memory runs out, and bounds its own
(RLIMIT_DATA); either costs one order. It gives way to others on the processor, so that the process that talks
to clients answers at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from anyrestore import image, zoo
from anyrestore.errors import AnyRestoreError, InputError, ModelError, UsageError
from anyrestore.image import Format, Picture, ReadOptions
from anyrestore.inference import memory
from anyrestore.inference.restorer import TOGETHER, TOGETHER_PIXELS, Restorer, choose_device
from anyrestore.inspection import look
from anyrestore.inspection.fitting import fit
from anyrestore.inspection.looking import LOOKS
from anyrestore.inspection.overlay import finest_maps, paint
from anyrestore.server.orders import Offer
from anyrestore.server.pipes import (
    NAME,
    Setup,
    Wanted,
    read_data,
    read_line,
    tell_error,
    to_line,
)
from anyrestore.text.instructions import Instructions
from anyrestore.zoo.catalog import ARCHITECTURES
from anyrestore.zoo.weights import name_architecture

SHARES_A_SECOND = 10
"""How often at most the engine is told how far an order is."""
LOOK_SIDE = 1024
"""Of the picture that shows the routing, at most."""

_DECODED, _RESTORED = 0.05, 0.9  # shares of an order's work that are done by then
_LARGEST_FILE = 2**31
_NICE = 5
"""Steps of priority that it stands behind the engine's process."""
_SPARE = 1024 * memory.MIB
"""Addresses that the C library and the threads' stacks take without using them, see `keep_freed_memory`."""
_LIBRARIES = 260 * memory.MIB
"""Occupied by the interpreter, torch and libvips before the first picture."""
_ENCODER = 100 * memory.MIB
"""Occupied by the sentence encoder, where a model takes instructions."""
_ENCODING = {"webp": 16, "avif": 34}
"""Bytes that an encoder takes for a pixel of 8 bits, where that is more than a few rows..."""
_BEST_JPEG = 12
"""...and that the best tables of a JPEG take, which it can do without."""
_MAPPED = ("routing", "tokens", "gating")
"""Looks that are maps over the picture."""


class _DroppedError(Exception):
    """Nobody waits for the order any more."""


class Inbox:
    """What the engine sends, taken in by a thread of its own.

    Args:
        stream: standard input, behind its first line.
        ended: called in that thread when the stream ends, or cannot be understood.
    """

    def __init__(self, stream: IO[bytes], ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended
        self._groups = queue.SimpleQueue[list[tuple[Wanted, bytes]]]()
        self._dropped = set[int]()
        threading.Thread(target=self._receive, name="anyrestore-inbox", daemon=True).start()

    def next(self) -> list[tuple[Wanted, bytes]]:
        """The next orders, once there are any; those that were dropped before are forgotten."""
        group = self._groups.get()
        for number in tuple(self._dropped):
            if number < group[0][0].id:
                self._dropped.discard(number)
        return group

    def check(self, number: int) -> None:
        """Nothing, if somebody waits for the order.

        Raises:
            _DroppedError: nobody does.
        """
        if number in self._dropped:
            raise _DroppedError

    def _receive(self) -> None:
        try:
            while True:
                line = read_line(self._stream)
                if "drop" in line:
                    self._dropped.add(line["drop"])
                    continue
                wanted = [Wanted(**order) for order in line["orders"]]
                self._groups.put([(w, read_data(self._stream, w.size, _LARGEST_FILE)) for w in wanted])
        except (EOFError, OSError):
            pass
        finally:
            self._ended()


class Bench:
    """The models, and what is done with them.

    Args:
        setup: which ones, where and within what.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: there is no such device, or two models of one name.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._device = choose_device(setup.device)
        self._models = dict[str, nn.Module]()
        for name in setup.models:
            called = zoo.called(name)
            if called in self._models:
                raise UsageError(f"expected models of different names, came {called} twice; rename a file")
            self._models[called] = zoo.load_model(name)
        tells = any(hasattr(model, "instruction_width") for model in self._models.values())
        self._instructions = Instructions() if tells else None
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        self._base = _LIBRARIES + (_ENCODER if tells else 0) + sum(map(_weight, self._models.values()))

    def offers(self) -> list[Offer]:
        """The models, in the order in which they were named."""
        return [
            Offer(
                name=name,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                takes_instruction=hasattr(model, "instruction_width"),
                can_look=_look_of(model) is not None,
                title=_title(model),
            )
            for name, model in self._models.items()
        ]

    def decode(self, data: bytes) -> Picture:
        """The picture, without what it says of people and places.

        Raises:
            InputError: as `image.decode`.
        """
        options = ReadOptions(strip_metadata=True)
        return image.decode(data, name=NAME, max_pixels=self._setup.max_pixels, options=options)

    def restorer(self, wanted: Wanted, picture: Picture, follow: Any) -> Restorer:
        """What restores this picture.

        Args:
            wanted: names the model and the instruction.
            picture: decides what memory is left for the model.
            follow: as `Restorer`'s progress.
        """
        on_cpu = self._device.type == "cpu"
        restorer = Restorer(
            self._models[wanted.model],
            device=str(self._device),
            instruction=wanted.instruction,
            instruction_head=self._instructions,
            memory_limit=self._setup.memory if on_cpu else None,
            scratch="auto" if self._setup.scratch else None,
            progress=follow,
        )
        copies = 1 if picture.alpha is None else 3  # its colours once more, without what alpha hides
        restorer.occupied = self._base + wanted.size + copies * picture.pixels.nbytes
        return restorer

    def check_encoding(self, picture: Picture, kind: Format) -> None:
        """Find out whether there is room to encode it, before any long work.

        Raises:
            InputError: there is none (code `memory_limit`).
        """
        if not self.has_room(picture, _ENCODING.get(kind, 0) * picture.pixels.itemsize):
            height, width = picture.pixels.shape[:2]
            raise InputError(
                f"{NAME} ({width} x {height}) is too large to be encoded as {kind.upper()} in the memory "
                "that there is; ask for jpeg, png or tiff",
                code="memory_limit",
            )

    def has_room(self, picture: Picture, bytes_a_pixel: int) -> bool:
        """Whether so much may be taken beside a result."""
        height, width = picture.pixels.shape[:2]
        return self._base + picture.pixels.nbytes + bytes_a_pixel * height * width <= self._setup.memory

    def look(self, wanted: Wanted, picture: Picture) -> Picture:
        """How the model routes the picture, over the picture.

        Raises:
            UsageError: it has nothing to show.
        """
        model = self._models[wanted.model]
        name = _look_of(model)
        if name is None:
            raise UsageError(f"the model {wanted.model} has no routing to show; take one with can_look")
        step = max(
            max(picture.pixels.shape[:2]) // (2 * LOOK_SIDE), 1
        )  # most of a large one never becomes floats
        shown, _ = fit(image.to_tensor(picture.pixels[::step, ::step]), LOOK_SIDE, "scale")
        room = max(self._setup.memory - self._base - picture.pixels.nbytes, 64 * memory.MIB)
        pixels = room / float(getattr(model, "bytes_per_pixel", memory.DEFAULT_BYTES_PER_PIXEL))
        seen, _ = fit(shown, max(int(pixels**0.5), memory.SMALLEST_TILE), "scale")
        maps = finest_maps(look(model, seen.to(self._device), looks=[name]))
        if maps is None:
            raise UsageError(f"the model {wanted.model} has nothing to choose between; it shows no routing")
        like = np.empty((*shown.shape[-2:], 3), np.uint8)
        return Picture(pixels=image.from_tensor(paint(maps, shown), like=like))


def _look_of(model: nn.Module) -> str | None:
    """Of the looks that are maps, the one for which the model has places."""
    return next((name for name in _MAPPED if LOOKS[name].find(model)), None)


def _title(model: nn.Module) -> str:
    try:
        return ARCHITECTURES[name_architecture(model)].paper.title
    except ModelError:  # somebody else's network
        return ""


def _weight(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


class _Task:
    """An order while it is done.

    Args:
        wanted: the order.
        data: its file.
        inbox: says whether it was dropped.
        send: tells the engine.
    """

    def __init__(self, wanted: Wanted, data: bytes, inbox: Inbox, send: Callable[..., None]) -> None:
        self.wanted = wanted
        self.data = data
        self.format: Format = "png"
        self._inbox = inbox
        self._send = send
        self._told = self._started = time.monotonic()

    def check(self) -> None:
        """Nothing, if somebody waits for it; `_DroppedError` otherwise."""
        self._inbox.check(self.wanted.id)

    def follow(self, done: int, total: int) -> None:
        """Steps of the model, as they are done."""
        self.check()
        now = time.monotonic()
        if now - self._told >= 1 / SHARES_A_SECOND:
            self._told = now
            share = _DECODED + (_RESTORED - _DECODED) * done / total
            self._send({"id": self.wanted.id, "share": round(share, 4)})

    def decode(self, bench: Bench) -> Picture:
        """The picture, if its result can be stored as is asked for."""
        self.check()
        picture = bench.decode(self.data)
        self.data = b""
        if self.wanted.wish == "restore":
            self.format = self.wanted.format or picture.format
            image.check_holds(picture, f"{NAME}.{self.format}")  # now, not after the computing
            bench.check_encoding(picture, self.format)
        return picture

    def finish(self, result: Picture, *, whole: bool) -> None:
        """Encode, and send; `whole` as of `image.encode`."""
        self.check()
        data = image.encode(result, self.format, whole=whole)
        height, width = result.pixels.shape[:2]
        done = {
            "format": self.format,
            "width": width,
            "height": height,
            "bit_depth": result.pixels.dtype.itemsize * 8,
            "model": self.wanted.model,
            "seconds": round(time.monotonic() - self._started, 3),
            "warnings": result.warnings,
        }
        self._send({"id": self.wanted.id, "done": done, "size": len(data)}, data)

    @contextlib.contextmanager
    def ended(self) -> Generator[None]:
        """Tell the engine what becomes of the order, if it is no result."""
        try:
            yield
        except _DroppedError:
            self._send({"id": self.wanted.id, "dropped": True})
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the engine shall hear of it)
            self._send({"id": self.wanted.id, "error": tell_error(_foreseen(error))})


def _foreseen(error: Exception) -> AnyRestoreError:
    """What a client may be told; of what was not foreseen nothing, that goes to the log."""
    if isinstance(error, AnyRestoreError):
        return error
    if memory.is_out_of_memory(error):
        return InputError(f"memory ran out for {NAME}; send a smaller one", code="out_of_memory")
    traceback.print_exception(error)
    sentence = f"something that was not foreseen happened to {NAME}; try another"
    return AnyRestoreError(sentence, code="internal")


def work(bench: Bench, tasks: Sequence[_Task]) -> None:
    """Do orders that came together: small pictures of one size in one pass, others one after another."""
    together = list[tuple[_Task, Picture, Restorer]]()
    for task in tasks:
        with task.ended():
            picture = task.decode(bench)
            if task.wanted.wish == "look":
                task.finish(bench.look(task.wanted, picture), whole=True)
                continue
            restorer = bench.restorer(task.wanted, picture, task.follow)
            if restorer.goes_together(picture):
                together.append((task, picture, restorer))
                continue
            result = restorer(picture)
            del picture, restorer
            task.finish(result, whole=bench.has_room(result, _BEST_JPEG))
            del result
    for group in _of_one_size(together):
        _do_together(group)


def _of_one_size(
    entries: Sequence[tuple[_Task, Picture, Restorer]],
) -> list[list[tuple[_Task, Picture, Restorer]]]:
    found = dict[tuple[str, tuple[int, ...]], list[tuple[_Task, Picture, Restorer]]]()
    for entry in entries:
        found.setdefault((entry[0].wanted.model, entry[1].pixels.shape[:2]), []).append(entry)
    return [of[i : i + TOGETHER] for of in found.values() for i in range(0, len(of), TOGETHER)]


def _do_together(entries: Sequence[tuple[_Task, Picture, Restorer]]) -> None:
    results: list[Picture] | None = None
    if len(entries) > 1:
        with contextlib.suppress(AnyRestoreError, MemoryError, RuntimeError):  # which one it was shows alone
            results = entries[0][2].restore_together([picture for _, picture, _ in entries])
    for i, (task, picture, restorer) in enumerate(entries):
        with task.ended():
            result = restorer.restore_together([picture])[0] if results is None else results[i]
            task.finish(result, whole=True)


def serve(bench: Bench, inbox: Inbox, answers: IO[bytes]) -> None:
    """Do what is ordered, for ever.

    Args:
        bench: the models.
        inbox: the orders.
        answers: where they go.
    """

    def send(message: dict[str, Any], data: bytes = b"") -> None:
        answers.write(to_line(message))
        answers.write(data)
        answers.flush()

    offers = [asdict(offer) for offer in bench.offers()]
    send({"hello": {"offers": offers, "together": TOGETHER, "together_pixels": TOGETHER_PIXELS}})
    while True:
        group = inbox.next()
        tasks = [_Task(wanted, data, inbox, send) for wanted, data in group]
        del group
        work(bench, tasks)
        del tasks
        memory.resident()  # what the C library keeps goes back


def _give_way() -> None:
    """Let others go first on the processor; on Linux each thread has a priority, which later ones inherit."""
    if sys.platform == "linux":
        priority = os.getpriority(os.PRIO_PROCESS, 0) + _NICE
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), priority)


def _bound_memory(limit: int) -> None:
    """Be the first that the kernel kills where memory runs out, and never take several times a limit.

    The limit itself is kept by the choice of a way; this is for a library that is led astray by a picture. It
    has to be wide, since it counts what is asked for, not what is used: private memory that may be written
    to. (RLIMIT_AS would count mapped libraries too.)
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if sys.platform.startswith("linux"):
        import resource  # noqa: PLC0415 (POSIX only)

        hardest = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = memory.occupied("VmData") + 2 * limit + _SPARE
        if hardest == resource.RLIM_INFINITY or most < hardest:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hardest))


def main() -> None:
    """Work; what libraries print goes where errors go."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        setup = Setup(**read_line(sys.stdin.buffer))
        # With its engine the process ends, whatever is being done.
        inbox = Inbox(sys.stdin.buffer, lambda: os._exit(0))
        try:
            bench = Bench(setup)
        except AnyRestoreError as error:
            answers.write(to_line({"failed": tell_error(error)}))
            return
        _bound_memory(setup.memory)
        _give_way()  # not before: one that starts in the place of another is waited for
        with contextlib.suppress(BrokenPipeError):
            serve(bench, inbox, answers)
        os._exit(0)  # nobody is left to be told


if __name__ == "__main__":
    main()

"""Decoding, in this process or in one of its own: there a decoder that crashes or hangs costs one picture.

What a file says may lead a C library astray, and a crash in it ends its process. `Isolated` decodes in a
child process, which is asked for one picture after another through pipes, is killed when it takes too long,
and is replaced when it has died. Orders and answers are lines of JSON, pixels follow as they are in memory;
nothing that comes back can name code. The child ends when its orders end, so also with a parent that was
killed.

`python -m anyrestore.batch.decoding` is the child.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from anyrestore import image
from anyrestore.errors import AnyRestoreError, InputError, OutputError
from anyrestore.image import Header, Metadata, Picture, Pixels, ReadOptions
from anyrestore.image.picture import blank
from anyrestore.scratch import release
from anyrestore.storage import shown

__all__ = ["Decoder", "Isolated", "serve"]

T = TypeVar("T")

_START_SECONDS = 120.0
"""That a child may take until it can be asked: it loads libraries, from a slow disk perhaps."""
_END_SECONDS = 5.0
"""That a child may take to end once its pipe has ended."""
_PIECE = 2**22  # bytes of a picture that pass at once
_BLOBS = ("icc", "exif", "xmp", "iptc")  # what is bytes in a picture's metadata
_ERRORS = {"InputError": InputError, "OutputError": OutputError}


class Decoder:
    """Decodes in this process, one picture at a time.

    Args:
        options: what is taken, kept and mended beyond the defaults.
    """

    def __init__(self, options: ReadOptions | None = None) -> None:
        self._options = ReadOptions() if options is None else options

    def read_header(self, path: Path, *, max_pixels: int) -> Header:
        """As `image.read_header`."""
        return image.read_header(path, max_pixels=max_pixels, options=self._options)

    def read(self, path: Path, *, max_pixels: int, keep_gps: bool, scratch: Path | None) -> Picture:
        """As `image.read`."""
        return image.read(
            path, max_pixels=max_pixels, keep_gps=keep_gps, scratch=scratch, options=self._options
        )

    def close(self) -> None:
        """End what is being decoded, if it can be ended; also from another thread."""


class Isolated(Decoder):
    """Decodes in a child process, which is started when it is needed first.

    Its errors are those of `image.read`, and of its own `InputError` with the codes `decoder_crashed` and
    `time_limit`; `AnyRestoreError` with `process_lost` where no child can be started.

    Args:
        options: as of `Decoder`.
        seconds: that a picture may take, from the order to its last pixel.
        command: what runs :func:`serve`; None for this module.
    """

    def __init__(
        self, options: ReadOptions | None = None, *, seconds: float, command: Sequence[str] | None = None
    ) -> None:
        super().__init__(options)
        self._seconds = seconds
        self._command = list(command or (sys.executable, "-m", "anyrestore.batch.decoding"))
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._asking = self._closed = False

    def read_header(self, path: Path, *, max_pixels: int) -> Header:
        """As `image.read_header`."""
        order: dict[str, object] = {"do": "header", "path": str(path), "max_pixels": max_pixels}
        return self._ask(order, path, _header_of)

    def read(self, path: Path, *, max_pixels: int, keep_gps: bool, scratch: Path | None) -> Picture:
        """As `image.read`. With a scratch folder child and parent have a file each while pixels pass."""
        order: dict[str, object] = {"do": "read", "path": str(path), "max_pixels": max_pixels}
        order |= {"keep_gps": keep_gps, "scratch": None if scratch is None else str(scratch)}
        return self._ask(order, path, lambda answer, rest: _picture_of(answer, rest, scratch))

    def close(self) -> None:
        """End the child, at once."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()
            if self._asking:
                return  # who asks finds out, and clears away
        self._drop()

    def _ask(
        self, order: dict[str, object], path: Path, understand: Callable[[dict[str, Any], IO[bytes]], T]
    ) -> T:
        with self._lock:
            self._asking = True
        order = {**order, "options": dataclasses.asdict(self._options)}
        try:
            return self._ask_running(self._running(), order, path, understand)
        finally:
            with self._lock:
                self._asking = False
            if self._closed:
                self._drop()

    def _ask_running(
        self,
        child: subprocess.Popen[bytes],
        order: dict[str, object],
        path: Path,
        understand: Callable[[dict[str, Any], IO[bytes]], T],
    ) -> T:
        assert child.stdin is not None
        assert child.stdout is not None
        late = _Deadline(child, self._seconds)
        try:
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.flush()
            answer = _line(child.stdout)
            understood = None if "error" in answer else understand(answer, child.stdout)
        except (EOFError, BrokenPipeError):
            raise self._died(path, late) from None
        except BaseException:  # a full disk, Ctrl-C: what is left in the pipe would be taken for an answer
            child.kill()
            self._drop()
            raise
        finally:
            late.lift()
        if late.passed:  # killed between its last byte and now
            self._drop()
        if understood is None:
            raise _error_of(answer["error"])
        return understood

    def _running(self) -> subprocess.Popen[bytes]:
        """The child, a new one if there is none.

        Raises:
            AnyRestoreError: it does not start (code `process_lost`).
        """
        with self._lock:
            if self._closed:
                raise AnyRestoreError("the decoding process was ended", code="process_lost")
            if self._child is not None:
                return self._child
            # A session of its own: Ctrl-C is for the parent, which ends the child in good order.
            self._child = subprocess.Popen(  # noqa: S603 (this program)
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pipesize=2**20,
                start_new_session=True,
            )
            child = self._child
        assert child.stdout is not None
        late = _Deadline(child, _START_SECONDS)
        try:
            _line(child.stdout)
        except (EOFError, ValueError):
            child.kill()
            self._drop()
            raise AnyRestoreError(
                "the process that was to decode pictures did not start; try without isolation",
                code="process_lost",
            ) from None
        finally:
            late.lift()
        return child

    def _died(self, path: Path, late: _Deadline) -> AnyRestoreError:
        """Drop a child whose answer ended early, and say what became of the picture."""
        status = self._drop()
        if self._closed:
            return AnyRestoreError("the decoding process was ended", code="process_lost")
        if late.passed:
            return InputError(
                f"{shown(path)} took more than {self._seconds:g} seconds to decode; it was given up.",
                code="time_limit",
            )
        how = f"exit code {status}" if status >= 0 else _signal_name(-status)
        return InputError(f"{shown(path)} made its decoder crash ({how}).", code="decoder_crashed")

    def _drop(self) -> int:
        """Get rid of the child; its exit status."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return 0
        try:
            status = child.wait(_END_SECONDS)  # it was killed, or its pipe has ended, and so will it
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                _close(pipe)
        return status


class _Deadline:
    """Kills a child after so many seconds, unless it is lifted before."""

    def __init__(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._child = child
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def _pass(self) -> None:
        self.passed = True
        self._child.kill()

    def lift(self) -> None:
        """The child has answered."""
        self._timer.cancel()
        self._timer.join()


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # what was still to be written finds nobody
        pipe.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --------------------------------------------------------------------------------------------
# What passes


def _line(stream: IO[bytes]) -> dict[str, Any]:
    """An answer.

    Raises:
        EOFError: there is no whole one.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def _header_of(answer: dict[str, Any], _: IO[bytes]) -> Header:
    return Header(**answer)


def _error_of(told: Sequence[str]) -> Exception:
    kind, message, code = told
    if kind == "MemoryError":
        return MemoryError(message)
    if kind in _ERRORS:
        return _ERRORS[kind](message, code=code)
    return AnyRestoreError(f"{kind}: {message}" if code == "internal" else message, code=code)


def _picture_of(answer: dict[str, Any], stream: IO[bytes], scratch: Path | None) -> Picture:
    fields = dict(answer["metadata"])
    for name in _BLOBS:
        size = fields[name]
        fields[name] = None if size is None else _exactly(stream, size)
    fields["text"] = tuple((key, text) for key, text in fields["text"])
    fields["resolution"] = None if fields["resolution"] is None else tuple(fields["resolution"])
    arrays = [blank(tuple(shape), answer["dtype"], scratch) for shape in answer["shapes"]]
    for array in arrays:
        for rows in _pieces(array):
            _fill(stream, rows)
            release(rows)
    return Picture(
        pixels=arrays[0],
        alpha=arrays[1] if len(arrays) > 1 else None,
        format=answer["format"],
        metadata=Metadata(**fields),
        warnings=tuple(answer["warnings"]),
    )


def _send_picture(picture: Picture, stream: IO[bytes]) -> None:
    arrays = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    fields: dict[str, Any] = dataclasses.asdict(picture.metadata)
    blobs = [fields[name] for name in _BLOBS if fields[name] is not None]
    fields.update({name: None if fields[name] is None else len(fields[name]) for name in _BLOBS})
    answer = {
        "metadata": fields,
        "shapes": [array.shape for array in arrays],
        "dtype": picture.pixels.dtype.name,
        "format": picture.format,
        "warnings": picture.warnings,
    }
    stream.write(json.dumps(answer).encode() + b"\n")
    for blob in blobs:
        stream.write(blob)
    for array in arrays:
        for rows in _pieces(array):
            stream.write(np.ascontiguousarray(rows).data)
            release(rows)


def _pieces(array: Pixels) -> list[Pixels]:
    rows = max(_PIECE // max(math.prod(array.shape[1:]) * array.itemsize, 1), 1)
    return [array[top : top + rows] for top in range(0, len(array), rows)]


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _fill(stream: IO[bytes], array: Pixels) -> None:
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        count: int = stream.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType] (every binary stream has it, typing.IO does not)
        if not count:
            raise EOFError
        rest = rest[count:]


# --------------------------------------------------------------------------------------------
# The child


def serve(orders: IO[bytes], answers: IO[bytes]) -> None:
    """Do what is ordered, until there are no more orders.

    Args:
        orders: lines of JSON: what to do (header or read), path and options.
        answers: first an empty object, then for each order a line of JSON, and a picture's bytes behind it.
    """
    answers.write(b"{}\n")
    answers.flush()
    for line in orders:
        order = json.loads(line)
        path, max_pixels = order["path"], order["max_pixels"]
        options = ReadOptions(**order["options"])
        try:
            if order["do"] == "header":
                header = image.read_header(path, max_pixels=max_pixels, options=options)
                answers.write(json.dumps(dataclasses.asdict(header)).encode() + b"\n")
            else:
                picture = image.read(
                    path,
                    max_pixels=max_pixels,
                    keep_gps=order["keep_gps"],
                    scratch=order["scratch"],
                    options=options,
                )
                _send_picture(picture, answers)
                del picture  # not while the next one is waited for
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent shall hear of it)
            code = error.code if isinstance(error, AnyRestoreError) else "internal"
            told = [type(error).__name__, str(error), code]
            answers.write(json.dumps({"error": told}).encode() + b"\n")
        answers.flush()


def main() -> None:
    """Answer on what was standard output; what libraries print goes where errors go."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        try:
            serve(sys.stdin.buffer, answers)
        except BrokenPipeError:
            os._exit(0)  # nobody is left to be told


if __name__ == "__main__":
    main()

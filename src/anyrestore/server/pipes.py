"""What passes between the engine and a worker: lines of JSON, files' bytes behind them.

Nothing that comes back can name code, and nothing that a worker may send (it may have been led astray by a
picture) makes the engine hold more than was agreed on: lines and sizes have limits. This file imports no
tensors; the engine's process does without them.

| from the engine | |
|---|---|
| `{"models": ...}` | the first line: `Setup` |
| `{"orders": [{"id", "size", ...}]}` | `Wanted`, one or several to be done in one pass; then their files |
| `{"drop": id}` | nobody waits for it any more |

| from a worker | |
|---|---|
| `{"hello": {"offers", "together", "together_pixels"}}` | it has its models |
| `{"failed": error}` | it cannot have them, and ends |
| `{"id", "share"}` | how much of an order is done, 0 to 1 |
| `{"id", "done": {...}, "size"}` | `Answer` without its data; then the file |
| `{"id", "error": error}` | |
| `{"id", "dropped": true}` | as it was told |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

from anyrestore.errors import AnyRestoreError, InputError, ModelError, OutputError, UsageError
from anyrestore.image import Format

NAME = "the picture"
"""What sentences call what a client sent: it has no name here."""
LINE = 2**16
"""Bytes of a line from a worker, at most."""

_ERRORS = {kind.__name__: kind for kind in (InputError, UsageError, ModelError, OutputError)}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker has to know from the start; as in `Settings`."""

    models: Sequence[str]
    device: str
    threads: int | None
    memory: int
    scratch: bool
    max_pixels: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An order, without its data; see `orders.Order`."""

    id: int
    size: int
    model: str
    instruction: str | None
    format: Format | None
    wish: Literal["restore", "look"]


def read_line(stream: IO[bytes], limit: int = -1) -> dict[str, Any]:
    """The next line.

    Raises:
        EOFError: there is none.
        ValueError: it is too long, or no JSON object.
    """
    line = stream.readline(limit)
    if not line:
        raise EOFError
    if not line.endswith(b"\n"):
        raise ValueError("a line was cut, or too long")
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no JSON object")
    return cast("dict[str, Any]", found)


def read_data(stream: IO[bytes], size: object, limit: int) -> bytes:
    """A file's bytes.

    Raises:
        EOFError: the stream ended before.
        ValueError: the size is none, or above the limit.
    """
    if not isinstance(size, int) or not 0 <= size <= limit:
        raise ValueError("a size is out of range")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def to_line(message: dict[str, Any]) -> bytes:
    """A message as it passes."""
    return json.dumps(message).encode() + b"\n"


def tell_error(error: AnyRestoreError) -> list[str]:
    """An error as it passes."""
    return [type(error).__name__, error.message, error.code]


def understand_error(told: Any) -> AnyRestoreError:
    """An error that was told of.

    Raises:
        ValueError: it was not.
    """
    kind, message, code = (str(part) for part in told)
    return _ERRORS.get(kind, AnyRestoreError)(message, code=code)

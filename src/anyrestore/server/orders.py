"""What is asked of the engine, and what it answers: bytes in, bytes out.

`Engine` is what the routes and the page know of `engine.py`; tests put a stub in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from anyrestore.image import Format

MAX_INSTRUCTION = 500
"""Characters of an instruction, at most."""

Progress = Callable[[float], None]
"""Told the share of the work that is done, 0 to 1, from time to time, in the event loop's thread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """One picture, and what is to be done with it.

    Attributes:
        data: the file, as it was sent.
        model: a name among `Settings.models` as clients call them; None for the first.
        instruction: what to do, in words, for a model that takes instructions.
        format: of the result; None for that of the picture.
        wish: "restore", or "look": how the model routes the picture, as a PNG of about its size.
    """

    data: bytes
    model: str | None = None
    instruction: str | None = None
    format: Format | None = None
    wish: Literal["restore", "look"] = "restore"


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The result.

    Attributes:
        data: the file.
        format: its format.
        width: displayed width in pixels.
        height: displayed height in pixels.
        bit_depth: bits per channel: 8, 16 or 32 (float).
        model: what it was made with.
        seconds: that the worker took.
        warnings: a sentence for everything that was odd in the picture, or dropped.
    """

    data: bytes
    format: Format
    width: int
    height: int
    bit_depth: int
    model: str
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A model that clients may choose.

    Attributes:
        name: what they call it.
        parameters: how many it has.
        takes_instruction: whether it does what it is told; then it must be told.
        can_look: whether it can show how it routes a picture.
        title: of the paper; empty where there is none.
    """

    name: str
    parameters: int
    takes_instruction: bool
    can_look: bool
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is going on in the engine, at this moment.

    Attributes:
        waiting: orders that are let in and wait.
        running: orders that workers have, those included that were dropped and not let go of yet.
        pixels: of all orders that are let in.
        workers: that have their models.
        restarts: workers that were started in the place of one that ended, since the start.
    """

    waiting: int = 0
    running: int = 0
    pixels: int = 0
    workers: int = 0
    restarts: int = 0


@runtime_checkable
class Engine(Protocol):
    """Lets orders in and has them done; every call in the event loop's thread."""

    @property
    def ready(self) -> bool:
        """Whether every worker has its models, and the service is not ending."""
        ...

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The models, the default first."""
        ...

    @property
    def load(self) -> Load:
        """What is going on."""
        ...

    def check_room(self) -> None:
        """Nothing, if an order would be let in now; asked before a body is read.

        Raises:
            ServiceError: codes `busy`, `stopping`, `not_ready`; see `do`.
        """
        ...

    async def do(self, order: Order, *, progress: Progress | None = None) -> Answer:
        """Have an order done; cancelling the task drops it, running or not.

        Raises:
            InputError: the picture cannot be used; codes as of `image.decode`, `out_of_memory` among them.
            ModelError: `unknown_model`.
            UsageError: `usage` (no instruction, or one too many), `format_cannot_hold`.
            ServiceError: `busy` (nothing is kept of the order; `retry_after` says when to come again),
                `stopping`, `not_ready`, `time_limit`, `worker_lost`.
        """
        ...

    async def start(self) -> None:
        """Start the workers, and return when the first has its models; `ready` says when all have.

        Raises:
            ModelError: there is no such model, or its weights cannot be used.
            UsageError: there is no such device, or two models have one name.
            ServiceError: the first worker ended as it started (code `worker_lost`).
        """
        ...

    async def stop(self, seconds: float) -> None:
        """Let nothing more in, finish what is in for so long, then end the workers; no process is left.

        What is not finished by then ends with `ServiceError` (`stopping`).
        """
        ...

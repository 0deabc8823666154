"""An engine without workers: what it is sent comes back, when it is told to."""

from __future__ import annotations

import asyncio

from anyrestore.errors import AnyRestoreError, InputError, ServiceError
from anyrestore.server.orders import Answer, Load, Offer, Order, Progress

OFFERS = (
    Offer(name="cea-t", parameters=1_600_000, takes_instruction=False, can_look=True, title="CEA-IR"),
    Offer(name="instructir-t", parameters=2_000_000, takes_instruction=True, can_look=False),
)


class StubEngine:
    """Answers with the order's own bytes, as PNG unless told.

    Attributes:
        places: orders that may be in at once.
        gate: orders wait until it is set.
        error: raised in place of an answer.
        orders: all that were let in.
        dropped: how many of them were cancelled.
        answered: how many of them were answered.
    """

    def __init__(self, *, places: int = 10, offers: tuple[Offer, ...] = OFFERS, ready: bool = True) -> None:
        self.places = places
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.orders = list[Order]()
        self.open = self.dropped = self.answered = 0
        self.stopping = False
        self.is_ready = ready
        self.start_error: AnyRestoreError | None = None
        self._offers = offers
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        return self.is_ready and not self.stopping

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    @property
    def load(self) -> Load:
        return Load(running=self.open, pixels=self.open * 64 * 48, workers=2, restarts=1)

    def check_room(self) -> None:
        if self.stopping:
            raise ServiceError("the service is ending; ask another one", code="stopping")
        if not self.is_ready:
            raise ServiceError("the models are being loaded", code="not_ready", retry_after=3)
        if self.open >= self.places:
            raise ServiceError("too much is waiting", code="busy", retry_after=7)

    async def do(self, order: Order, *, progress: Progress | None = None) -> Answer:
        self.check_room()
        if not order.data:
            raise InputError("the picture is empty", code="empty_file")
        self.orders.append(order)
        self.open += 1
        self._idle.clear()
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        finally:
            self.open -= 1
            if not self.open:
                self._idle.set()
        self.answered += 1
        return Answer(
            data=order.data,
            format=order.format or "png",
            width=64,
            height=48,
            bit_depth=8,
            model=order.model or "cea-t",
            seconds=0.25,
            warnings=("the profile was dropped — it is damaged",),
        )

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.is_ready = True

    async def stop(self, seconds: float) -> None:
        self.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            self.error = ServiceError("the service is ending", code="stopping")
            self.gate.set()
            await self._idle.wait()

"""A picture taken from a request's body, counted as it comes, in memory alone.

Either the body is the picture, or it is a form with the picture in the field `image`. Names of files that
clients give are not even kept. Uploads on their way have places and bytes that are counted; when the places
are taken, the slowest upload gives way if it is so slow that it looks like an attack.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive

from anyrestore.errors import RequestError, ServiceError, UsageError
from anyrestore.server.problems import ClientGoneError
from anyrestore.server.settings import Settings

IMAGE_FIELD = "image"
TEXT_FIELDS = ("model", "instruction", "format")

_TEXT_BYTES = 4096  # of one text field
_PLACES = 2  # for uploads on their way, for each order that may be in
_PATIENCE_SECONDS = 2.0  # for which nobody is too slow
_SLOW = 2**16  # bytes a second, from a client that then gives way


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """What a client sent.

    Attributes:
        data: the picture's file.
        fields: text that came along, by its field.
    """

    data: bytes
    fields: dict[str, str]


@dataclass(eq=False)
class Parcel:
    """An upload on its way, and until it is answered.

    Its bytes are counted in the intake that made it.
    """

    intake: Intake
    task: asyncio.Task[object]
    begun: float = field(default_factory=time.monotonic)
    size: int = 0
    came: int = 0
    gives_way: bool = False

    @property
    def rate(self) -> float:
        """Bytes a second so far; infinite in the beginning."""
        seconds = time.monotonic() - self.begun
        return self.came / seconds if seconds > _PATIENCE_SECONDS else float("inf")

    async def read(self, headers: Headers, receive: Receive) -> Upload:
        """The upload; nothing of it is on disk.

        Raises:
            RequestError: `unsupported_media`, `too_large`, `bad_request`, `too_slow`.
            ServiceError: `busy`, or what the engine says when it is asked for room.
            ClientGoneError: the client has left.
        """
        take = _taker(headers, self.intake.settings)
        try:
            async for piece in self.follow(_pieces(receive)):
                self.intake.budget.claim(len(piece))
                self.size += len(piece)
                take.write(piece)
            return take.finish()
        finally:
            take.drop()

    async def follow(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A body's pieces as they come, for who counts them, until this upload has to give way.

        Raises:
            RequestError: `too_slow`.
            ServiceError: what the engine says when it is asked for room.
        """
        try:
            async for piece in pieces:
                self.came += len(piece)
                self.intake.check_room()
                yield piece
        except asyncio.CancelledError:
            if not self.gives_way:
                raise
            self.task.uncancel()
            raise RequestError("others wait, and this upload is too slow", code="too_slow") from None


class Budget:
    """Bytes that clients may have in memory, all of them together.

    Args:
        capacity: at most so many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are claimed."""
        return self._held

    def claim(self, size: int) -> None:
        """Count bytes.

        Raises:
            ServiceError: `busy`: there is no room for them, and they are not counted.
        """
        if self._held + size > self._capacity:
            raise ServiceError(
                "too many pictures are on their way; try again in a few seconds", code="busy", retry_after=5
            )
        self._held += size

    def release(self, size: int) -> None:
        """Count bytes no longer."""
        self._held -= size


class Intake:
    """The uploads on their way.

    Args:
        settings: the limits.
        check_room: raises if an order would not be let in now.
    """

    def __init__(self, settings: Settings, check_room: Callable[[], None]) -> None:
        self.settings = settings
        self.check_room = check_room
        self.budget = Budget(settings.bytes_in_flight)
        """Of uploads on their way, those that wait for their answer, and what the page keeps."""
        self._coming = set[Parcel]()
        self._places = _PLACES * (settings.workers + settings.queue)

    @contextmanager
    def parcel(self) -> Generator[Parcel]:
        """Room for an upload, from before its body to its answer.

        Raises:
            ServiceError: there is none.
        """
        self.check_room()
        task = asyncio.current_task()
        assert task is not None
        if len(self._coming) >= self._places:
            self._make_way()
        parcel = Parcel(self, task)
        self._coming.add(parcel)
        try:
            yield parcel
        finally:
            self._coming.discard(parcel)
            self.budget.release(parcel.size)

    def arrived(self, parcel: Parcel) -> None:
        """Its place is free; its bytes still count."""
        self._coming.discard(parcel)

    def _make_way(self) -> None:
        slowest = min(self._coming, key=lambda parcel: parcel.rate)
        if slowest.rate > _SLOW:
            raise ServiceError(
                "too many uploads are under way; try again in a moment", code="busy", retry_after=2
            )
        self._coming.discard(slowest)
        slowest.gives_way = True
        slowest.task.cancel()


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _taker(headers: Headers, settings: Settings) -> _Raw | _Form:
    """What takes a body of that type apart.

    Raises:
        RequestError: `unsupported_media`; `too_large`, by the length that was announced; `bad_request`.
    """
    kind, options = parse_options_header(headers.get("content-type", "application/octet-stream"))
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 70:  # RFC 2046, section 5.1.1
            raise RequestError("the form has no boundary, or one of more than 70 characters")
        return _Form(boundary, settings.max_bytes)
    if not (kind == b"application/octet-stream" or kind.startswith(b"image/")):
        raise RequestError(
            "expected a picture as the body (Content-Type: image/png, for example, or "
            f"application/octet-stream), or a form with the field {IMAGE_FIELD}",
            code="unsupported_media",
        )
    if int(headers.get("content-length", "0")) > settings.max_bytes:
        raise _too_large(settings.max_bytes)
    return _Raw(settings.max_bytes)


class _Raw:
    """A body that is the picture."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def write(self, piece: bytes) -> None:
        if len(self._data) + len(piece) > self._limit:
            raise _too_large(self._limit)
        self._data += piece

    def finish(self) -> Upload:
        return Upload(data=bytes(self._data), fields={})

    def drop(self) -> None:
        self._data.clear()


class _Form:
    """A form (RFC 7578) with one file and a few short texts, each at most once."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self._limits = {IMAGE_FIELD: limit} | dict.fromkeys(TEXT_FIELDS, _TEXT_BYTES)
        self._found = dict[str, bytearray]()
        self._name = bytearray()  # of the header that is being read
        self._value = bytearray()
        self._headers = dict[bytes, bytes]()
        self._field = ""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add,
                "on_end": self._end,
            },
            max_header_count=8,
            max_header_size=4096,
        )

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise RequestError("the form is not one that RFC 7578 describes") from error

    def finish(self) -> Upload:
        if not self._ended:
            raise RequestError("the form is cut short: its last boundary is missing")
        if IMAGE_FIELD not in self._found:
            raise UsageError(f"expected a field {IMAGE_FIELD} in the form, with the picture")
        try:
            fields = {name: self._found[name].decode() for name in TEXT_FIELDS if name in self._found}
        except UnicodeDecodeError:
            raise RequestError("a text field of the form is not UTF-8") from None
        return Upload(data=bytes(self._found[IMAGE_FIELD]), fields=fields)

    def drop(self) -> None:
        """Let go of everything: parser and form hold each other, and would wait for Python's collector."""
        self._found.clear()
        self._parser.callbacks = {}

    # What the parser calls, with a buffer and the part of it that is meant.

    def _begin(self) -> None:
        self._headers.clear()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("latin-1")
        if name not in self._limits:
            raise UsageError(
                f"the form has a field that is not known; expected {IMAGE_FIELD}, {', '.join(TEXT_FIELDS)}"
            )
        if name in self._found:
            raise UsageError(f"the form has the field {name} more than once")
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise RequestError(
                "encoded fields are not taken; send bytes as they are", code="unsupported_media"
            )
        self._field = name
        self._found[name] = bytearray()

    def _add(self, data: bytes, start: int, end: int) -> None:
        found, limit = self._found[self._field], self._limits[self._field]
        if len(found) + end - start > limit:
            raise _too_large(limit)
        found += data[start:end]

    def _end(self) -> None:
        self._ended = True


def _too_large(limit: int) -> RequestError:
    return RequestError(f"expected at most {limit} bytes; send less", code="too_large")

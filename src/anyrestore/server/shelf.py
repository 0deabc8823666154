"""Pictures between two requests of the page: in memory, for a minute, under names that nobody can guess.

The page sends a picture in one request, and has it restored in another, whose answer it fetches in a third.
What is put here is handed out once, and gone; nothing is on a disk, and no name of a client's is used.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from anyrestore.errors import InputError
from anyrestore.server.upload import Budget

KEPT_SECONDS = 60.0
"""What nobody has fetched for so long is dropped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A file, and what it is.

    Attributes:
        data: the file.
        media_type: as of Content-Type.
        result: whether a client has been told, or will be, to fetch it.
    """

    data: bytes
    media_type: str
    result: bool = False


class Shelf:
    """Holds files until they are fetched; every call in one thread.

    Args:
        budget: where the bytes of all files count that lie here or are arriving.
        seconds: that a file lies here at most.
    """

    def __init__(self, budget: Budget, seconds: float = KEPT_SECONDS) -> None:
        self._budget = budget
        self._seconds = seconds
        self._files: dict[str, tuple[float, Kept]] = {}  # oldest first

    @property
    def has_results(self) -> bool:
        """Whether something lies here that a client is to fetch."""
        self.sweep()
        return any(kept.result for _, kept in self._files.values())

    def put(self, kept: Kept) -> str:
        """Put a file there, and say its name.

        Raises:
            ServiceError: ``busy``: there is no room.
        """
        self._claim(len(kept.data))
        name = secrets.token_urlsafe(24)
        self._files[name] = (time.monotonic() + self._seconds, kept)
        return name

    def take(self, name: str) -> Kept | None:
        """Take a file away; None where there is none of that name, or no longer."""
        self.sweep()
        found = self._files.pop(name, None)
        if found is None:
            return None
        self._budget.release(len(found[1].data))
        return found[1]

    async def receive(self, chunks: AsyncIterator[bytes], *, largest: int) -> str:
        """Put there what comes piece by piece, counted as it comes.

        Raises:
            InputError: ``file_too_large``, ``empty_file``.
            ServiceError: ``busy``: there is no room.
        """
        pieces, size = list[bytes](), 0
        try:
            async for chunk in chunks:
                if size + len(chunk) > largest:
                    raise too_large(largest)
                self._claim(len(chunk))
                size += len(chunk)
                pieces.append(chunk)
        finally:
            self._budget.release(size)
        if not size:
            raise InputError("This file is empty (0 bytes); choose another.", code="empty_file")
        return self.put(Kept(data=b"".join(pieces), media_type="application/octet-stream"))

    def sweep(self) -> None:
        """Drop what has been here too long."""
        now = time.monotonic()
        for name, (until, kept) in list(self._files.items()):
            if until > now:
                return
            del self._files[name]
            self._budget.release(len(kept.data))

    def _claim(self, size: int) -> None:
        self.sweep()
        self._budget.claim(size)


def too_large(largest: int) -> InputError:
    """The refusal of a file that is larger than the service takes."""
    return InputError(
        f"This file is larger than {largest / 2**20:.0f} MiB, which is the limit here; choose a smaller one.",
        code="file_too_large",
    )

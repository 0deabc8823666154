"""An error as an answer of the service: its status, its headers, and JSON of `code`, `message`, `request_id`.

One table says which code has which status. What is not in it was not foreseen here: the client is told
`internal` and the request's number, under which the log has the rest. So no path, no traceback and no name of
a version goes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from anyrestore.errors import AnyRestoreError, ServiceError

STATUSES: dict[str, int] = {
    # The request
    "bad_request": 400,
    "foreign_host": 400,
    "empty_file": 400,
    "unauthorized": 401,
    "foreign_origin": 403,
    "no_route": 404,
    "wrong_method": 405,
    "too_slow": 408,
    "too_large": 413,
    "file_too_large": 413,
    "unsupported_media": 415,
    "usage": 422,
    "unknown_model": 422,
    "format_cannot_hold": 422,
    # The picture
    "bad_input": 422,
    "corrupt": 422,
    "decoder_crashed": 422,
    "format_needs_extra": 422,
    "multi_page": 422,
    "non_finite": 422,
    "not_an_image": 422,
    "too_many_pixels": 422,
    "truncated": 422,
    "unsupported_format": 422,
    "memory_limit": 413,
    "out_of_memory": 413,
    # The service
    "busy": 429,
    "bad_output": 500,
    "internal": 500,
    "output_encoding": 500,
    "worker_lost": 500,
    "not_ready": 503,
    "service": 503,
    "stopping": 503,
    "time_limit": 504,
}
"""The HTTP status of every code that clients are told."""

_RETRY_SECONDS = {429: 2, 503: 5}
"""After which to come again, where the error does not say."""

_INTERNAL = "something unforeseen happened; the service's log has it under the request's number"


class ClientGoneError(Exception):
    """The client has left: there is nobody to answer."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a client is told of an error.

    Attributes:
        status: of HTTP.
        code: the stable word.
        message: one sentence.
        headers: that the error brings along, names in lower case.
        request_id: the request's number, also in the log.
    """

    status: int
    code: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...]
    request_id: str

    @property
    def body(self) -> bytes:
        """The JSON."""
        told = {"code": self.code, "message": self.message, "request_id": self.request_id}
        return json.dumps(told).encode()


def problem_of(error: BaseException, request_id: str) -> Problem:
    """What a client is told of an error; nothing of one that was not foreseen but that it happened."""
    code, message = "internal", _INTERNAL
    if isinstance(error, AnyRestoreError) and error.code in STATUSES:
        code, message = error.code, error.message
    status = STATUSES[code]
    headers = [(b"content-type", b"application/json")]
    if status in _RETRY_SECONDS:
        named = error.retry_after if isinstance(error, ServiceError) else None
        headers.append((b"retry-after", str(named or _RETRY_SECONDS[status]).encode()))
    if status == 401:
        headers += [(b"www-authenticate", kind + b' realm="anyrestore"') for kind in (b"Bearer", b"Basic")]
    return Problem(status=status, code=code, message=message, headers=tuple(headers), request_id=request_id)

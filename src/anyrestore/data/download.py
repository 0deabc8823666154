"""Get one file from a plain address: resumable, checked against its SHA-256, put in place in one step.

What has arrived lies beside the target as `.NAME.part`; an interrupted download goes on from there with an
HTTP range request (RFC 9110, section 14), in this run or in a later one. Addresses are https; plain http is
for this machine only. A redirection is followed under the same rule. A file with the wrong hash is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anyrestore.errors import DataError, OutputError
from anyrestore.storage import shown

__all__ = ["download", "sha256_of"]

_CHUNK = 1 << 20
_HERE = ("localhost", "127.0.0.1", "::1")
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _BrokenError(Exception):
    """The connection ended too early; what came is kept."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 (urllib's own signature)
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    path: Path,
    *,
    sha256: str,
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Store what is at an address.

    A file that is there already, with the right hash, is left alone.

    Args:
        url: https, or http on this machine.
        path: Where to; its folder must exist.
        sha256: Of the whole file, 64 hexadecimal digits.
        timeout: Seconds without a byte after which a connection counts as broken.
        attempts: So many connections in a row may bring nothing new.
        pause: Seconds before the second of these; doubled for each that follows.
        progress: Told (bytes so far, bytes altogether or None) after every megabyte.

    Raises:
        DataError: The address is not allowed, gives an error or another file, or cannot be reached.
        OutputError: The file cannot be stored, or another file has its name.
    """
    _check_address(url)
    if path.exists():
        if sha256_of(path) == sha256.lower():
            return
        raise OutputError(
            f"{shown(path)} exists and is another file than expected; move it away.", code="output_exists"
        )
    part = path.with_name(f".{path.name}.part")
    fruitless, problem = 0, ""
    while fruitless < attempts:
        before = _size(part)
        try:
            _receive(url, part, timeout, progress)
            break
        except _BrokenError as error:
            problem = str(error)
        fruitless = 0 if _size(part) > before else fruitless + 1
        time.sleep(pause * 2 ** max(fruitless - 1, 0) if fruitless else 0)
    else:
        raise DataError(
            f"{url} could not be fetched: {problem}; {_size(part):,} bytes are kept, try again later."
        )
    came = sha256_of(part)
    if came != sha256.lower():
        part.unlink()
        raise DataError(
            f"{url} gives another file than expected (SHA-256 {came}, expected {sha256}); it was deleted."
        )
    _put_in_place(part, path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_address(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE):
        return
    raise DataError(f"Expected an https address, got {url}; nothing was fetched.")


def _receive(
    url: str, part: Path, timeout: float, progress: Callable[[int, int | None], None] | None
) -> None:
    """Append what is still missing.

    Raises:
        _BrokenError: Not all came.
    """
    have = _size(part)
    headers = {"User-Agent": "anyrestore", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the address was checked)
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(request, timeout=timeout) as answer:
            start = _start(answer, have)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdecimal() else None
            _append(answer, part, start, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is missing, or the part is of another file: its hash will tell
            return
        if error.code in _TRY_AGAIN:
            raise _BrokenError(f"the server answers {error.code}") from error
        raise DataError(f"{url} answers {error.code} ({error.reason}); see the set's page.") from error
    except (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise _BrokenError(str(reason) or type(reason).__name__) from error


def _start(answer: http.client.HTTPResponse, have: int) -> int:
    """The byte at which the answer begins."""
    if answer.status != 206:
        return 0  # no ranges here: from the beginning
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) > have:
        raise _BrokenError("the server sent another part than was asked for")
    return int(match[1])


def _append(
    answer: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    try:
        file = part.open("r+b" if part.exists() else "wb")
    except OSError as error:
        raise _cannot_store(part, error) from error
    with file:
        file.truncate(start)
        file.seek(start)
        while chunk := answer.read(_CHUNK):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise _cannot_store(part, error) from error
            if progress is not None:
                progress(file.tell(), total)
        # read() gives what came before a connection broke, without a word.
        if total is not None and file.tell() < total:
            raise _BrokenError(f"the connection ended after {file.tell():,} of {total:,} bytes")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _put_in_place(part: Path, path: Path) -> None:
    # The file can be larger than memory, so storage.store_bytes cannot take it; the steps are the same.
    try:
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise _cannot_store(path, error) from error


def _cannot_store(path: Path, error: OSError) -> OutputError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return OutputError(
        f"{shown(path)} could not be written: {error.strerror}.",
        code="disk_full" if full else "output_storage",
    )

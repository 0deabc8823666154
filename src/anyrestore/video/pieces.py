"""The folder of an unfinished job: pieces of the new stream, each with a fixed number of frames.

It lies beside the target, hidden, and goes when the target is there. A piece is one file, stored in one step:
a line of JSON, the packets, and what smoothing knew at its end, so that the next piece comes out the same
whether the process that made the piece before still lives or not. A piece that is damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load, save
from torch import Tensor

from anyrestore.errors import OutputError
from anyrestore.storage import shown, store_bytes
from anyrestore.video.encoding import Packets

FRAMES = 48
"""Of a piece: what a kill can cost at most. Each piece begins with a frame that stands for itself."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some frames of the new stream.

    Attributes:
        packets: encoded.
        times: time stamp of every frame, in units of the source's time base.
        lengths: how long every frame is shown, in the same units; 0 where the source does not say.
        state: what smoothing knew after the last frame.
    """

    packets: Packets
    times: tuple[int, ...]
    lengths: tuple[int, ...]
    state: Mapping[str, Tensor]


class Folder:
    """The folder of the unfinished job that makes `target`.

    Args:
        target: the file to be made.
        settings: all that changes the result.
        resume: keep what is there if it was made with the same settings.

    Attributes:
        differs: names of the settings because of which what was there is thrown away.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, target: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.path = target.with_name(f".{target.name}.unfinished")
        found = self._settings()
        wanted = json.loads(json.dumps(settings))
        names = found.keys() | wanted.keys()
        changed = sorted(name for name in names if found.get(name) != wanted.get(name))
        self.differs = changed if resume and found else []
        try:
            if changed or not resume:
                shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(exist_ok=True)
            for left in self.path.glob(".*.tmp"):  # a killed process was writing it
                left.unlink()
        except OSError as error:
            raise OutputError(
                f"cannot make the folder {shown(self.path)}: {error.strerror or error}",
                code="output_unwritable",
            ) from None
        store_bytes(json.dumps(settings, indent=1).encode(), self._job, overwrite=True)

    @property
    def film(self) -> Path:
        """Where the finished file is put together, before it gets its name."""
        return self.path / "film"

    def store(self, number: int, piece: Piece) -> None:
        """Keep a piece.

        Raises:
            OutputError: as :func:`anyrestore.storage.store_bytes`.
        """
        state = save(dict(piece.state)) if piece.state else b""
        payload = b"".join((piece.packets.header, *piece.packets.data, state))
        head = {
            "sha256": hashlib.sha256(payload).hexdigest(),
            "header": len(piece.packets.header),
            "sizes": [len(data) for data in piece.packets.data],
            "keys": list(piece.packets.keys),
            "times": piece.times,
            "lengths": piece.lengths,
        }
        store_bytes(json.dumps(head).encode() + b"\n" + payload, self._file(number), overwrite=True)

    def load(self, number: int) -> Piece | None:
        """A piece that was kept; None if it is not there, or not whole."""
        try:
            line, _, payload = self._file(number).read_bytes().partition(b"\n")
            head = json.loads(line)
            if hashlib.sha256(payload).hexdigest() != head["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        at = head["header"]
        data: list[bytes] = []
        for size in head["sizes"]:
            data.append(payload[at : at + size])
            at += size
        return Piece(
            packets=Packets(payload[: head["header"]], tuple(data), tuple(head["keys"])),
            times=tuple(head["times"]),
            lengths=tuple(head["lengths"]),
            state=load(payload[at:]) if at < len(payload) else {},
        )

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _job(self) -> Path:
        return self.path / "job.json"

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06}.piece"

    def _settings(self) -> dict[str, Any]:
        try:
            found: Any = json.loads(self._job.read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

"""All of it in order: open, rehearse, restore piece by piece, put together, check, name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore import storage
from anyrestore.errors import ModelError, OutputError, UsageError
from anyrestore.storage import shown
from anyrestore.video.av import av
from anyrestore.video.colour import from_tensor, to_tensor
from anyrestore.video.encoding import Container, Encoding, choose, encode
from anyrestore.video.muxing import Film, muxer_of
from anyrestore.video.options import Options, Outcome
from anyrestore.video.pieces import FRAMES, Folder, Piece
from anyrestore.video.reading import Clip, open_clip
from anyrestore.video.smoothing import Smoothing

BATCH_BYTES = 128 << 20
"""Of the frames, in floats, that a model on a GPU is given at once; on a CPU one by one is as fast."""
LARGEST_BATCH = 16

Restore = Callable[[Tensor], Tensor]


def run(
    source: Path,
    target: Path,
    restorer: Restore,
    options: Options,
    advance: Callable[[int, int | None], None],
) -> Outcome:
    """As :func:`anyrestore.video.restore`."""
    if target.exists() and source.exists() and os.path.samefile(source, target):  # noqa: PTH121 (no error for links)
        raise UsageError(f"{shown(target)} is the source itself and stays; choose another name")
    container = Container(muxer_of(target))
    storage.check_storable(target, overwrite=options.overwrite)
    smoothing = _smoothing(restorer, options.smooth)
    with open_clip(source, options.max_pixels) as clip:
        warnings = clip.warnings
        encoding = choose(clip, container, options, warnings)
        film = Film(clip, target, encoding, keep_gps=options.keep_gps)
        film.rehearse()
        warnings += film.left_out
        folder = Folder(target, _settings(clip, restorer, encoding, options), resume=options.resume)
        if folder.differs:
            warnings.append(
                f"begun anew: {', '.join(folder.differs)} differ from the job that was interrupted"
            )
        batch = 1 if smoothing is not None else _batch(restorer, clip)
        work = _Work(restorer, smoothing, encoding, batch, folder)
        times = work.do(clip, advance)
        film.write((work.piece(number) for number in range(work.pieces)), folder.film)
        changed = film.check(folder.film, times)
    warnings += [] if changed is None else [changed]
    storage.place(folder.film, target, overwrite=options.overwrite)
    folder.remove()
    return Outcome(
        frames=len(times),
        kept=work.kept,
        width=encoding.width,
        height=encoding.height,
        codec=encoding.codec,
        warnings=tuple(warnings),
    )


class _Work:
    """Restoring the pieces that are not there yet."""

    def __init__(
        self, restorer: Restore, smoothing: Smoothing | None, encoding: Encoding, batch: int, folder: Folder
    ) -> None:
        self.restorer = restorer
        self.smoothing = smoothing
        self.encoding = encoding
        self.batch = batch
        self.folder = folder
        self.pieces = 0
        self.kept = 0

    def do(self, clip: Clip, advance: Callable[[int, int | None], None]) -> list[int]:
        """All pieces of a clip; its time stamps."""
        times: list[int] = []
        frames = clip.frames()
        for first in frames:
            part = chain([first], islice(frames, FRAMES - 1))
            piece = self.folder.load(self.pieces)
            if piece is None:
                piece = self._made(part, partial(_tell, advance, len(times), clip.expected))
                self.folder.store(self.pieces, piece)
            else:
                self.kept += sum(1 for _ in part)
            if self.smoothing is not None:
                self.smoothing.restore(piece.state)
            times += piece.times
            self.pieces += 1
            advance(len(times), clip.expected)
        return times

    def piece(self, number: int) -> Piece:
        """A piece that was stored."""
        found = self.folder.load(number)
        if found is None:
            raise OutputError(f"{shown(self.folder.path)} was changed by others meanwhile; start again")
        return found

    def _made(self, frames: Iterator[av.VideoFrame], advance: Callable[[int], None]) -> Piece:
        times: list[int] = []
        lengths: list[int] = []

        def restored() -> Iterator[av.VideoFrame]:
            while some := list(islice(frames, self.batch)):
                times.extend(_time(frame) for frame in some)
                lengths.extend(frame.duration or 0 for frame in some)
                result = self._call(torch.cat([to_tensor(frame) for frame in some]))
                for i, frame in enumerate(some):
                    yield from_tensor(result[i : i + 1], frame, self.encoding.format)
                advance(len(times))

        packets = encode(restored(), self.encoding)
        state = {} if self.smoothing is None else self.smoothing.state()
        return Piece(packets=packets, times=tuple(times), lengths=tuple(lengths), state=state)

    def _call(self, images: Tensor) -> Tensor:
        if self.smoothing is None:
            result = self.restorer(images)
        else:
            with self.smoothing.frame(images):
                result = self.restorer(images)
        if result.shape != images.shape:
            raise ModelError(
                f"expected a result of the frames' size, {tuple(images.shape)}, got {tuple(result.shape)}",
                code="bad_output",
            )
        return result


def _tell(advance: Callable[[int, int | None], None], before: int, expected: int | None, done: int) -> None:
    advance(before + done, expected)


def _time(frame: av.VideoFrame) -> int:
    assert frame.pts is not None  # `Clip.frames` gives none without
    return frame.pts


def _smoothing(restorer: Restore, strength: float) -> Smoothing | None:
    if not strength:
        return None
    model = getattr(restorer, "model", restorer)
    if not isinstance(model, nn.Module):
        raise UsageError("smooth: expected a Restorer, or a model with hyper-adapters")
    return Smoothing(model, strength)


def _batch(restorer: Restore, clip: Clip) -> int:
    device = getattr(restorer, "device", None)
    if device is None or torch.device(device).type == "cpu":
        return 1
    size = 3 * 4 * clip.first.width * clip.first.height
    return min(max(BATCH_BYTES // size, 1), LARGEST_BATCH)


def _settings(clip: Clip, restorer: Restore, encoding: Encoding, options: Options) -> dict[str, Any]:
    """All that changes the result, by name."""
    return {
        "source": _digest(clip.path),
        "model": _fingerprint(restorer),
        "encoder": {**encoding.as_dict(), "libraries": {k: list(v) for k, v in av.library_versions.items()}},
        "smoothing": options.smooth,
        "settings": options.settings,
        "piece": FRAMES,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(restorer: Restore) -> str:
    """Which network, with which weights; of a plain function its name."""
    model = getattr(restorer, "model", restorer)
    if not isinstance(model, nn.Module):
        return getattr(model, "__qualname__", type(model).__qualname__)
    digest = hashlib.sha256(f"{type(model).__qualname__} {getattr(model, 'card', '')}".encode())
    network = getattr(model, "network", None)  # of a graph, whose own weights are not to be seen
    for name, value in _weights(network if isinstance(network, nn.Module) else model):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _weights(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    for name, value in model.state_dict().items():
        yield name, value.reshape(-1)

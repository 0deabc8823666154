"""`Restorer`: a model, ready to be called with pictures of any kind and size.

Whatever comes in (path, `Picture`, NumPy array, tensor) goes through one routine: choose a way that fits in
memory (:mod:`anyrestore.inference.planning`), read rows or tiles of the padded picture as float32, run the
model, and hand finished bands back to where they belong. No more than these bands exists in float32, so that
beside the picture itself and its result the memory does not grow with the height.

Unusual: attention in these models looks at the whole image, so a tile by itself is not restored as it would
be inside the picture. A model with `share` computes its condition once, from a sample of the picture, and
every tile is run with it. An instruction in words is a condition too, the same for every picture; a model
that takes one and has `share` is told it there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from anyrestore import backends, image, scratch, strips, zoo
from anyrestore.errors import InputError, ModelError, OutputError, UsageError
from anyrestore.image import Picture, Pixels
from anyrestore.inference import memory, planning, streaming
from anyrestore.inference.planning import Request, Way
from anyrestore.inference.tiling import Span, Tile, blend, plan, windows
from anyrestore.inference.transparency import conceal
from anyrestore.layers.padding import pad_columns, pad_to_multiple
from anyrestore.text.instructions import Instructions
from anyrestore.zoo import hub

DEVICES = ("auto", "cpu", "cuda", "mps")
SHARE_SIDE = 256
"""Side, in pixels, of the windows from which the shared condition is computed..."""
SHARE_PER_AXIS = 4
"""...and the most of them along one axis: a bounded cost, whatever the size of the picture."""
TOGETHER = 8
"""Small pictures that go through the model in one pass; see `Restorer.restore_together`."""
TOGETHER_PIXELS = 64 * 64
"""Of a small picture, padded, at most. Above it too little is won (docs/log.md)."""

_KINDS = ("u1", "u2", "f2", "f4", "f8")
"""Array types that are accepted, in any byte order."""

Follow = Callable[[int, int], None]
"""Told how many steps of a picture's way are done, and how many there are; what it raises ends the run."""

_Read = Callable[[Span, Span], Tensor]
_Write = Callable[[int, Tensor], None]


class Restorer:
    """Restores pictures with one model.

    Args:
        model: a name of the zoo, the path of a weights file (.safetensors, .pth, .pt, .ckpt; other people's
            too, see :mod:`anyrestore.zoo.foreign`), or a module, which is then moved to the device and put in
            eval mode; None for the zoo's default on `device`.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        tile: "auto" (the whole picture, exactly, where that can be made to fit in memory; else tiles), "off"
            (never tiles), or the longest side of a tile in pixels.
        overlap: pixels that neighbouring tiles share; None for an eighth of the tile, 16 to 64.
        threads: CPU threads for torch, for the whole process; None leaves them as they are.
        share: "auto" computes the model's condition once for all tiles of a picture, where the model can;
            "off" lets every tile see itself only.
        instruction: what to do, in words, for a model that takes instructions, for example "it is too dark".
        instruction_head: the file of the text head that the model was trained with, or head and encoder that
            are loaded already; None for the head that ships.
        memory_limit: bytes that the process may occupy on a CPU, the pictures that are in it included; on a
            GPU, bytes that the model may take there. None leaves it at a share of what is free. A picture
            for which it is too little is refused.
        scratch: a folder of a disk where intermediate maps may lie that do not fit in memory; "auto" is the
            system's folder for large temporary files; None is nowhere.
        backend: who computes: "torch", "compile", "openvino" or "onnxruntime", see
            :mod:`anyrestore.backends`; a file of `anyrestore export` (.onnx) is run by ONNX Runtime unless
            "openvino" is asked for.
        progress: True for a progress bar on stderr for what takes more than a second, None for one where
            stderr is a terminal, False for none. Or a function, which is told now and then, after every block
            and of large pictures within one, how many steps are done and how many there are; what it raises
            ends the run. It is told from the beginning again where a way has failed.

    Raises:
        UsageError: an option is out of its range, the device is not there, or the model takes no instruction.
        ModelError: the model is not known or its weights cannot be used, the sentence encoder is not
            installed (code `no_encoder`), nor the backend (`no_backend`), or the backend cannot hold the
            model (`cannot_export`).

    Attributes:
        understood: the probability of every task in the instruction, the likeliest first; empty without one.
        way: how the last picture went through the model; None before the first.
        reserved: bytes of `memory_limit` that other threads of the process may still take (0); on a CPU.
        occupied: bytes that the process is taken to occupy, of `memory_limit`; None to measure. What is
            measured differs from run to run, and with it may the way that is chosen.
    """

    def __init__(
        self,
        model: str | Path | nn.Module | None = None,
        *,
        device: str = "auto",
        tile: int | str = "auto",
        overlap: int | None = None,
        threads: int | None = None,
        share: str = "auto",
        instruction: str | None = None,
        instruction_head: Path | Instructions | None = None,
        memory_limit: int | None = None,
        scratch: str | Path | None = "auto",
        backend: str = "torch",
        progress: bool | Follow | None = False,
    ) -> None:
        if tile not in ("auto", "off") if isinstance(tile, str) else tile < 1:
            raise UsageError(f'tile: expected "auto", "off" or a side of at least 1 pixel, got {tile!r}')
        if overlap is not None and overlap < 0:
            raise UsageError(f"overlap: expected at least 0 pixels, got {overlap}")
        if share not in ("auto", "off"):
            raise UsageError(f'share: expected "auto" or "off", got {share!r}')
        if memory_limit is not None and memory_limit < 1:
            raise UsageError(f"memory_limit: expected at least 1 byte, got {memory_limit}")
        if threads is not None:
            if threads < 1:
                raise UsageError(f"threads: expected at least 1, got {threads}")
            torch.set_num_threads(threads)
        self.device = choose_device(device)
        self.tile = tile
        self.overlap = overlap
        self.share = share
        self.memory_limit = memory_limit
        self.scratch = planning.default_scratch() if scratch == "auto" else _folder(scratch)
        self.progress = progress
        if self.device.type == "cpu":
            memory.keep_freed_memory()
        if model is None:
            model = zoo.default_model(self.device.type)
        module = model if isinstance(model, nn.Module) else backends.load_model(model, backend)
        self.model = backends.prepare(module.to(self.device).eval(), backend, self.device)
        self.size_multiple = int(getattr(module, "size_multiple", 1))
        self.understood = dict[str, float]()
        self.way: Way | None = None
        self.reserved = 0
        self.occupied: int | None = None
        self._instruction = None if instruction is None else self._listen(instruction, instruction_head)

    @property
    def takes_instruction(self) -> bool:
        """Whether the model can be told what to do."""
        return hasattr(self.model, "instruction_width")

    @overload
    def __call__(self, source: str | Path | Picture) -> Picture: ...
    @overload
    def __call__(self, source: Pixels) -> Pixels: ...
    @overload
    def __call__(self, source: Tensor) -> Tensor: ...
    def __call__(self, source: object) -> Picture | Pixels | Tensor:
        """Restore a picture; the result is of the same kind, size and type, and the source is not changed.

        Args:
            source: one of

                - a path: read, restored and returned as a `Picture`, ready for `image.write`;
                - a `Picture`;
                - an array, H x W x 3 (RGB), H x W x 4 (RGB and alpha) or H x W (grey), of uint8, uint16, or
                  floats in [0, 1]; the last axis is always the channels;
                - a tensor, (3, h, w) or (b, 3, h, w), RGB floats in [0, 1].

                Float results are not clipped.

        Raises:
            InputError: the file, array or tensor cannot be used, or it does not fit in memory (code
                `out_of_memory`).
            ModelError: the model's result is not finite (code `non_finite`).
            TypeError: `source` is none of these.
        """
        if isinstance(source, (str, Path)):
            return self._picture(image.read(Path(source)))
        if isinstance(source, Picture):
            return self._picture(source)
        if isinstance(source, np.ndarray):
            return self._array(cast("Pixels", source))
        if isinstance(source, Tensor):
            return self._tensor(source)
        raise TypeError(f"expected a path, a Picture, a NumPy array or a tensor, got {type(source).__name__}")

    def goes_together(self, picture: Picture) -> bool:
        """Whether a picture is one for :meth:`restore_together`: small, with a model that allows it.

        It depends on the picture and on the options, on nothing that changes during a run. Other
        architectures, other people's networks and other backends take pictures one at a time.
        """
        height, width = (
            -(-side // self.size_multiple) * self.size_multiple for side in picture.pixels.shape[:2]
        )
        request = Request(height=height, width=width, batch=TOGETHER)
        return (
            height * width <= TOGETHER_PIXELS
            and self.tile in ("auto", "off")
            and strips.supports(self.model)
            and (self.memory_limit is None or planning.need(self.model, request) <= self.memory_limit // 4)
        )

    def restore_together(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Restore small pictures of one size in one pass.

        A result differs from that of a call by rounding only (1e-6), and does not depend on the other
        pictures: the pass is always one of `TOGETHER`, places that are left over are black, and an image's
        values do not depend on its place nor on its neighbours. (On how many there are they do: the
        libraries compute products of other shapes in another order.)

        Args:
            pictures: 1 to `TOGETHER`, of one height and width, for which :meth:`goes_together` holds.

        Raises:
            ModelError: a result is not finite (code `non_finite`).
        """
        visible = [
            picture.pixels if picture.alpha is None else conceal(picture.pixels, picture.alpha)
            for picture in pictures
        ]
        padded, (height, width) = pad_to_multiple(
            torch.cat([image.to_tensor(pixels) for pixels in visible]), self.size_multiple
        )
        batch = padded.new_zeros(TOGETHER, *padded.shape[1:])
        batch[: len(pictures)] = padded
        with torch.inference_mode():
            restored = self.model(batch.to(self.device))[: len(pictures), :, :height, :width]
        results = list[Picture]()
        for i, picture in enumerate(pictures):
            pixels = image.from_tensor(_finite(restored[i : i + 1]), like=picture.pixels)
            if picture.alpha is not None:
                unseen = picture.alpha == 0
                pixels[unseen] = picture.pixels[unseen]
            results.append(dataclasses.replace(picture, pixels=pixels))
        return results

    @overload
    def map(
        self, sources: Iterable[str | Path | Picture], *, ahead: int = 2, errors: Literal["raise"] = "raise"
    ) -> Iterator[Picture]: ...
    @overload
    def map(
        self, sources: Iterable[Pixels], *, ahead: int = 2, errors: Literal["raise"] = "raise"
    ) -> Iterator[Pixels]: ...
    @overload
    def map(
        self, sources: Iterable[Tensor], *, ahead: int = 2, errors: Literal["raise"] = "raise"
    ) -> Iterator[Tensor]: ...
    @overload
    def map(self, sources: Iterable[Any], *, ahead: int = 2, errors: str) -> Iterator[Any]: ...
    def map(self, sources: Iterable[Any], *, ahead: int = 2, errors: str = "raise") -> Iterator[Any]:
        """Restore a stream: a generator of results, one for each item, in order, made as they are asked for.

        A thread takes items from `sources` and decodes paths while the model works; it starts with the first
        result that is asked for. An iterator that must stay in its own thread is not for this.

        Args:
            sources: any iterable, endless ones too, of what :meth:`__call__` takes, kinds mixed if need be.
            ahead: items that may wait, decoded, for the model; the memory is theirs, one picture and its
                result, however long the stream.
            errors: of single items. "raise": the first one is raised in its place, and the stream ends, so
                that nothing goes missing unnoticed. "yield": the exception comes in the result's place, and
                the stream goes on: an `AnyRestoreError`, `OSError`, `MemoryError` or `RuntimeError`. What
                `sources` itself raises, and `TypeError` for an item of no kind that can be restored, always
                ends the stream.

        Yields:
            As :meth:`__call__`. Closing the generator (or dropping it) ends its thread as soon as `sources`
            has given its present item; items that were read ahead are lost.

        Raises:
            UsageError: an option is out of its range.
        """
        return streaming.stream(self, sources, ahead=ahead, errors=errors)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, download: bool = False, **options: Any
    ) -> Restorer:
        """A restorer with the model of a folder or repository in Hugging Face's layout, or of the zoo.

        Args:
            name: a name of the zoo; a folder that :meth:`save_pretrained` wrote; a weights file; or a
                repository, OWNER/NAME, which is looked for in the local Hugging Face cache.
            revision: of a repository: a branch, a tag or a commit.
            download: fetch a repository that is not in the cache (extra `hub`); never done otherwise.
            options: of :class:`Restorer`.

        Raises:
            ModelError: there is no such model, or its files are damaged (codes as in
                :func:`anyrestore.zoo.hub.load_pretrained`).
            UsageError: as :class:`Restorer`.
        """
        return cls(hub.load_pretrained(name, revision=revision, download=download), **options)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Store the model as :meth:`from_pretrained` reads it: `model.safetensors` and `config.json`.

        Args:
            folder: made if need be; files of these names in it are replaced.
            dtype: of the stored weights; float16 halves the files, with a small loss.

        Raises:
            UsageError: `dtype` is no type of floating-point numbers that weights are stored in.
            ModelError: the model is none of the zoo's, or a backend computes it.
            OutputError: the folder cannot be written to.
        """
        hub.save_pretrained(self.model, Path(folder), dtype=dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Weights for anyrestore",
        dtype: torch.dtype = torch.float32,
    ) -> str:
        """Store the model in a repository of the Hugging Face hub, in one commit (extra `hub`).

        Args:
            repo_id: OWNER/NAME; made if it is not there.
            private: of a new repository; None for the owner's default.
            token: of the hub; None for the one that is logged in.
            message: of the commit.
            dtype: as in :meth:`save_pretrained`.

        Returns:
            The commit's address.

        Raises:
            ModelError: as :meth:`save_pretrained`; ``no_hub`` if the package is missing or the hub refuses.
        """
        return hub.push_to_hub(
            self.model, repo_id, private=private, token=token, message=message, dtype=dtype
        )

    def _listen(self, instruction: str, head: Path | Instructions | None) -> Tensor:
        """The instruction's vector (1 d); what it was taken for goes to `understood`."""
        if not self.takes_instruction:
            name = type(self.model).__name__
            raise UsageError(f"instruction: {name} finds out by itself what to do; use instructir, or none")
        instructions = head if isinstance(head, Instructions) else Instructions(head)
        meaning = instructions([instruction])
        width, expected = meaning.vectors.shape[1], self.model.instruction_width
        if width != expected:
            raise ModelError(
                f"the model takes instructions of {expected} numbers, the text head gives {width}"
            )
        self.understood = instructions.name_tasks(meaning)
        return meaning.vectors.to(self.device)

    def _picture(self, picture: Picture) -> Picture:
        return dataclasses.replace(picture, pixels=self._pixels(picture.pixels, picture.alpha))

    def _array(self, array: Pixels) -> Pixels:
        """Check an array that a caller handed in, restore its colour, keep its alpha."""
        if array.dtype.str[1:] not in _KINDS:
            raise InputError(
                f"expected an array of uint8, uint16 or floats in [0, 1], got {array.dtype}; convert it",
                code="bad_array",
            )
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise InputError(
                "expected an array of shape (height, width, 3), (height, width, 4) or (height, width), "
                f"got {array.shape}; transpose or reshape it first",
                code="bad_array",
            )
        if array.size == 0:
            raise InputError(
                f"expected at least one pixel, got an array of shape {array.shape}", code="bad_array"
            )
        if array.ndim == 2 or array.shape[2] == 3:
            return self._pixels(array, None)
        return np.dstack((self._pixels(array[..., :3], array[..., 3]), array[..., 3]))

    def _pixels(self, pixels: Pixels, alpha: Pixels | None) -> Pixels:
        """Restore H x W x 3 or H x W; what alpha hides neither bleeds into the rest nor is changed."""
        in_file = scratch.is_backed(pixels)
        # Of a picture in a file only rows are ever in memory, and what alpha hides is filled row by row too.
        source = pixels if alpha is None or in_file else conceal(pixels, alpha)
        hidden = alpha
        if in_file and self.scratch is not None:
            result = scratch.allocate(pixels.shape, pixels.dtype, self.scratch)
        else:
            result = np.empty(pixels.shape, pixels.dtype)

        def release(rows: Span | slice) -> None:
            for array in (source, hidden, result) if in_file else ():
                if array is not None:
                    scratch.release(array, rows.start, rows.stop)

        def read(rows: Span, columns: Span) -> Tensor:
            part = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            found = source[part]
            if in_file and hidden is not None:
                found = conceal(found, hidden[part])
            tensor = image.to_tensor(found)
            release(rows)
            return tensor

        def write(top: int, band: Tensor) -> None:
            rows = slice(top, top + band.shape[-2])
            result[rows] = image.from_tensor(band, like=source[rows])
            if hidden is not None:
                unseen = hidden[rows] == 0
                result[rows][unseen] = pixels[rows][unseen]
            release(rows)

        height, width = pixels.shape[:2]
        expected = 0 if scratch.is_backed(result) else result.nbytes
        self._restore(height, width, 1, read, write, result_bytes=expected)
        return result

    def _tensor(self, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            raise InputError(
                f"expected a tensor of floats in [0, 1], got {tensor.dtype}; convert it first",
                code="bad_array",
            )
        if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
            raise InputError(
                f"expected a tensor of shape (3, height, width) or (batch, 3, height, width), got "
                f"{tuple(tensor.shape)}",
                code="bad_array",
            )
        if tensor.numel() == 0:
            raise InputError(f"expected at least one pixel, got {tuple(tensor.shape)}", code="bad_array")
        if not bool(tensor.isfinite().all()):
            raise InputError("expected finite values, got NaN or infinity in the tensor", code="non_finite")
        batch = tensor.detach() if tensor.ndim == 4 else tensor.detach()[None]
        result = torch.empty_like(batch, memory_format=torch.contiguous_format, requires_grad=False)
        count, _, height, width = batch.shape
        # A batch goes through at once where it fits; the condition shared by tiles belongs to one picture.
        step = count if self._fits_at_once(height, width, count, result.nbytes) else 1
        for first in range(0, count, step):
            items = slice(first, first + step)

            def read(rows: Span, columns: Span, items: slice = items) -> Tensor:
                return batch[items, :, rows.start : rows.stop, columns.start : columns.stop].float()

            def write(top: int, band: Tensor, items: slice = items) -> None:
                result[items, :, top : top + band.shape[-2]] = band.to(result)

            self._restore(height, width, step, read, write, result_bytes=result[items].nbytes)
        return result if tensor.ndim == 4 else result[0]

    def _fits_at_once(self, height: int, width: int, count: int, result_bytes: int) -> bool:
        """Whether so many pictures go through the model together."""
        if count == 1:
            return True
        request = dataclasses.replace(self._request(height, width, result_bytes=result_bytes), batch=count)
        return planning.goes_at_once(self.model, request, self.device)

    def _request(self, height: int, width: int, *, result_bytes: int = 0) -> Request:
        multiple = self.size_multiple
        budget = self.memory_limit
        if budget is not None and self.device.type == "cpu":
            occupied = memory.resident() if self.occupied is None else self.occupied
            budget -= occupied + result_bytes + self.reserved
        return Request(
            height=-(-height // multiple) * multiple,
            width=-(-width // multiple) * multiple,
            tile=self.tile,
            budget=budget,
            scratch=self.scratch,
        )

    def _restore(
        self, height: int, width: int, batch: int, read: _Read, write: _Write, *, result_bytes: int = 0
    ) -> None:
        """Run the model over a picture, the best way that fits, in ever smaller tiles while memory runs out.

        Args:
            height: rows of the picture.
            width: columns of the picture.
            batch: pictures that are read at once.
            read: gives the float32 tensor (batch, 3, rows, columns) of a rectangle inside the picture.
            write: takes a finished band (batch, 3, rows, width) and its first row; from several threads.
            result_bytes: that will be taken as bands are written.
        """
        request = dataclasses.replace(self._request(height, width, result_bytes=result_bytes), batch=batch)
        ways = planning.plan_ways(self.model, request, self.device)
        while True:
            way = ways.pop(0)
            try:
                if way.kind == "strips":
                    self._run_strips(way, (height, width), request, read, write)
                else:
                    self._run_tiles(way.tile, (height, width), request, read, write)
            except (MemoryError, RuntimeError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            except OutputError:
                if not (way.in_files and ways):  # the disk has filled up meanwhile
                    raise
            else:
                self.way = way
                if self.memory_limit is not None and self.device.type == "cpu":
                    memory.resident()  # what the C library keeps goes back: the result is still to be written
                return
            # Here, outside the handler, the failed attempt's tensors are no longer held by its traceback.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if not ways:
                ways.append(self._smaller(way, request))

    def _smaller(self, way: Way, request: Request) -> Way:
        """Tiles of half the size of those for which memory ran out."""
        largest = max(request.height, request.width)
        used = largest if way.tile is None else min(largest, way.tile)
        if self.tile == "off" or used // 2 < max(self.size_multiple, memory.SMALLEST_TILE):
            advice = (
                "leave tiling on" if self.tile == "off" else "close other programs or use a smaller model"
            )
            raise InputError(f"memory ran out for a tile of {used} pixels; {advice}", code="out_of_memory")
        return Way(kind="tiles", bytes=0, tile=used // 2)

    def _run_strips(
        self, way: Way, size: tuple[int, int], request: Request, read: _Read, write: _Write
    ) -> None:
        """The whole picture exactly, a few rows at a time."""
        height, width = size
        every = Span(start=0, stop=width)
        # The padding below is made of the last rows; as many of them as hold a multiple and what is over.
        above = max((height // self.size_multiple - 1) * self.size_multiple, 0)
        end = pad_to_multiple(read(Span(start=above, stop=height), every), self.size_multiple)[0]

        def rows(first: int, last: int) -> Tensor:
            parts = list[Tensor]()
            if first < above:
                inside = read(Span(start=first, stop=min(last, above)), every)
                parts.append(pad_columns(inside, self.size_multiple))
            if last > above:
                parts.append(end[:, :, max(first - above, 0) : last - above])
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

        def finish(top: int, band: Tensor) -> None:
            if top < height:
                write(top, _finite(band)[:, :, : height - top, :width])

        def allocate(level: int, shape: tuple[int, int, int]) -> strips.Field:
            if level in way.in_files and self.scratch is not None:
                return strips.in_file(shape, self.scratch)
            return strips.in_memory(shape)

        with self._bar(strips.count_steps(self.model)) as advance:
            strips.restore(
                self.model,
                request.height,
                request.width,
                rows,
                finish,
                allocate=allocate,
                advance=advance,
                watch=partial(advance, 0) if callable(self.progress) else None,
            )

    def _run_tiles(
        self, side: int | None, size: tuple[int, int], request: Request, read: _Read, write: _Write
    ) -> None:
        """In tiles of at most a side, or at once."""
        height, width = size
        longest = max(request.height, request.width) if side is None else side
        tiles = plan(request.height, request.width, longest, self._overlap(side), self.size_multiple)

        def load(tile: Tile) -> Tensor:
            # Tiles are planned over the padded picture; the padding is made here, at its right and bottom.
            rows = Span(start=tile.rows.start, stop=min(tile.rows.stop, height))
            columns = Span(start=tile.columns.start, stop=min(tile.columns.stop, width))
            return pad_to_multiple(read(rows, columns).to(self.device), self.size_multiple)[0]

        share = getattr(self.model, "share", None) if self.share == "auto" and len(tiles) > 1 else None
        sample = []
        if share is not None:
            padded = (tiles[-1].rows.stop, tiles[-1].columns.stop)
            side = min(SHARE_SIDE, tiles[0].rows.size, tiles[0].columns.size)
            sample = windows(*padded, side, SHARE_PER_AXIS, self.size_multiple)
        with torch.inference_mode(), self._following(len(tiles) + len(sample)):
            told = {} if self._instruction is None else {"instruction": self._instruction}
            condition = self._instruction if share is None else share((load(t) for t in sample), **told)

            def run(tile: Tile) -> Tensor:
                return self.model(load(tile)) if condition is None else self.model(load(tile), condition)

            for top, band in blend(tiles, map(run, tiles)):
                write(top, _finite(band)[:, :, : height - top, :width])

    def _overlap(self, side: int | None) -> int:
        if self.overlap is not None:
            return self.overlap
        return 0 if side is None else min(max(side // 8, 16), 64)

    @contextmanager
    def _following(self, passes: int) -> Generator[None]:
        """A progress bar that moves with every block of the model, over so many passes through it.

        Blocks and not their layers: many a convolution is computed from its weights alone, and is never
        called. What is not called in a pass is made up for at its end.
        """
        blocks = [block for block in self.model.modules() if block is not self.model and _has_parts(block)]
        with self._bar((len(blocks) + 1) * passes) as advance:
            heard = 0

            def hear(*_: object) -> None:
                nonlocal heard
                heard += 1
                advance(1)

            def end(*_: object) -> None:
                nonlocal heard
                advance(max(len(blocks) + 1 - heard, 0))
                heard = 0

            hooks = [] if self.progress is False else [self.model.register_forward_hook(end)]
            hooks += [block.register_forward_hook(hear) for block in blocks if hooks]
            try:
                yield
            finally:
                for hook in hooks:
                    hook.remove()

    @contextmanager
    def _bar(self, total: int) -> Generator[Callable[..., None]]:
        """A progress bar of so many steps; what is given moves it by one, or by a number of them."""
        if self.progress is False:
            yield _nothing
            return
        if callable(self.progress):
            yield _telling(self.progress, total)
            return
        bar: tqdm[Any] = tqdm(
            total=total,
            delay=1,
            leave=False,
            # None: tqdm decides by whether stderr is a terminal.
            disable=None if self.progress is None else False,
            bar_format="{percentage:3.0f}% |{bar:40}| {elapsed} < {remaining}",
        )

        def advance(steps: int = 1) -> None:
            bar.update(steps)

        try:
            yield _nothing if bar.disable else advance
        finally:
            bar.close()


def _nothing(_steps: int = 1) -> None:
    """What moves a bar that is not there."""


def _telling(follow: Follow, total: int) -> Callable[..., None]:
    """What tells of every step, of so many."""
    done = 0

    def advance(steps: int = 1) -> None:
        nonlocal done
        done = min(done + steps, total)
        follow(done, total)

    return advance


def _has_parts(module: nn.Module) -> bool:
    """Whether a module is called and has others in it; a list of modules is not called."""
    return not isinstance(module, (nn.ModuleList, nn.ModuleDict)) and any(True for _ in module.children())


def _folder(path: str | Path | None) -> Path | None:
    """A folder that was named, if one was.

    Raises:
        UsageError: it is not there, or the system cannot do with it what it is for.
    """
    if path is None:
        return None
    if not scratch.SUPPORTED:
        raise UsageError("scratch: this system cannot keep maps in files; leave it out")
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"scratch: expected a folder, {folder} is none; make it first, or name another")
    return folder


def _finite(band: Tensor) -> Tensor:
    """The band itself.

    Raises:
        ModelError: a value of it is not finite (code `non_finite`).
    """
    if not bool(band.isfinite().all()):
        raise ModelError(
            "the model's result is not finite; its weights are damaged or do not fit the picture",
            code="non_finite",
        )
    return band


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if name not in DEVICES:
        raise UsageError(f"device: expected one of {', '.join(DEVICES)}, got {name!r}")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present[name]:
        raise UsageError(f"device: this machine has no {name}; use auto or cpu")
    return torch.device(name)

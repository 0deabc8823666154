"""A whole network over a whole picture, map after map, each changed in place strip by strip.

The U-Net's way through memory: every level has one map. The encoder's maps stay as skips and become the
decoder's, the upsampled features being fused into them row by row. So the most that lives at any time is one
map a level, and a few strips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.architectures.cea import CEA
from anyrestore.architectures.restormer import Restormer
from anyrestore.layers.transformer import TransformerBlock
from anyrestore.layers.unet import UNet
from anyrestore.strips.blocks import is_known_block, pass_block
from anyrestore.strips.crew import Crew, count_threads
from anyrestore.strips.field import Allocate, Field, in_memory
from anyrestore.strips.footprint import Footprint
from anyrestore.strips.kernels import Gang, convolve, matrix

#: (first row, last row + 1) -> these rows of the picture, (1 3 rows w).
Read = Callable[[int, int], Float[Tensor, "1 3 rows w"]]
#: (first row, finished rows (1 3 rows w)) -> None; rows come from top to bottom without gaps.
Write = Callable[[int, Float[Tensor, "1 3 rows w"]], None]


def supports(model: nn.Module) -> bool:
    """Whether :func:`restore` gives what the model itself would: CEA-IR with dense routing, and Restormer."""
    if not isinstance(model, CEA | Restormer):
        return False
    return all(is_known_block(block) for stage in model.unet.stages for block in _blocks(stage))


@torch.inference_mode()
def restore(
    model: nn.Module,
    height: int,
    width: int,
    read: Read,
    write: Write,
    *,
    allocate: Allocate = lambda _level, shape: in_memory(shape),
    advance: Callable[[], None] = lambda: None,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run a network over a picture; the same result as ``model(image)`` but for rounding.

    Args:
        model: one of which :func:`supports` holds, float32.
        height: rows of the picture, a multiple of the model's ``size_multiple``; likewise the width.
        width: columns of the picture.
        read: gives rows of it; asked at least twice for every row, from several threads at once.
        write: takes finished rows, every row once, in any order, from several threads at once.
        allocate: makes maps.
        advance: called after every block.
        watch: called more often, within a block too; what it raises ends the run at once.
    """
    unet = cast("UNet", model.unet)
    footprint = Footprint.of(model, height, width)
    levels = footprint.levels

    def pass_stage(x: Field, stage: nn.Module, gang: Gang) -> None:
        for block in _blocks(stage):
            pass_block(x, block, gang)
            advance()

    with Crew(count_threads(), watch) as crew:
        gangs = [Gang(crew=crew, rows=level.rows) for level in levels]
        maps = [allocate(0, levels[0].shape)]
        _embed(unet, read, maps[0], gangs[0])
        for i, (stage, down) in enumerate(zip(unet.encoder[:-1], unet.down, strict=True)):
            pass_stage(maps[-1], stage, gangs[i])
            maps.append(allocate(i + 1, levels[i + 1].shape))
            _descend(maps[i], maps[-1], down, gangs[i])
        pass_stage(maps[-1], unet.encoder[-1], gangs[-1])
        for up, fuse, stage, gang in zip(unet.up, unet.fuse, unet.decoder, gangs[-2::-1], strict=True):
            below, skip = maps.pop(), maps.pop()
            into = (
                skip if isinstance(fuse, nn.Conv2d) else allocate(0, (skip.height, skip.width, footprint.top))
            )
            _ascend(below, up, fuse, gang, skip=skip, into=into)
            del below, skip
            maps.append(into)
            pass_stage(into, stage, gang)
        pass_stage(maps[0], unet.refinement, gangs[0])
        _finish(unet, maps[0], read, write, gangs[0])


def count_steps(model: nn.Module) -> int:
    """How often :func:`restore` calls ``advance``."""
    return sum(1 for stage in cast("UNet", model.unet).stages for _ in _blocks(stage))


def _blocks(stage: nn.Module) -> Iterable[TransformerBlock]:
    return cast("Iterable[TransformerBlock]", stage)


def _each_strip(height: int, gang: Gang, work: Callable[[int, int], None], *, multiple: int = 1) -> None:
    """Let a crew do all rows of a map, a strip at a time; every first row is a multiple of ``multiple``."""
    rows = max(gang.rows // multiple, 1) * multiple

    def section(first: int, last: int) -> None:
        for top in range(first, last, rows):
            work(top, min(top + rows, last))
            gang.crew.pause()

    gang.crew.share(height, section, multiple)


def _weight(resampling: nn.Module) -> Tensor:
    """Of the convolution in front of a pixel-shuffle."""
    return cast("Tensor", cast("nn.Sequential", resampling)[0].weight)


def _embed(unet: UNet, read: Read, into: Field, gang: Gang) -> None:
    """The stem: rows of the picture to rows of the first map."""
    convolution, scale = unet.stem.conv, unet.stem.unshuffle.downscale_factor

    def work(first: int, last: int) -> None:
        above, below = max(first - 1, 0), min(last + 1, into.height)
        pixels = F.pixel_unshuffle(read(scale * above, scale * below).to(into.values), scale)
        part = pixels[0].permute(1, 2, 0).contiguous()
        y = convolve(part, first - above, last - above, convolution.weight)
        into.rows(first, last).copy_(y[0].permute(1, 2, 0))
        into.done(first, last)

    _each_strip(into.height, gang, work)


def _descend(field: Field, into: Field, down: nn.Module, gang: Gang) -> None:
    """Half the resolution, twice the channels."""
    weight = _weight(down)

    def work(first: int, last: int) -> None:
        y = F.pixel_unshuffle(convolve(field.values, first, last, weight), 2)
        into.rows(first // 2, last // 2).copy_(y[0].permute(1, 2, 0))
        field.done(first, last, again=1)
        into.done(first // 2, last // 2)

    _each_strip(field.height, gang, work, multiple=2)


def _ascend(below: Field, up: nn.Module, fuse: nn.Module, gang: Gang, *, skip: Field, into: Field) -> None:
    """Upsample, and fuse with the skip's rows, which ``into`` may share memory with."""
    weight = _weight(up)
    channels = weight.shape[0] // 4
    mixing = matrix(fuse).t().contiguous() if isinstance(fuse, nn.Conv2d) else None

    def work(first: int, last: int) -> None:
        y = F.pixel_shuffle(convolve(below.values, first, last, weight), 2)
        risen = y[0].permute(1, 2, 0)
        skipped, out = skip.rows(2 * first, 2 * last), into.rows(2 * first, 2 * last)
        if mixing is None:
            out[..., :channels], out[..., channels:] = risen, skipped
        else:
            fused = skipped.flatten(0, 1) @ mixing[channels:]
            out.copy_(fused.addmm_(risen.reshape(-1, channels), mixing[:channels]).view(out.shape))
        below.done(first, last, again=1)
        skip.done(2 * first, 2 * last)
        into.done(2 * first, 2 * last)

    _each_strip(below.height, Gang(crew=gang.crew, rows=max(gang.rows // 2, 1)), work)


def _finish(unet: UNet, field: Field, read: Read, write: Write, gang: Gang) -> None:
    """The head: rows of the last map to a residual, added to the picture's rows."""
    convolution, shuffle = unet.head.conv, unet.head.shuffle
    scale = shuffle.upscale_factor

    def work(first: int, last: int) -> None:
        y = shuffle(convolve(field.values, first, last, convolution.weight))
        write(scale * first, read(scale * first, scale * last).to(y) + y)
        field.done(first, last, again=1)

    _each_strip(field.height, gang, work)

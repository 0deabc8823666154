"""Graphs with 8-bit integers in convolutions, by static calibration, and what that loses.

Weights become 8-bit numbers with a scale for each output channel, activations with one scale and zero point
for the whole tensor, from the least and the largest value that calibration pictures gave. ONNX Runtime's
quantiser writes it as pairs of QuantizeLinear and DequantizeLinear, standard operators that OpenVINO reads
too.

Unusual: not every convolution can bear it. Those of one *role* (the same place in every block) are tried
alone, and the roles that lose least are taken together until the loss reaches a budget. Roles are chosen on
the calibration pictures, the loss that is reported is measured on others.

All pictures of the folder count as clean. A pair is a crop with Gaussian noise of sigma 25 / 255, and the
crop.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyrestore import image
from anyrestore.backends.contract import Run, package
from anyrestore.degradations.noise import gaussian_noise
from anyrestore.errors import UsageError
from anyrestore.metrics import psnr

LARGEST_LOSS = 0.2
"""dB that an int8 graph may lose."""
CROP = 256
"""Side of the crops in pixels."""
_SIGMA = 25.0
_MOST = 24
"""Crops for calibration, and for measuring."""
_TRIED = 8
"""Of these for choosing roles: more than a dozen graphs are made for that."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A clean crop (1 3 h w), and what a network is given to restore it: the degraded crop and the rest."""

    clean: Tensor
    given: tuple[Tensor, ...]


def pairs(folder: Path, rest: tuple[Tensor, ...] = ()) -> tuple[list[Pair], list[Pair]]:
    """For calibration and for measuring: crops from the middle of pictures; every second is held out.

    Args:
        folder: of pictures, those directly in it, in the order of their names; spread over all of them.
        rest: what the network is given beside the picture, the same for all.

    Raises:
        UsageError: there are fewer than four pictures that are at least `CROP` pixels wide and high.
        InputError: one cannot be read.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in image.SUFFIXES)
    spread = paths[:: max(1, len(paths) // (2 * _MOST))]
    found: list[Pair] = []
    generator = torch.Generator().manual_seed(0)
    for path in spread:
        whole = image.to_tensor(image.read(path).pixels)
        top, left = ((side - CROP) // 2 for side in whole.shape[-2:])
        if min(top, left) < 0 or len(found) == 2 * _MOST:
            continue
        clean = whole[..., top : top + CROP, left : left + CROP].clone()
        found.append(Pair(clean=clean, given=(gaussian_noise(clean, _SIGMA, generator), *rest)))
    if len(found) < 4:
        raise UsageError(
            f"--calibrate: expected at least 4 pictures of {CROP} x {CROP} pixels or more in {folder}, "
            f"found {len(found)}"
        )
    return found[0::2], found[1::2]


def mean_psnr(run: Run, of: Sequence[Pair]) -> float:
    """Of what ``run`` restores, in dB, over pairs."""
    values = [float(psnr(run(*pair.given).clamp(0, 1), pair.clean)) for pair in of]
    return math.fsum(values) / len(values)


def quantise(
    graph: bytes,
    calibration: Sequence[Pair],
    make_run: Callable[[bytes], Run],
    *,
    budget: float = LARGEST_LOSS,
    say: Callable[[str], None] = lambda _: None,
) -> bytes:
    """The graph with as many convolutions in int8 as the budget allows.

    Args:
        graph: in float32, without metadata.
        calibration: from :func:`pairs`.
        make_run: runs a graph.
        budget: dB; three quarters of it are used, the rest is for pictures that were not seen.
        say: is told what goes on.

    Raises:
        UsageError: no role of convolutions stays within the budget.
    """
    onnx = package("onnx", "onnx")
    model = _prepared(graph)
    roles = _roles(onnx.load_from_string(model))
    tried = calibration[:_TRIED]
    reference = mean_psnr(make_run(graph), tried)
    losses = dict[str, float]()
    for role, nodes in roles.items():
        loss = reference - mean_psnr(make_run(_quantised(model, tried, nodes)), tried)
        losses[role] = max(loss, 0.0)
        say(f"{role}: {len(nodes)} convolutions, {loss:.3f} dB")
    chosen = list[str]()
    for role in sorted(losses, key=losses.__getitem__):
        if math.fsum(losses[one] for one in (*chosen, role)) <= 0.75 * budget:
            chosen.append(role)
    # Losses do not quite add up: what is too much goes again.
    while chosen:
        nodes = [node for role in chosen for node in roles[role]]
        result = _quantised(model, calibration, nodes)
        loss = reference - mean_psnr(make_run(result), tried)
        say(f"{len(nodes)} of {sum(map(len, roles.values()))} convolutions in int8: {loss:.3f} dB")
        if loss <= 0.75 * budget:
            return result
        chosen.pop()
    raise UsageError(f"no convolution of this network can be int8 within {budget:g} dB")


def quantise_all(graph: bytes, calibration: Sequence[Pair]) -> bytes:
    """The graph with every convolution in int8, whatever that loses."""
    onnx = package("onnx", "onnx")
    model = _prepared(graph)
    nodes = [node for of_role in _roles(onnx.load_from_string(model)).values() for node in of_role]
    return _quantised(model, calibration, nodes)


def _roles(model: Any) -> dict[str, list[str]]:
    """Names of convolutions with stored weights, by their place in a block: "attention/to_qkv"."""
    stored = {tensor.name for tensor in model.graph.initializer}
    roles = dict[str, list[str]]()
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in stored:
            # "/unet/encoder.0/encoder.0.0/attention/to_qkv/Conv"
            place = [re.sub(r"[.\d]+", "", part) for part in node.name.split("/")[-3:-1]]
            roles.setdefault("/".join(place), []).append(node.name)
    return roles


def _prepared(graph: bytes) -> bytes:
    """The graph with shapes inferred and constants folded, as the quantiser wants it."""
    tools = package("onnxruntime.quantization.shape_inference", "onnx")
    onnx = package("onnx", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        tools.quant_pre_process(onnx.load_from_string(graph), str(path), skip_symbolic_shape=True)
        return path.read_bytes()


def _quantised(model: bytes, calibration: Sequence[Pair], nodes: Collection[str]) -> bytes:
    """The prepared graph with these convolutions in int8."""
    onnx = package("onnx", "onnx")
    tools = package("onnxruntime.quantization", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        source = onnx.load_from_string(model)
        names = [given.name for given in source.graph.input]
        tools.quantize_static(
            source,
            str(path),
            _reader(tools.CalibrationDataReader, names, calibration),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(nodes),
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )
        return path.read_bytes()


def _reader(base: Any, names: Sequence[str], calibration: Sequence[Pair]) -> Any:
    """Calibration pictures as the quantiser asks for them."""
    feeds: Iterator[dict[str, Any]] = (
        {name: tensor.contiguous().numpy() for name, tensor in zip(names, pair.given, strict=True)}
        for pair in calibration
    )

    class Reader(base):
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    return Reader()

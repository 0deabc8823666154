"""A network as an ONNX graph of any height, width and batch: made, described, checked, kept.

The graph has inputs ``image`` (b 3 h w) and, where the network takes one, ``instruction`` (n d), n being 1
or b, and the output ``restored``; operators of opset 18 only; weights inside. Its metadata property
``anyrestore`` is JSON: a format number and the fields of :class:`~anyrestore.backends.contract.Card`.

Unusual: it is recorded by torch's older exporter, from a TorchScript trace. The newer one (``dynamo=True``)
gives a graph of the same numbers, but it works the sizes out symbolically and takes tens of times longer,
which a backend would cost at its first start. A trace can be silently wrong for other sizes than its own, so
no graph leaves this file unchecked: it is run at several sizes and compared with the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import platform
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore import tensorfile, zoo
from anyrestore.backends import cache
from anyrestore.backends.contract import Card, Run, package
from anyrestore.backends.exportable import exportable
from anyrestore.backends.suspicion import is_possible, oddity
from anyrestore.errors import ModelError, OutputError
from anyrestore.provenance import versions
from anyrestore.storage import store_bytes

FORMAT = 1
"""Of the metadata; a file with a newer one needs a newer anyrestore."""
OPSET = 18
TOLERANCE = 1e-4
"""The largest difference to the network, where values lie in [0, 1]."""
SIZES = ((1, 1), (1, 3), (3, 2), (5, 4), (7, 9))
"""Height and width at which a graph is checked, in multiples of the network's ``size_multiple``."""
QUICK_SIZES = SIZES[1:3]
_KEY = "anyrestore"
_RECORDED_AT = (4, 6)


def record(network: nn.Module) -> bytes:
    """The ONNX graph of a network, without metadata and not yet checked.

    Args:
        network: on any device; it is copied and not changed.

    Raises:
        ModelError: ``cannot_export`` if ONNX has no operators for it; ``no_backend``.
    """
    package("onnx", "onnx")  # torch's exporter would not say how to install it
    multiple = int(getattr(network, "size_multiple", 1))
    copied = exportable(network).to("cpu", torch.float32)
    given = example(network, *(side * multiple for side in _RECORDED_AT), batch=2)
    axes = {"image": {0: "batch", 2: "height", 3: "width"}, "restored": {0: "batch", 2: "height", 3: "width"}}
    names = ["image", "instruction"][: len(given)]
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # That the exporter is the older one; that sizes become constants, which the check would find; that
        # slices are not computed beforehand.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage] (not re-exported)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        try:
            torch.onnx.export(  # pyright: ignore[reportUnknownMemberType] (untyped parameters)
                copied,
                given,
                cast("Any", file),
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["restored"],
                dynamic_axes=axes | ({"instruction": {0: "instructions"}} if len(given) > 1 else {}),
            )
        except (RuntimeError, TypeError, ValueError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"{type(network).__name__} cannot be written as a graph ({why:.200}); use the backend torch "
                "or compile",
                code="cannot_export",
            ) from error
    return file.getvalue()


def example(network: nn.Module, height: int, width: int, batch: int = 1) -> tuple[Tensor, ...]:
    """What a network is given: images (batch 3 height width) and, where it takes one, an instruction."""
    generator = torch.Generator().manual_seed(height * 10_007 + width)
    image = torch.rand(batch, 3, height, width, generator=generator)
    numbers = getattr(network, "instruction_width", None)
    if numbers is None:
        return (image,)
    return image, nn.functional.normalize(torch.randn(1, numbers, generator=generator), dim=-1)


def largest_difference(run: Run, network: nn.Module, sizes: Sequence[tuple[int, int]] = SIZES) -> float:
    """Between what ``run`` and ``network`` make of random pictures, the worst over all sizes.

    Args:
        run: takes and gives tensors on the CPU.
        network: on the CPU.
        sizes: in multiples of its ``size_multiple``; the second of them with a batch of two.

    Returns:
        Infinity where a result has the wrong shape, is not finite, or ``run`` fails.
    """
    multiple, worst = int(getattr(network, "size_multiple", 1)), 0.0
    for i, (rows, columns) in enumerate(sizes):
        given = example(network, rows * multiple, columns * multiple, batch=2 if i == 1 else 1)
        with torch.inference_mode():
            expected = network(*given)
        try:
            found = run(*given)
        except RuntimeError:
            return float("inf")
        if found.shape != expected.shape or not bool(found.isfinite().all()):
            return float("inf")
        worst = max(worst, float((found - expected).abs().max()))
    return worst


def check(run: Run, network: nn.Module, sizes: Sequence[tuple[int, int]] = SIZES) -> float:
    """The largest difference, which must be small.

    Raises:
        ModelError: ``cannot_export``: it is above `TOLERANCE`.
    """
    difference = largest_difference(run, network, sizes)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the graph of {type(network).__name__} gives other numbers than the network (difference "
            f"{difference:.2g}, at most {TOLERANCE:g} is taken); use the backend torch or compile",
            code="cannot_export",
        )
    return difference


def sign(graph: bytes, card: Card) -> bytes:
    """The graph with its card inside."""
    onnx = package("onnx", "onnx")
    model = onnx.load_from_string(graph)
    model.producer_name, model.producer_version = "anyrestore", card.version
    model.doc_string = (
        f"{card.name} ({card.architecture}), {card.precision}; RGB in [0, 1], height and width multiples of "
        f"{card.size_multiple}; licence of the weights: {card.license or 'the one they came with'}"
    )
    onnx.helper.set_model_props(model, {_KEY: json.dumps({"format": FORMAT} | dataclasses.asdict(card))})
    return model.SerializeToString()


def read(path: Path, extra: str) -> tuple[bytes, Card]:
    """The bytes of an exported file and its card.

    Args:
        path: the file.
        extra: of the backend that reads it; what to install if the package onnx is missing.

    Raises:
        ModelError: ``bad_weights`` if it cannot be read, is no such file, is newer than this anyrestore, or
            holds what no file of ours does: see :mod:`anyrestore.backends.suspicion`; ``no_backend``.
    """
    onnx = package("onnx", extra)
    try:
        with tensorfile.opened(path) as file:
            data = tensorfile.read_whole(file)
    except OSError as error:
        raise ModelError(
            f"expected a model at {path}, but it cannot be read: {error.strerror}", code="bad_weights"
        ) from error
    bad = ModelError(
        f"expected an ONNX file that anyrestore export wrote in {path}, found something else",
        code="bad_weights",
    )
    try:
        model = onnx.load_from_string(data)
        about = json.loads({entry.key: entry.value for entry in model.metadata_props}[_KEY])
        newer = about.pop("format") > FORMAT
    # protobuf's own error has no public base class but Exception.
    except Exception as error:
        raise bad from error
    if newer:
        raise zoo.needs_newer(path, about.get("version"))
    if odd := oddity(onnx, model):
        raise ModelError(
            f"expected in {path} a graph as anyrestore export writes it, found one with {odd}; it was not "
            "run",
            code="bad_weights",
        )
    if not is_possible(about):
        raise bad
    try:
        return data, Card(**about)
    except TypeError as error:
        raise bad from error


def kept(network: nn.Module, make_run: Callable[[bytes, Path | None], Run]) -> Run:
    """What runs the checked graph of a network, from the cache if it was made before.

    Args:
        network: on the CPU.
        make_run: runs a graph; it is given the graph's file too, if it could be kept in one.

    Raises:
        ModelError: as :func:`record` and :func:`check`.
    """
    folder = cache.folder("graphs")
    path = None if folder is None else folder / f"{_digest(network)}.onnx"
    if path is not None:
        with contextlib.suppress(OSError, ModelError):  # what cannot be used is made again
            run = make_run(path.read_bytes(), path)
            # The digest knows weights and versions, but not a forward that somebody has rewritten since.
            if largest_difference(run, network, SIZES[:1]) <= TOLERANCE:
                return run
    graph = record(network)
    # Of the zoo's networks it is known that sizes are all alike to their graphs; of other people's it is not.
    check(make_run(graph, None), network, QUICK_SIZES if hasattr(network, "config") else SIZES)
    if path is not None:
        try:
            store_bytes(graph, path, overwrite=True)
        except OutputError:  # a full disk must not keep anyone from restoring
            path = None
    return make_run(graph, path)


def keep(data: bytes) -> Path | None:
    """A file of our own with these bytes, named by them; None where there is no place for it."""
    folder = cache.folder("graphs")
    if folder is None:
        return None
    path = folder / f"{hashlib.sha256(data).hexdigest()}.onnx"
    try:
        store_bytes(data, path, overwrite=True)
    except OutputError:
        return None
    return path


def installed(name: str) -> bool:
    """Whether a package is there."""
    return importlib.util.find_spec(name) is not None


def _digest(network: nn.Module) -> str:
    """Of everything that the graph depends on: weights, configuration, our code's version and torch's."""
    digest = hashlib.sha256()
    config = getattr(network, "config", None) or getattr(network, "architecture", "")
    made_by = versions() | {"machine": platform.machine(), "opset": OPSET}
    for part in (made_by, type(network).__qualname__, config, network):
        digest.update(f"{part!r}\n".encode())
    for name, tensor in network.state_dict(keep_vars=True).items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

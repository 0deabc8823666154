"""Who computes a model's passes: torch, torch.compile, OpenVINO or ONNX Runtime, behind one call.

A backend turns a network into a module that is called like it: image (b 3 h w) in and out,
``size_multiple``, ``bytes_per_pixel``, an instruction's vector as the second argument where the network
takes one. Nothing of a backend is imported before it is asked for. A file written by ``anyrestore export``
is such a module too.

See docs/performance.md for what each is worth.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from anyrestore import zoo
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    import torch

BACKENDS = ("torch", "compile", "openvino", "onnxruntime")
#: By name: the file here that prepares networks for it.
_ROOMS = {"compile": "compiled", "openvino": "openvino", "onnxruntime": "onnxruntime"}
_CPU_ONLY = ("openvino", "onnxruntime")


def is_graph(name: str | Path | nn.Module) -> bool:
    """Whether what stands for a model is a file as ``anyrestore export`` writes it."""
    return not isinstance(name, nn.Module) and str(name).lower().endswith(".onnx")


def load_model(name: str | Path, backend: str = "torch") -> nn.Module:
    """As :func:`anyrestore.zoo.load_model`, files of ``anyrestore export`` too.

    Args:
        name: a name of the catalogue, or the path of a file.
        backend: for an exported file, which torch cannot run: "openvino", or else ONNX Runtime.

    Raises:
        ModelError: as there; ``no_backend`` if what runs the file is not installed.
    """
    if not is_graph(name):
        return zoo.load_model(name)
    runner = "openvino" if backend == "openvino" else "onnxruntime"
    return import_module(f"anyrestore.backends.{_ROOMS[runner]}").load(Path(name))


def prepare(network: nn.Module, backend: str, device: torch.device) -> nn.Module:
    """A module that gives what ``network`` gives, computed by ``backend``.

    Args:
        network: in eval mode, on ``device``.
        backend: one of `BACKENDS`; for "torch", and for an exported file's module, ``network`` comes back.
        device: where to compute; OpenVINO and ONNX Runtime are used on the CPU only.

    Raises:
        UsageError: there is no such backend, or it does not compute on this device.
        ModelError: ``no_backend`` if a package or the compiler is missing, ``cannot_export`` if the network
            does not become a graph with the same results.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend in _CPU_ONLY and device.type != "cpu":
        raise UsageError(f"backend: {backend} computes on the CPU; add --device cpu, or use torch or compile")
    if hasattr(network, "card"):
        if backend == "compile":
            raise UsageError("backend: an exported file is run by onnxruntime or openvino, not by compile")
        return network
    return (
        network
        if backend == "torch"
        else import_module(f"anyrestore.backends.{_ROOMS[backend]}").prepare(network)
    )

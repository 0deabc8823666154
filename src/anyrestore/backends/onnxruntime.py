"""ONNX Runtime (MIT) on the CPU: graphs of networks, and files that ``anyrestore export`` wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from anyrestore.backends.contract import Backed, Run, describe, failed, package, threads
from anyrestore.backends.graph import kept, read
from anyrestore.errors import ModelError

EXTRA = "onnx"
"""The extra of pyproject.toml that installs what this needs."""


def prepare(network: nn.Module) -> nn.Module:
    """A network (on the CPU, in eval mode) run by ONNX Runtime; see :func:`anyrestore.backends.prepare`."""
    package("onnxruntime", EXTRA)
    return Backed(kept(network, runner), describe(network), network)


def load(path: Path) -> nn.Module:
    """An exported file; see :func:`anyrestore.backends.load_model`."""
    graph, card = read(path, EXTRA)
    return Backed(runner(graph), card)


def runner(graph: bytes, _path: Path | None = None) -> Run:
    """A function that runs a graph; its file is not needed.

    Raises:
        ModelError: ``bad_weights`` if ONNX Runtime cannot use it.
    """
    engine = package("onnxruntime", EXTRA)
    options = engine.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 4  # what it reports as errors is raised as well
    # Threads that wait sleep instead of spinning, as everywhere in anyrestore: other programs run too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Patterns of memory are remembered for every size that ever came; pictures have many.
    options.enable_mem_pattern = False
    try:
        session = engine.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        why = " ".join(str(error).split())
        raise ModelError(f"ONNX Runtime cannot use this graph ({why:.200})", code="bad_weights") from error
    names = [given.name for given in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        feed = {name: _array(one) for name, one in zip(names, given, strict=True)}
        try:
            return torch.as_tensor(session.run(None, feed)[0])
        except Exception as error:
            raise failed(error, "ONNX Runtime") from error

    return run


def _array(tensor: Tensor) -> object:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()

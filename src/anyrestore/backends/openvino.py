"""OpenVINO (Apache-2.0) on the CPU: graphs of networks, and files that ``anyrestore export`` wrote.

What it compiles is kept in the cache folder, so that later runs load instead of compiling. Unusual: it is
told to compute in float32; on processors that have bfloat16 it would otherwise choose that, unasked.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.backends import cache
from anyrestore.backends.contract import Backed, Run, describe, failed, package, threads
from anyrestore.backends.graph import keep, kept, read
from anyrestore.errors import ModelError

EXTRA = "openvino"
"""The extra of pyproject.toml that installs what this needs."""


def prepare(network: nn.Module) -> nn.Module:
    """A network (on the CPU, in eval mode) run by OpenVINO; see :func:`anyrestore.backends.prepare`."""
    package("openvino", EXTRA)
    return Backed(kept(network, runner), describe(network), network)


def load(path: Path) -> nn.Module:
    """An exported file; see :func:`anyrestore.backends.load_model`."""
    graph, card = read(path, EXTRA)
    # Not the file itself, which may have become another one since it was checked.
    return Backed(runner(graph, keep(graph)), card)


def runner(graph: bytes, path: Path | None = None) -> Run:
    """A function that runs a graph.

    Args:
        graph: the ONNX graph.
        path: the file with the same bytes; with it, what was compiled is kept between runs.

    Raises:
        ModelError: ``bad_weights`` if OpenVINO cannot use it.
    """
    engine = package("openvino", EXTRA)
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    folder = None if path is None else cache.folder("openvino")
    if folder is not None:
        settings["CACHE_DIR"] = str(folder)
    try:
        core = engine.Core()
        source = core.read_model(graph) if folder is None else str(path)
        compiled = core.compile_model(source, "CPU", settings)
        request, lock = compiled.create_infer_request(), threading.Lock()
    except Exception as error:
        why = " ".join(str(error).split())
        raise ModelError(
            f"OpenVINO cannot use this graph ({why:.200}); if it came from the cache, delete {folder}",
            code="bad_weights",
        ) from error

    def run(*given: Tensor) -> Tensor:
        arrays = [one.detach().to("cpu", torch.float32).contiguous().numpy() for one in given]
        with lock:  # a request is one set of buffers
            try:
                result = request.infer(dict(enumerate(arrays)), share_inputs=True)
                return torch.as_tensor(result[0])
            except Exception as error:
                raise failed(error, "OpenVINO") from error

    return run

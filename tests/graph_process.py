"""What runs in a process of its own: here jaxtyping wraps every function, which a trace would record."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import pytest
import torch

from anyrestore.errors import UsageError
from tiny_models import make_smallest, moved

ENGINES = ("onnxruntime", "openvino")


def need(*packages: str) -> None:
    """Skip, by name, where one is not installed."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"the package {package} (extras onnx, openvino) is not installed")


def process(cache: str) -> ProcessPoolExecutor:
    """A fresh Python process with an empty cache folder."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (cache,))


def _begin(cache: str) -> None:
    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = cache


def differences(name: str, sizes: Sequence[tuple[int, int]]) -> dict[str, float]:
    """By engine: the largest difference between a ``Restorer`` with it and one without, over all sizes."""
    from anyrestore import Restorer

    model = moved(make_smallest(name))
    told = {"instruction": "it is noisy"} if hasattr(model, "instruction_width") else {}
    plain = Restorer(model, device="cpu", tile="off", **told)
    others = {engine: Restorer(model, device="cpu", tile="off", backend=engine, **told) for engine in ENGINES}
    assert all(other.model is not plain.model for other in others.values())
    worst = dict.fromkeys(ENGINES, 0.0)
    for height, width in sizes:
        generator = torch.Generator().manual_seed(height * 1000 + width)
        x = torch.rand(1 + height % 2, 3, height, width, generator=generator)
        expected = plain(x)
        for engine, other in others.items():
            worst[engine] = max(worst[engine], float((other(x) - expected).abs().max()))
    return worst


def command(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `anyrestore`."""
    from anyrestore.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def strict_command(*arguments: object) -> tuple[int, str, str]:
    """As :func:`command`, where int8 always loses too much."""
    from anyrestore.backends import int8

    int8.LARGEST_LOSS = -1000.0
    int8.CROP = 64
    return command(*arguments)


def in_integers() -> dict[str, float]:
    """What int8 does to the smallest CEA-IR, on noise around smooth pictures."""
    import onnx

    from anyrestore.backends import graph, int8, onnxruntime, openvino

    def pairs(first: int) -> list[int8.Pair]:
        generator = torch.Generator().manual_seed(first)
        small = torch.rand(6, 3, 6, 6, generator=generator)
        clean = torch.nn.functional.interpolate(small, (48, 48), mode="bicubic").clamp(0, 1)
        noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
        return [int8.Pair(clean=c[None], given=(n[None],)) for c, n in zip(clean, noisy, strict=True)]

    network = moved(make_smallest("cea"))
    plain = graph.record(network)
    whole = int8.quantise_all(plain, pairs(0))
    every_role = int8._roles
    # Four of twelve: every one is tried with a graph of its own, which takes a second.
    int8._roles = lambda model: dict(list(every_role(model).items())[::3])
    part = int8.quantise(plain, pairs(0), onnxruntime.runner, budget=0.05)
    held_out = pairs(1)
    runs = {
        "float": onnxruntime.runner(plain),
        "whole": onnxruntime.runner(whole),
        "part": onnxruntime.runner(part),
        "openvino": openvino.runner(part),
    }
    found = {name: int8.mean_psnr(run, held_out) for name, run in runs.items()}

    def integers(data: bytes) -> int:
        return sum(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(data).graph.node)

    int8._roles = lambda model: dict(list(every_role(model).items())[:1])
    try:
        int8.quantise(plain, pairs(0), onnxruntime.runner, budget=-1.0)
    except UsageError:
        found["refused"] = 1.0
    return found | {"whole int8": integers(whole), "part int8": integers(part), "float int8": integers(plain)}

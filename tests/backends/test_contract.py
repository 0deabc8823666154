"""Choosing a backend, and the module that every backend hands out."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anyrestore import Restorer, backends
from anyrestore.backends import cache, compiled, contract, graph
from anyrestore.backends.contract import Backed, describe, failed, package
from anyrestore.backends.exportable import exportable
from anyrestore.cli import restore
from anyrestore.errors import ModelError, UsageError
from graph_process import need
from tiny_models import SMALLEST, image, make, make_smallest, moved

CPU = torch.device("cpu")


def backed(network: nn.Module) -> Backed:
    """Runs the network itself, half as bright, so that it shows which of the two ran."""
    return Backed(lambda *given: network(*given) / 2, describe(network), network)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in SMALLEST if name != "nafnet with local means"])
def test_what_is_recorded_is_the_same_function(name: str) -> None:
    network = moved(make_smallest(name))
    other = exportable(network)
    assert other is not network
    for size in ((16, 16), (48, 80)):
        x = image(*size, batch=2)
        torch.testing.assert_close(other(x), network(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("nafnet-tiny", {"local_window": (24, 24)}, "local means"),
        ("moce-tiny", {"paper_quirks": True}, "paper_quirks"),
    ],
)
def test_what_no_graph_can_hold_is_refused(name: str, changes: dict[str, object], word: str) -> None:
    with pytest.raises(ModelError, match=word) as raised:
        exportable(make(name, **changes))
    assert raised.value.code == "cannot_export"


class Talkative(nn.Module):
    """Says something that no exporter says."""

    def forward(self, picture: Tensor) -> Tensor:
        warnings.warn("odd", UserWarning, stacklevel=2)
        return 2 * picture


def test_only_known_warnings_of_the_exporter_are_kept_back() -> None:
    """All others are errors here."""
    need("onnx")
    with pytest.warns(UserWarning, match="odd"):
        graph.record(Talkative())


@torch.no_grad()
def test_a_kept_graph_that_no_longer_fits_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The digest cannot know that somebody has rewritten a network's forward."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    network, made = moved(make("tiny")), list[bytes]()

    def record(_: nn.Module) -> bytes:
        made.append(b"%d" % len(made))
        return made[-1]

    fitting = {b"0"}

    def make_run(data: bytes, _path: Path | None) -> contract.Run:
        return lambda *given: network(*given) + (0.0 if data in fitting else 0.1)

    monkeypatch.setattr(graph, "record", record)
    for _ in range(2):
        assert torch.equal(graph.kept(network, make_run)(image(16, 16)), network(image(16, 16)))
    assert made == [b"0"]
    fitting = {b"1"}
    graph.kept(network, make_run)
    graph.kept(network, make_run)
    assert made == [b"0", b"1"]
    assert [path.read_bytes() for path in (tmp_path / "anyrestore" / "graphs").iterdir()] == [b"1"]


def test_the_command_knows_the_backends() -> None:
    assert restore.BACKENDS == backends.BACKENDS


def test_a_result_comes_back_to_the_pictures_device() -> None:
    other = Backed(lambda *_: torch.zeros(1, 3, 16, 16), describe(make("tiny")))
    assert other(torch.empty(1, 3, 16, 16, device="meta")).is_meta


def test_torch_is_the_network_itself() -> None:
    network = make("tiny")
    assert backends.prepare(network, "torch", CPU) is network
    assert Restorer(network, device="cpu").model is network


@pytest.mark.parametrize("backend", ["tensorrt", ""])
def test_an_unknown_backend_is_refused(backend: str) -> None:
    with pytest.raises(UsageError, match="torch, compile, openvino, onnxruntime"):
        Restorer(make("tiny"), backend=backend)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_engines_for_the_cpu_refuse_a_gpu(backend: str) -> None:
    with pytest.raises(UsageError, match="--device cpu"):
        backends.prepare(make("tiny"), backend, torch.device("cuda"))


@pytest.mark.parametrize(("backend", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_a_missing_package_is_one_sentence(
    backend: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    module = importlib.import_module(f"anyrestore.backends.{backend}")
    monkeypatch.setattr("anyrestore.backends.contract.importlib.import_module", missing)
    for attempt in (lambda: module.prepare(make("tiny")), lambda: module.load(tmp_path / "a.onnx")):
        with pytest.raises(ModelError, match=f'pip install "anyrestore\\[{extra}\\]"') as raised:
            attempt()
        assert raised.value.code == "no_backend"


def test_nothing_is_recorded_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime does not bring it along."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match="the package onnx, which is not there") as raised:
        graph.record(make("tiny"))
    assert raised.value.code == "no_backend"


def test_a_package_that_is_there() -> None:
    assert package("json", "none") is importlib.import_module("json")


@torch.no_grad()
def test_a_pass_is_the_engines() -> None:
    network, x = moved(make("tiny")), image(16, 24)
    other = backed(network)
    assert torch.equal(other(x), network(x) / 2)
    assert (other.size_multiple, other.bytes_per_pixel) == (network.size_multiple, network.bytes_per_pixel)
    assert not list(other.children())
    with pytest.raises(ValueError, match="multiples of 8"):
        other(image(16, 17))


@torch.no_grad()
def test_what_tiles_share_goes_to_torch() -> None:
    network, x = moved(make("tiny")), image(16, 24)
    other = backed(network)
    condition = other.share([x])
    assert torch.equal(other(x, condition), network(x, condition))
    alone = Backed(network, describe(network))
    assert not hasattr(alone, "share")
    with pytest.raises(ModelError, match="tiles share"):
        alone(x, condition)


@torch.no_grad()
def test_an_instruction_is_the_second_input() -> None:
    network, x = moved(make("instructir-tiny")), image(16, 24, batch=2)
    other = backed(network)
    for rows in (1, 2):
        vector = torch.randn(rows, 256, generator=torch.Generator().manual_seed(rows))
        assert torch.equal(other(x, vector), network(x, vector) / 2)
    assert torch.equal(other(x), network(x) / 2)
    for wrong in (torch.zeros(1, 3), torch.zeros(3, 256)):
        with pytest.raises(ValueError, match="instruction of shape"):
            other(x, wrong)
    assert not hasattr(backed(make("tiny")), "instruction_width")


def test_an_engines_error_says_whether_memory_ran_out() -> None:
    assert isinstance(failed(RuntimeError("std::bad_alloc"), "X"), MemoryError)
    other = failed(ValueError("shape\nmismatch"), "X")
    assert isinstance(other, RuntimeError)
    assert str(other) == "X: shape mismatch"


def test_compile_keeps_what_it_makes_in_our_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inductor itself takes minutes; here it is asked to give the network back."""
    asked = list[dict[str, object]]()

    def fake(network: nn.Module, **options: object) -> nn.Module:
        asked.append(options)
        return network

    monkeypatch.setattr(torch, "compile", fake)
    monkeypatch.setattr(compiled, "_has_compiler", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    network = make("tiny")
    other = backends.prepare(network, "compile", CPU)
    assert asked == [{"dynamic": True}]
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) == tmp_path / "anyrestore" / "inductor"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    with torch.no_grad():
        assert torch.equal(other(image(16, 16)), network(image(16, 16)))


def test_compile_without_a_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match=r"install g\+\+") as raised:
        backends.prepare(make("tiny"), "compile", CPU)
    assert raised.value.code == "no_backend"


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "here"))
    assert cache.folder("graphs") == tmp_path / "here" / "anyrestore" / "graphs"
    assert (tmp_path / "here" / "anyrestore" / "graphs").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert cache.folder("graphs") == tmp_path / ".cache" / "anyrestore" / "graphs"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "file"))
    assert cache.folder("graphs") is None


def test_tiles_of_a_backend_are_those_of_torch() -> None:
    """They share what they need, so that each pass has a condition: torch runs it."""
    network, x = moved(make("tiny")), image(64, 96)
    plain = Restorer(network, device="cpu", tile=48)(x)
    other = Restorer(backed(network), device="cpu", tile=48)(x)
    torch.testing.assert_close(other, plain)


def _doubled(*given: Tensor) -> Tensor:
    return 2 * given[0]


def test_a_progress_bar_counts_passes_of_a_module_without_parts() -> None:
    module = Backed(_doubled, describe(make("tiny")))
    with torch.no_grad():
        assert torch.equal(Restorer(module, device="cpu", progress=True)(image(8, 8)), 2 * image(8, 8))

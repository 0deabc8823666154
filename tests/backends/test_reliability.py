"""Graphs from files that are hostile, damaged or foreign: row M10, and others of M for graphs."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore.backends import graph, openvino
from anyrestore.backends.contract import describe
from anyrestore.errors import ModelError
from graph_process import need
from tiny_models import make

FULL = os.environ.get("ANYRESTORE_FULL") == "1"


def sound() -> Any:
    """A graph of two operators with a card, as small as one can be: the picture plus a constant."""
    import onnx

    shape = ["batch", 3, "height", "width"]
    given, restored = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("image", "restored")
    )
    constant = onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 0.25, np.float32), "bias")
    half = onnx.numpy_helper.from_array(np.full((1,), 0.5, np.float32), "half")
    nodes = [
        onnx.helper.make_node("Constant", [], ["factor"], value=half),
        onnx.helper.make_node("Mul", ["image", "factor"], ["darker"]),
        onnx.helper.make_node("Add", ["darker", "bias"], ["restored"]),
    ]
    made = onnx.helper.make_graph(nodes, "sound", [given], [restored], [constant])
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    card = {"format": 1} | describe(make("nafnet-tiny")).__dict__
    onnx.helper.set_model_props(model, {"anyrestore": json.dumps(card)})
    return model


def outside(place: str, where: str = "initializer") -> Callable[[], Any]:
    """A tensor of it lies in another file."""

    def make() -> Any:
        import onnx

        model = sound()
        tensor = model.graph.initializer[0] if where == "initializer" else model.graph.node[0].attribute[0].t
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        return model

    return make


def changed(change: Callable[[Any], object]) -> Callable[[], Any]:
    def make() -> Any:
        model = sound()
        change(model)
        return model

    return make


def _custom(model: Any) -> None:
    model.graph.node[1].domain = "evil.ops"
    model.opset_import.add(domain="evil.ops", version=1)


def _function(model: Any) -> None:
    model.functions.add(name="f", domain="evil.ops")


def _huge(model: Any) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([2**31, 2**31])


def _negative(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -3


def _huge_by_size(model: Any) -> None:
    import onnx

    size = onnx.numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "size")
    model.graph.initializer.append(size)
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["size"], ["much"]))


def _huge_by_numbers(model: Any) -> None:
    """The size stands in a constant's attribute, not in a tensor."""
    import onnx

    model.graph.node.append(onnx.helper.make_node("Constant", [], ["size"], value_ints=[2**20, 2**20]))
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["size"], ["much"]))


def _huge_by_attribute(model: Any) -> None:
    import onnx

    model.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["much"], shape=[2**20, 2**20]))


def _huge_range(model: Any) -> None:
    import onnx

    for name, value in (("first", 0.0), ("limit", 1e12), ("step", 1.0)):
        model.graph.node.append(onnx.helper.make_node("Constant", [], [name], value_float=value))
    model.graph.node.append(onnx.helper.make_node("Range", ["first", "limit", "step"], ["much"]))


def _sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def _inside_a_branch(model: Any) -> None:
    import onnx

    inner = outside("/etc/hostname")().graph
    model.graph.node.append(
        onnx.helper.make_node("If", ["image"], ["x"], then_branch=inner, else_branch=inner)
    )


def _not_finite(model: Any) -> None:
    import onnx

    values = np.full((1, 3, 1, 1), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "bias"))


def _infinite_constant(model: Any) -> None:
    import onnx

    values = np.full((1,), np.inf, np.float32)
    model.graph.node[0].attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(values, "half"))


def _nan_as_a_number(model: Any) -> None:
    import onnx

    model.graph.node.append(onnx.helper.make_node("Constant", [], ["x"], value_floats=[float("nan")]))


#: What asks an engine to open something; CANARY stands for a file outside the folder.
OUTSIDE: dict[str, Callable[[str], Any]] = {
    "an absolute path": lambda canary: outside(canary)(),
    "a path upwards": lambda canary: outside(f"../outside/{Path(canary).name}")(),
    "a symbolic link": lambda _: outside("link")(),
    "a file of a constant": lambda canary: outside(canary, "constant")(),
    "a file beside it": lambda _: outside("beside")(),
}
ODD: dict[str, Callable[[], Any]] = {
    "custom operators": changed(_custom),
    "functions": changed(_function),
    "huge dims": changed(_huge),
    "negative dims": changed(_negative),
    "a huge array by its size": changed(_huge_by_size),
    "a huge array by numbers": changed(_huge_by_numbers),
    "a huge array by an attribute": changed(_huge_by_attribute),
    "a huge range": changed(_huge_range),
    "sparse tensors": changed(_sparse),
    "files inside a branch": changed(_inside_a_branch),
    "NaN": changed(_not_finite),
    "infinity": changed(_infinite_constant),
    "NaN as a number": changed(_nan_as_a_number),
}


def stored(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as raised:
        graph.read(path, "onnx")
    assert raised.value.code == "bad_weights"
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_sound_graph_is_taken(tmp_path: Path) -> None:
    need("onnx")
    assert graph.read(stored(sound(), tmp_path / "a.onnx"), "onnx")[1].architecture == "NAFNet"


@pytest.mark.reliability("M10")
@pytest.mark.parametrize("name", [*OUTSIDE, *ODD])
def test_what_no_graph_of_ours_holds_is_refused(name: str, tmp_path: Path) -> None:
    need("onnx")
    model = ODD[name]() if name in ODD else OUTSIDE[name](str(tmp_path / "canary"))
    assert "it was not run" in str(refusal(stored(model, tmp_path / "a.onnx")))


@pytest.mark.reliability("M10")
@pytest.mark.parametrize(
    "about",
    [
        {"size_multiple": 10**9},
        {"size_multiple": 0},
        {"size_multiple": "8"},
        {"size_multiple": True},
        {"bytes_per_pixel": -1},
        {"bytes_per_pixel": float("nan")},
        {"instruction_width": 10**9},
        {"name": ["x"]},
        {"license": 3},
        {"surprise": 1},
        {"format": "1"},
    ],
    ids=str,
)
def test_cards_that_cannot_be_are_refused(about: dict[str, Any], tmp_path: Path) -> None:
    need("onnx")
    model = sound()
    entry = model.metadata_props[0]
    entry.value = json.dumps(json.loads(entry.value) | about)
    refusal(stored(model, tmp_path / "a.onnx"))


CHILD = """
import sys
from pathlib import Path
from anyrestore import backends
from anyrestore.errors import ModelError
print("BEGIN", flush=True)
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    for backend in ("torch", "openvino"):
        try:
            backends.load_model(path, backend)
            print("taken", path.name, backend)
        except ModelError:
            pass
"""


@pytest.mark.reliability("M10")
def test_no_file_outside_is_opened(tmp_path: Path) -> None:
    """strace sees every file that the process opens, libraries' included."""
    need("onnx", "onnxruntime", "openvino")
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    inside, canary = tmp_path / "inside", tmp_path / "outside" / "canary.bin"
    inside.mkdir()
    canary.parent.mkdir()
    for file in (canary, inside / "beside"):
        file.write_bytes(np.full((1, 3, 1, 1), 0.25, np.float32).tobytes())
    (inside / "link").symlink_to(canary)
    for i, make_model in enumerate(OUTSIDE.values()):
        stored(make_model(str(canary)), inside / f"{i}.onnx")
    stored(ODD["files inside a branch"](), inside / "branch.onnx")
    log = tmp_path / "log"
    done = subprocess.run(
        [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-e",
            "trace=open,openat,openat2",
            "-o",
            log,
            sys.executable,
            "-c",
            CHILD,
            inside,
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.stdout.split() == ["BEGIN"]
    opened = log.read_text()
    assert f'"{inside}/0.onnx"' in opened  # it does see what is opened
    for name in ("canary.bin", f'"{inside}/link"', f'"{inside}/beside"', "/etc/hostname"):
        assert name not in opened


@pytest.mark.reliability("M1")
def test_a_pickle_under_a_graphs_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("onnx")
    monkeypatch.chdir(tmp_path)
    for program in (b"cposix\nmkdir\n(S'canary'\ntR.", b"\x80\x02cposix\nmkdir\nX\x06\0\0\0canary\x85R."):
        Path("a.onnx").write_bytes(program)
        refusal(Path("a.onnx"))
        assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.reliability("M5")
def test_graphs_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    need("onnx")
    data, path = sound().SerializeToString(), tmp_path / "a.onnx"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        refusal(path)


@pytest.mark.reliability("M8")
@pytest.mark.parametrize("name", ["NaN", "infinity", "NaN as a number"])
def test_graphs_with_numbers_that_are_not_finite_are_refused(name: str, tmp_path: Path) -> None:
    need("onnx")
    assert "not finite" in str(refusal(stored(ODD[name](), tmp_path / "a.onnx")))


@pytest.mark.reliability("M9")
def test_newer_graphs_say_which_version_they_need(tmp_path: Path) -> None:
    need("onnx")
    model = sound()
    entry = model.metadata_props[0]
    entry.value = json.dumps(json.loads(entry.value) | {"format": 2, "version": "9.8.7", "new": 1})
    assert "needs anyrestore >= 9.8.7" in str(refusal(stored(model, tmp_path / "a.onnx")))


@pytest.mark.reliability("M11")
def test_openvino_is_given_the_bytes_that_were_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is another one as soon as it has been read."""
    need("onnx")
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    path = stored(sound(), tmp_path / "a.onnx")
    data, given = path.read_bytes(), list[bytes]()

    def read(path: Path, extra: str) -> Any:
        found = graph.read(path, extra)
        path.write_bytes(b"other")
        return found

    def runner(graph: bytes, path: Path | None = None) -> Any:
        given.extend([graph, b"" if path is None else path.read_bytes()])
        return lambda *tensors: tensors[0]

    monkeypatch.setattr(openvino, "read", read)
    monkeypatch.setattr(openvino, "runner", runner)
    openvino.load(path)
    assert given == [data, data]


@pytest.mark.reliability("M12")
def test_mutated_graphs_raise_nothing_but_model_errors(tmp_path: Path) -> None:
    """For half a second of the processor, fifteen with ANYRESTORE_FULL=1."""
    need("onnx")
    data, path, draw = sound().SerializeToString(), tmp_path / "a.onnx", random.Random(5)
    count, began = 0, time.process_time()
    while time.process_time() - began < (15 if FULL else 0.5):
        copy = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 5))):
            place = draw.randrange(len(copy))
            match draw.randrange(4):
                case 0:
                    copy[place] ^= 1 << draw.randrange(8)
                case 1:
                    copy[place] = draw.randrange(256)
                case 2:
                    del copy[place : place + draw.choice((1, 4, 20))]
                case _:
                    copy[place:place] = copy[place : place + 9]
        path.write_bytes(copy)
        try:
            graph.read(path, "onnx")
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017
        count += 1
    assert count > 50

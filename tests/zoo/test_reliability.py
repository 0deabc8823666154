"""Model files that are broken, foreign or hostile: rows M1 to M9, M11 and M12 of docs/reliability.md.

Row M10, of graphs, is shown in tests/backends/test_reliability.py. ANYRESTORE_FULL=1 runs the rows' whole
counts; otherwise a seeded few.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import anyrestore
from anyrestore import tensorfile, zoo
from anyrestore.cli import export
from anyrestore.cli.main import main
from anyrestore.errors import ModelError
from anyrestore.text import instructions
from anyrestore.text.instructions import InstructionHead, load_head, save_head
from anyrestore.zoo import CATALOG, hub, load_model, load_weights, save_weights
from anyrestore.zoo.catalog import ARCHITECTURES
from anyrestore.zoo.weights import FORMAT
from public_weights import lightning, public_state
from tiny_models import SMALLEST, make, make_smallest

FULL = os.environ.get("ANYRESTORE_FULL") == "1"
SOURCE = Path(anyrestore.__file__).parent
CANARY = "canary"


def refusal(load: Callable[[Any], object], given: object) -> ModelError:
    """The error with which something is refused; it must be one sentence, and one of ours."""
    with pytest.raises(ModelError) as raised:
        load(given)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 3000
    return raised.value


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of ours."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(make("tiny"), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A text head."""
    path = tmp_path_factory.mktemp("head") / "h.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_head(InstructionHead(), path)
    return path.read_bytes()


def checkpoint(content: object, *, new: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file of ours, and what it says."""
    header, tensors = tensorfile.parse(data)
    about = json.loads(header.words[tensorfile.WORD])
    return tensors, {key: value for key, value in about.items() if key != "sha256"}


def repacked(data: bytes, **changed: object) -> bytes:
    """The same tensors, saying something else, with a right checksum."""
    tensors, about = unpacked(data)
    return tensorfile.pack(tensors, about | changed)


# M1 ---------------------------------------------------------------------------------------------------------


class Attack:
    """Its pickle calls a function when it is read by a reader that runs things."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class WithState:
    def __reduce__(self) -> tuple[Any, ...]:
        return collections.OrderedDict, (), {"x": Attack(os.mkdir, CANARY)}


def in_zip(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    return file.getvalue()


def in_tar(program: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(program)
        archive.addfile(entry, io.BytesIO(program))
    return file.getvalue()


MKDIR = Attack(os.mkdir, CANARY)
#: Pickles that plain pickle falls for.
PICKLES: dict[str, bytes] = {
    **{f"protocol {n}": pickle.dumps(MKDIR, n) for n in range(6)},
    "in a list": pickle.dumps([1, {"state_dict": MKDIR}], 2),
    "os.system": pickle.dumps(Attack(os.system, f"mkdir {CANARY}"), 2),
    "eval": pickle.dumps(Attack(eval, f"__import__('os').mkdir({CANARY!r})"), 2),
    "exec": pickle.dumps(Attack(exec, f"import os; os.mkdir({CANARY!r})"), 4),
    "subprocess": pickle.dumps(Attack(subprocess.check_call, ["mkdir", CANARY]), 2),
    "INST": f"(S'{CANARY}'\niposix\nmkdir\n.".encode(),
    "OBJ": b"\x80\x02(cposix\nmkdir\nX\x06\0\0\0canaryo.",
    "as text": f"cposix\nmkdir\n(S'{CANARY}'\ntR.".encode(),
    "in a state": pickle.dumps(WithState(), 2),
}
#: The same inside other things.
WRAPPED: dict[str, bytes] = {
    "torch's archive": in_zip(PICKLES["protocol 2"]),
    "torch's older file": b"".join(pickle.dumps(p, 2) for p in (0x1950A86A20F9469CFC6C, 1001))
    + PICKLES["protocol 2"],
    "torch.save": checkpoint({"state_dict": MKDIR}),
    "gzip": gzip.compress(PICKLES["protocol 2"]),
    "tar": in_tar(PICKLES["protocol 2"]),
}
ENDINGS = ("pt", "pth", "ckpt", "pkl", "bin", "safetensors")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_canary_sings_for_a_reader_that_runs_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, program in PICKLES.items():
        pickle.loads(program)
        assert names(tmp_path) == [CANARY], name
        (tmp_path / CANARY).rmdir()


@pytest.mark.reliability("M1")
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_in_a_file_is_run_whatever_its_name(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    payloads = PICKLES | WRAPPED
    assert len(payloads) == 20
    for name, data in payloads.items():
        path = Path(f"a.{ending}")
        path.write_bytes(data)
        error = refusal(load_model, path)
        assert error.code == ("bad_weights" if name in ("gzip", "tar") else "unsafe_format"), name
        for load in (load_weights, load_head, hub.load_pretrained):
            refusal(load, path)
        assert names(tmp_path) == [path.name], name


@pytest.mark.reliability("M1")
def test_the_command_runs_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (PICKLES["protocol 0"], WRAPPED["torch.save"]):
        Path("a.pth").write_bytes(data)
        assert main(["convert", "a.pth", "-o", "w.safetensors"]) == 2
        assert "nothing of it was run" in capfd.readouterr().err
        assert names(tmp_path) == ["a.pth"]


# M2 ---------------------------------------------------------------------------------------------------------

MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    "torch.load",
    "torch.jit.load",
    "torch.export.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def dangers(source: str) -> Iterator[str]:
    """What in a program could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in MODULES:
                yield module
            yield from (f"{module}.{a.name}" for a in node.names if f"{module}.{a.name}" in CALLS)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS | BUILTINS:
                yield called
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
                yield called
            yield from (w for w in ("trust_remote_code", "weights_only", "pickle_module") if w in words)
            if words.get("allow_pickle") == "True":
                yield "allow_pickle"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(x)",
        "from torch import load",
        "torch.export.load(x)",
        "eval(x)",
        "f(trust_remote_code=True)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_the_check_finds_what_it_looks_for(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.reliability("M2")
def test_nothing_in_the_package_can_run_a_file() -> None:
    files = list(SOURCE.rglob("*.py"))
    assert len(files) > 100
    found = {path.name: list(dangers(path.read_text("utf-8"))) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.reliability("M2")
def test_the_rules_of_bandit_are_among_the_linters() -> None:
    """ruff's S30x and S614 are bandit's rules on deserialising; `make lint` runs them, none is off."""
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    lint = settings["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    off = [code for code in lint["ignore"] if code.startswith("S30") or code == "S614"]
    assert off == []
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"noqa:.*\b(S30\d|S614)\b", path.read_text("utf-8")), path


# M3 ---------------------------------------------------------------------------------------------------------


def flipped(data: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    """Copies with one bit flipped: a third of them in the header, which is short."""
    header = 8 + int.from_bytes(data[:8], "little")
    for i in range(count):
        place = draw.randrange(header if i % 3 == 0 else len(data))
        copy = bytearray(data)
        copy[place] ^= 1 << draw.randrange(8)
        yield bytes(copy)


@pytest.mark.reliability("M3")
@pytest.mark.parametrize("name", [e.name for e in CATALOG.values() if e.weights])
def test_a_flipped_bit_in_weights_that_ship_is_refused(name: str, tmp_path: Path) -> None:
    entry, path = CATALOG[name], tmp_path / "w.safetensors"
    data = (SOURCE / "zoo" / "files" / str(entry.weights)).read_bytes()
    for copy in flipped(data, 1000 if FULL else 6, random.Random(0)):
        path.write_bytes(copy)
        error = refusal(lambda path: load_weights(path, sha256=entry.sha256), path)
        assert "not the ones that were released" in str(error)


@pytest.mark.reliability("M3")
def test_a_flipped_bit_in_weights_of_ones_own_is_refused(weights: bytes, tmp_path: Path) -> None:
    """Without any list of checksums: the file has its own."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights)
    load_model(path)
    for copy in flipped(weights, 1000 if FULL else 30, random.Random(1)):
        path.write_bytes(copy)
        refusal(load_weights, path)
        refusal(load_model, path)


@pytest.mark.reliability("M3")
def test_a_flipped_bit_in_a_text_head_is_refused(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "h.safetensors"
    for copy in flipped(head, 1000 if FULL else 20, random.Random(2)):
        path.write_bytes(copy)
        refusal(load_head, path)
    shipped = (SOURCE / "text" / "files" / "minilm.safetensors").read_bytes()
    monkeypatch.setattr(instructions.resources, "files", lambda _: tmp_path)
    (tmp_path / "files").mkdir()
    for copy in flipped(shipped, 1000 if FULL else 20, random.Random(3)):
        (tmp_path / "files" / "minilm.safetensors").write_bytes(copy)
        refusal(load_head, None)


# M4 ---------------------------------------------------------------------------------------------------------


def file_of(header: str | bytes, numbers: bytes = bytes(8), length: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + numbers


def entry(shape: object = (2,), offsets: object = (0, 8), dtype: str = "F32") -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": offsets})


def headers() -> dict[str, bytes]:
    about = json.dumps(
        {"format": 1, "architecture": "cea", "config": dataclasses.asdict(CATALOG_CONFIG), "notes": ""}
    )
    words = f'"__metadata__":{{"anyrestore":{json.dumps(about)}}}'
    many = ",".join(f'"t{i}":{entry([0], [0, 0])}' for i in range(60_000))
    cases: dict[str, str | bytes] = {
        "not JSON": "{" + words + ", a}",
        "a list": "[1, 2]",
        "a number": "7",
        "nested deeply": '{"a":' + "[" * 100_000,
        "a name twice": f'{{{words},"a":{entry()},"a":{entry([1, 2])}}}',
        "metadata twice": f'{{{words},{words},"a":{entry()}}}',
        "overlap": f'{{{words},"a":{entry()},"b":{entry()}}}',
        "a hole": f'{{{words},"a":{entry([1], [4, 8])}}}',
        "behind the end": f'{{{words},"a":{entry([4], [0, 16])}}}',
        "not all of it": f'{{{words},"a":{entry([1], [0, 4])}}}',
        "backwards": f'{{{words},"a":{entry([2], [8, 0])}}}',
        "a negative shape": f'{{{words},"a":{entry([-2])}}}',
        "negative offsets": f'{{{words},"a":{entry([2], [-8, 0])}}}',
        "shapes that overflow": f'{{{words},"a":{entry([2**32, 2**32])}}}',
        "shapes of 2^63": f'{{{words},"a":{entry([2**63])}}}',
        "shapes of a thousand digits": f'{{{words},"a":{entry([10**1000])}}}',
        "terabytes of nothing": f'{{{words},"a":{entry([0, 2**40], [0, 0])}}}',
        "a shape of words": f'{{{words},"a":{entry(["2"])}}}',
        "an unknown type": f'{{{words},"a":{entry(dtype="Q2")}}}',
        "a type that torch has not": f'{{{words},"a":{entry([8], dtype="F8_E8M0")}}}',
        "no entry": f'{{{words},"a":3}}',
        "metadata of numbers": '{"__metadata__":{"anyrestore":3},"a":' + entry() + "}",
        "metadata that is none": '{"__metadata__":[1],"a":' + entry() + "}",
        "not UTF-8": b'{"\xff":' + entry().encode() + b"}",
        "sixty thousand tensors": "{" + words + "," + many + "}",
        "megabytes of lists": '{"__metadata__":' + "[" + "[]," * 5_000_000 + "[]]}",
    }
    made = {name: file_of(header) for name, header in cases.items()}
    made |= {
        "empty": b"",
        "seven bytes": b"1234567",
        "length 0": file_of("", bytes(100)),
        "length 1": file_of("{", bytes(100)),
        "length of exabytes": file_of("{}", length=2**63 - 1),
        "length of 2^64": file_of("{}", length=2**64 - 1),
        "length beyond the file": file_of("{}", length=1000),
        "length of the lot": file_of(b"{" * 100, length=100),
    }
    return made


CATALOG_CONFIG = ARCHITECTURES["cea"].presets["tiny"]

CHILD = """
import resource, sys
from pathlib import Path
from anyrestore.errors import ModelError
from anyrestore.text.instructions import load_head
from anyrestore.zoo import load_model, load_weights
load_model(Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    for load in (load_model, load_weights, load_head):
        try:
            load(path)
            print("taken", path.name)
        except ModelError:
            pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.reliability("M4")
def test_headers_that_lie_are_refused_in_little_memory(weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for i, data in enumerate(headers().values()):
        (tmp_path / "bad" / f"{i}.safetensors").write_bytes(data)
    with (tmp_path / "bad" / "sparse.safetensors").open("wb") as file:
        # Eight gigabytes of holes, as one tensor says, of a network that has no such tensor.
        about = json.dumps({"format": 1, "architecture": "cea", "config": {}})
        words = f'"__metadata__":{{"anyrestore":{json.dumps(about)}}}'
        file.write(file_of(f'{{{words},"a":{entry([2**31], [0, 2**33])}}}', b""))
        file.truncate(file.tell() + 2**33)
    (tmp_path / "good.safetensors").write_bytes(weights)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "bad", tmp_path / "good.safetensors"],
        capture_output=True,
        text=True,
        check=True,
    )
    grown = done.stdout.split()
    assert len(grown) == 1, done.stdout
    assert int(grown[0]) < 200


@pytest.mark.reliability("M4")
def test_every_such_header_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for name, data in headers().items():
        path.write_bytes(data)
        for load in (load_model, load_weights, load_head):
            assert refusal(load, path).code in ("bad_weights", "no_spandrel"), name


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("fifo.safetensors", "folder.safetensors", "a\0b.safetensors", "n" * 300 + ".safetensors"):
        for load in (load_model, load_weights, load_head):
            assert refusal(load, tmp_path / name).code == "bad_weights"
    assert "not a regular file" in str(refusal(load_model, Path("/dev/zero")))


# M5 ---------------------------------------------------------------------------------------------------------


@pytest.mark.reliability("M5")
@pytest.mark.parametrize(
    "kind", ["ours", "shipped", "archive", "older file", "public", "head", "shipped head"]
)
def test_files_that_are_cut_off_are_refused(kind: str, weights: bytes, head: bytes, tmp_path: Path) -> None:
    load: Callable[[Path], object] = load_model
    state = public_state()[1]
    match kind:
        case "ours":
            data = weights
        case "shipped":
            data = (SOURCE / "zoo" / "files" / "cea-t.safetensors").read_bytes()
        case "archive" | "older file":
            data = checkpoint(lightning(state), new=kind == "archive")
        case "public":
            data = save({name: value.contiguous() for name, value in state.items()})
        case "head":
            data, load = head, load_head
        case _:
            data, load = (SOURCE / "text" / "files" / "minilm.safetensors").read_bytes(), load_head
    path = tmp_path / ("a.pth" if kind in ("archive", "older file") else "a.safetensors")
    path.write_bytes(data)
    load(path)
    # Of the older file, all instructions are at the beginning, and are gone through every time.
    for percent in range(0, 100, 1 if FULL or kind != "older file" else 9):
        path.write_bytes(data[: len(data) * percent // 100])
        refusal(load, path)
    path.write_bytes(data[:-1])
    refusal(load, path)


# M6 ---------------------------------------------------------------------------------------------------------


def within(seconds: float, load: Callable[[Any], object], given: object) -> ModelError:
    began = time.process_time()
    error = refusal(load, given)
    assert time.process_time() - began < seconds
    return error


@pytest.mark.reliability("M6")
@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "cea-t/../cea-t", "/etc/passwd", "cea-t\0", "", "CEA-T", "cea-t ", "n" * 10**6],
)
def test_unknown_names_are_refused(name: str, weights: bytes, tmp_path: Path) -> None:
    assert within(0.1, load_model, name).code == "unknown_model"
    path = tmp_path / "w.safetensors"
    path.write_bytes(repacked(weights, architecture=name))
    assert within(0.1, load_weights, path).code == "unknown_model"


ODD_VALUES: tuple[Any, ...] = (
    -1,
    2**63,
    10**30,
    float("nan"),
    float("inf"),
    "8",
    None,
    [],
    {},
    [10**9] * 4,
    True,
)


@pytest.mark.reliability("M6")
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_options_out_of_range_are_refused_before_allocation(architecture: str, tmp_path: Path) -> None:
    """Every field of every configuration, in a file that is whole: a number of 10^9 is none that fits."""
    network = make_smallest(next(name for name in SMALLEST if name == architecture))
    path = tmp_path / "w.safetensors"
    save_weights(network, path)
    data = path.read_bytes()
    config = unpacked(data)[1]["config"]
    before, draw = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, random.Random(0)
    for field, value in config.items():
        numbers = isinstance(value, (int, float)) and not isinstance(value, bool)
        huge: list[Any] = [10**9] if numbers else []
        if isinstance(value, list) and value and isinstance(value[0], int):
            huge += [[*value[:i], 10**9, *value[i + 1 :]] for i in range(len(value))]
        for other in huge:
            path.write_bytes(repacked(data, config=config | {field: other}))
            within(0.1, load_weights, path)
        for other in ODD_VALUES if FULL else draw.sample(ODD_VALUES, 4):
            path.write_bytes(repacked(data, config=config | {field: other}))
            try:
                load_weights(path)
            except ModelError as error:
                assert "\n" not in str(error)  # noqa: PT017
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.reliability("M6")
def test_unknown_fields_are_refused(weights: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(repacked(weights, config={"widht": 8}))
    assert "no option widht" in str(within(0.1, load_weights, path))
    path.write_bytes(repacked(weights, surprise=1))
    within(0.1, load_weights, path)


# M7 ---------------------------------------------------------------------------------------------------------


@pytest.mark.reliability("M7")
@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "dtype"])
@pytest.mark.parametrize("public", [False, True])
def test_other_tensors_are_refused_and_the_first_five_named(
    kind: str, public: bool, weights: bytes, tmp_path: Path
) -> None:
    tensors, about = unpacked(weights)
    tensors = public_state()[1] if public else tensors
    names = sorted(tensors)
    path = tmp_path / ("a.pth" if public else "a.safetensors")
    for count in (1, 7):
        changed = dict(tensors)
        odd = [name for name in names if ".norm" in name][:count] if public else names[:count]
        for i, name in enumerate(odd):
            match kind:
                case "missing":
                    del changed[name]
                case "extra":
                    del odd[i]
                    odd.insert(i, f"extra.{i}")
                    changed[f"extra.{i}"] = torch.zeros(1)
                case "shape":
                    changed[name] = torch.zeros(*tensors[name].shape, 2)
                case _:
                    changed[name] = tensors[name].to(torch.int32)
        path.write_bytes(checkpoint({"params": changed}) if public else tensorfile.pack(changed, about))
        error = refusal(load_model, path)
        assert error.code in ("bad_weights", "no_spandrel")
        if not public:
            assert f"differences: {count}:" in str(error)
            assert str(error).count("expected (") + str(error).count("expected none") == min(count, 5)
            assert all(name in str(error) for name in sorted(odd)[:5])


# M8 ---------------------------------------------------------------------------------------------------------


@pytest.mark.reliability("M8")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(
    value: float, weights: bytes, head: bytes, tmp_path: Path
) -> None:
    """One value, in every tensor in turn; of a seeded few with ANYRESTORE_FULL unset."""
    path, draw = tmp_path / "a.safetensors", random.Random(0)
    for data, load in ((weights, load_weights), (head, load_head)):
        tensors, about = unpacked(data)
        names = sorted(tensors)
        for name in names if FULL else draw.sample(names, min(len(names), 25)):
            tensor = tensors[name]
            broken = tensor.clone()
            broken.view(-1)[draw.randrange(tensor.numel())] = value
            path.write_bytes(tensorfile.pack(tensors | {name: broken}, about))
            assert "finite" in str(refusal(load, path))
    state = public_state()[1]
    for name in draw.sample(sorted(state), 5):
        broken = state[name].clone()
        broken.view(-1)[0] = value
        path.write_bytes(save({k: v.contiguous() for k, v in (state | {name: broken}).items()}))
        assert "finite" in str(refusal(load_model, path))


@pytest.mark.reliability("M8")
def test_numbers_that_float32_cannot_hold_are_refused(weights: bytes, tmp_path: Path) -> None:
    tensors, about = unpacked(weights)
    first = next(iter(tensors))
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        tensorfile.pack(tensors | {first: torch.full_like(tensors[first], 1e300, dtype=torch.float64)}, about)
    )
    assert "finite" in str(refusal(load_weights, path))


# M9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.reliability("M9")
def test_newer_files_say_which_version_they_need(weights: bytes, head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for data, load in ((weights, load_weights), (head, load_head)):
        path.write_bytes(repacked(data, format=FORMAT + 1, version="9.8.7", something="new"))
        assert "needs anyrestore >= 9.8.7" in str(refusal(load, path))
    path.write_bytes(repacked(weights, format=FORMAT + 1, version="\x1b[31m" * 3))
    assert "needs a newer anyrestore" in str(refusal(load_weights, path))
    path.write_bytes(repacked(weights, format=FORMAT, version="9.8.7"))
    load_weights(path)  # a later release that writes the same format
    for wrong in (0, -1, "1", None, 1.5, [1]):
        path.write_bytes(repacked(weights, format=wrong))
        refusal(load_weights, path)


# M11 --------------------------------------------------------------------------------------------------------


@pytest.mark.reliability("M11")
def test_a_file_that_is_swapped_is_one_or_the_other(tmp_path: Path) -> None:
    """One thread renames two files over a name, and writes them over it in place, while another loads it."""
    networks = [make("nafnet-tiny"), make("nafnet-tiny")]
    contents = list[bytes]()
    for i, network in enumerate(networks):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(i + 1)
        save_weights(network, tmp_path / "x.safetensors")
        contents.append((tmp_path / "x.safetensors").read_bytes())
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    path, done = tmp_path / "a.safetensors", threading.Event()
    path.write_bytes(contents[0])

    def swap() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            if turn % 3:
                (tmp_path / "next").write_bytes(contents[turn % 2])
                (tmp_path / "next").replace(path)
            else:
                with path.open("r+b") as file:
                    file.write(contents[turn % 2])

    swapper = threading.Thread(target=swap)
    swapper.start()
    found = collections.Counter[str]()
    try:
        while found.total() < (1000 if FULL else 40):
            try:
                network, digest = zoo.load_file(path)
            except ModelError as error:  # torn, or changed while it was read: it said so
                assert error.code == "bad_weights"  # noqa: PT017
                found["refused"] += 1
                continue
            values = {float(value) for parameter in network.parameters() for value in parameter.unique()}
            assert values == {float(digests.index(digest) + 1)}
            found[digest] += 1
    finally:
        done.set()
        swapper.join()
    assert set(digests) <= set(found)


@pytest.mark.reliability("M11")
def test_a_file_that_changes_while_it_is_open_is_refused(weights: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(weights)
    os.utime(path, ns=(0, 0))

    def read(path: Path) -> None:
        with tensorfile.opened(path) as file:
            file.read(100)
            path.write_bytes(weights)

    with pytest.raises(OSError, match="changed while it was read"):
        read(path)


@pytest.mark.reliability("M11")
def test_what_is_exported_names_the_bytes_that_it_came_from(
    weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is another one as soon as it has been read."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(weights)
    original = zoo.load_file

    def load(path: Path) -> tuple[torch.nn.Module, str]:
        found = original(path)
        path.write_bytes(b"other")
        return found

    monkeypatch.setattr(zoo, "load_file", load)
    assert export._load(path)[1].weights_sha256 == hashlib.sha256(weights).hexdigest()


# M12 --------------------------------------------------------------------------------------------------------


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A broken copy: bytes changed, cut, repeated, filled in from another file, numbers replaced."""
    copy = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        # Most of what is read with care is at the beginning, and at the end of an archive.
        near = draw.random()
        size = max(len(copy), 1)
        place = draw.randrange(min(size, 4096)) if near < 0.6 else draw.randrange(size)
        place = size - 1 - draw.randrange(min(size, 2048)) if near > 0.85 else place
        length = draw.choice((1, 2, 4, 8, 30))
        match draw.randrange(7):
            case 0:
                copy[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del copy[place : place + length]
            case 2:
                del copy[place:]
            case 3:
                copy[place:place] = copy[place : place + length]
            case 4:
                other = draw.choice(others)
                begin = draw.randrange(len(other))
                copy[place : place + length] = other[begin : begin + length]
            case 5:
                number = draw.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
                copy[place : place + 8] = number.to_bytes(8, "little")
            case _:
                digits = [m.span() for m in re.finditer(rb"\d+", copy[:8192])]
                if digits:
                    begin, end = draw.choice(digits)
                    copy[begin:end] = draw.choice((b"0", b"-1", b"99999999999", b"1e9", b'"x"', b"null"))
    return bytes(copy)


@pytest.mark.reliability("M12")
def test_mutated_files_raise_nothing_but_model_errors(weights: bytes, head: bytes, tmp_path: Path) -> None:
    """For two seconds of the processor, sixty with ANYRESTORE_FULL=1; the seed is the same every time."""
    state = public_state()[1]
    corpus = [
        (weights, load_model),
        (weights, load_weights),
        (head, load_head),
        (checkpoint(lightning(state)), load_model),
        (checkpoint({"params": state}, new=False), load_model),
        (save({k: v.contiguous() for k, v in state.items()}), load_model),
        (PICKLES["protocol 0"], load_model),
        (WRAPPED["torch.save"], load_model),
    ]
    others = [data for data, _ in corpus]
    draw, path = random.Random(7), tmp_path / "a.safetensors"
    count, began = 0, time.process_time()
    while time.process_time() - began < (60 if FULL else 2):
        data, load = corpus[count % len(corpus)]
        path.write_bytes(mutated(data, others, draw))
        try:
            load(path)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017
        count += 1
    assert count > 20

"""The restricted reader: what torch stores is read; whatever else a file can hold is refused, not run."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anyrestore.errors import ModelError
from anyrestore.zoo.convert.checkpoint import Checkpoint, Stored, open_checkpoint
from anyrestore.zoo.convert.files import NESTED, state_dicts

CANARY = "canary"


# What torch stores --------------------------------------------------------------------------------------


def stored(content: Any, *, new: bool = True) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file


def loaded(checkpoint: Checkpoint, content: Any = ...) -> Any:
    """The content with its tensors read."""
    content = checkpoint.content if content is ... else content
    if isinstance(content, Stored):
        return checkpoint.load(content)
    if isinstance(content, dict):
        return {key: loaded(checkpoint, value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(loaded(checkpoint, value) for value in content)
    return content


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    else:
        assert found == expected


def contents() -> dict[str, Any]:
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = model.state_dict()
    trainer = {
        "epoch": 119,
        "global_step": 2**40,
        "pytorch-lightning_version": "2.0.1",
        "state_dict": collections.OrderedDict((f"net.{key}", value) for key, value in state.items()),
        "loops": {"fit_loop": {"state_dict": {}, "done": True, "progress": [1, 2, (3, None)]}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(31.5), "k": -1}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 2e-4}]}],
        "lr_schedulers": [{"base_lrs": [2e-4], "_last_lr": [1e-5]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"dim": 32, "heads": [1, 2, 4, 8], "name": "MoCE", "lr": 2e-4, "seed": None},
    }
    return {
        **{
            str(dtype): {"weight": (10 * base).to(dtype)}
            for dtype in (
                torch.float32,
                torch.float16,
                torch.bfloat16,
                torch.float64,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
                torch.bool,
            )
        },
        "uint8": {"weight": base.abs().to(torch.uint8)},
        "views": {"t": base.t(), "cut": base[1:5:2, ::3], "row": base[3], "whole": base},
        "expanded": {"x": torch.arange(3.0).view(3, 1).expand(3, 5)},
        "scalars and none": {"zero": torch.tensor(3), "empty": torch.empty(0, 4), "none": torch.empty(0)},
        "parameter": {"p": nn.Parameter(base.clone())},
        "ordered": collections.OrderedDict(b=base, a=base + 1),
        "state dict with versions": state,
        "nested": {"state_dict": state, "epoch": 3},
        "basicsr": {"params": state, "params_ema": state},
        "lightning": trainer,
        "list": [base, (base[0], "x"), {"k": base}],
        "size": {"shape": base.shape, "weight": base},
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", contents())
def test_what_torch_stores_is_read_as_it_was(name: str, new: bool) -> None:
    content = contents()[name]
    assert_same(loaded(open_checkpoint(stored(content, new=new))), content)


def test_tensors_of_one_storage_share_it_again() -> None:
    base = torch.arange(6.0)
    state = loaded(open_checkpoint(stored({"a": base, "b": base[2:]})))
    assert state["a"].data_ptr() + 8 == state["b"].data_ptr()


def test_optimiser_states_are_not_read() -> None:
    read = list[str]()
    checkpoint = open_checkpoint(stored({"w": torch.ones(3), "optimizer": [torch.ones(1000)]}))
    original = checkpoint._read
    checkpoint._read = lambda storage: (read.append(storage.key), original(storage))[1]  # type: ignore[misc]
    checkpoint.load(checkpoint.content["w"])
    assert read == ["0"]


def key(content: Any) -> list[list[str]]:
    return [list(state) for state in state_dicts(open_checkpoint(stored(content)).content)]


def test_the_likeliest_state_dict_comes_first() -> None:
    w = torch.ones(2)
    assert key({"w": w})[0] == ["w"]
    assert key({"params": {"plain": w}, "params_ema": {"average": w}})[0] == ["average"]
    assert key({"epoch": 1, "state_dict": {"net.a": w, "net.b": w, "loss.vgg": w}})[0] == ["a", "b"]
    assert key({"model": {"module.net.a": w}})[0] == ["a"]
    assert key({"state_dict": {"net.a": w, "ema_model.module.a": w}})[0] == ["a"]
    assert key({"state_dict": {"net.a": w}})[-1] == ["net.a"]
    assert key({"epoch": 3}) == key([w]) == []


# What nobody should open ---------------------------------------------------------------------------------


class Attack:
    """Its pickle calls ``function(*arguments)`` when it is read by a reader that runs things."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


class Custom:
    """A class of somebody's trainer."""

    def __init__(self) -> None:
        self.x = 1


class WithState:
    def __reduce__(self) -> tuple[Any, ...]:
        return collections.OrderedDict, (), Attack(os.mkdir, CANARY)


class Extended(pickle.Pickler):
    """Writes persistent ids of our choice."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.named if isinstance(obj, Persistent) else None


class Persistent:
    def __init__(self, *named: Any) -> None:
        self.named = named


def raw(content: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Extended(file, protocol).dump(content)
    return file.getvalue()


def archive(program: bytes, entries: dict[str, bytes] | None = None, compression: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("archive/data.pkl", program)
        for name, data in (entries or {}).items():
            made.writestr(name, data)
    return file.getvalue()


def legacy(program: bytes, tail: bytes = b"") -> bytes:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [0x1950A86A20F9469CFC6C, 1001, system]
    return b"".join(pickle.dumps(part, 2) for part in head) + program + tail


def opcode(source: str) -> bytes:
    return b"\x80\x02" + source.encode("latin-1")


def tensor(count: int, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> bytes:
    """A program that makes a tensor of a float32 storage "0" with ``count`` numbers."""
    storage = Persistent("storage", torch.FloatStorage, "0", "cpu", count)
    rebuild: Any = torch._utils._rebuild_tensor_v2
    call = Attack(rebuild, storage, offset, shape, stride, False, collections.OrderedDict())
    return raw({"w": call})


FOUR = {"archive/data/0": struct.pack("<4f", 1, 2, 3, 4)}


def truncated(new: bool) -> bytes:
    whole = stored({"w": torch.ones(1000)}, new=new).getvalue()
    return whole[: len(whole) // 2]


MALICIOUS: dict[str, Callable[[], bytes]] = {
    "os.mkdir": lambda: archive(raw(Attack(os.mkdir, CANARY))),
    "os.system": lambda: archive(raw({"w": Attack(os.system, f"mkdir {CANARY}")})),
    "eval": lambda: archive(raw([Attack(eval, f"__import__('os').mkdir({CANARY!r})")])),
    "exec in protocol 4": lambda: archive(raw(Attack(exec, f"import os; os.mkdir({CANARY!r})"), 4)),
    "getattr": lambda: archive(raw(Attack(getattr, Attack(__import__, "os"), "mkdir"))),
    "legacy file": lambda: legacy(raw(Attack(os.mkdir, CANARY))),
    "legacy magic": lambda: raw(Attack(os.mkdir, CANARY)),
    "legacy list of keys": lambda: legacy(raw({}), raw(Attack(os.mkdir, CANARY))),
    "open for writing": lambda: archive(raw(Attack(open, CANARY, "w"))),
    "attributes": lambda: archive(raw(WithState())),
    "torch.load inside": lambda: archive(raw(Attack(torch.load, CANARY))),
    "posix.mkdir as text": lambda: archive(opcode(f"cposix\nmkdir\n(U\x06{CANARY}tR.")),
    "INST": lambda: archive(opcode(f"(S'{CANARY}'\niposix\nmkdir\n.")),
    "OBJ": lambda: archive(opcode(f"(cposix\nmkdir\nU\x06{CANARY}o.")),
    "NEWOBJ": lambda: archive(raw(Custom())),
    "EXT1": lambda: archive(opcode("\x82\x01.")),
    "persistent id that calls": lambda: archive(raw(Persistent(Attack(os.mkdir, CANARY)))),
    "PERSID as text": lambda: archive(opcode("Pstorage\n.")),
    "a class as storage": lambda: archive(raw(Persistent("storage", os.mkdir, CANARY, "cpu", 1))),
    "a name under a known one": lambda: archive(opcode("ctorch._utils\n_rebuild_tensor_v2.__globals__\n.")),
    "a dotted name": lambda: archive(opcode("U\x05torchU\x16serialization.os.mkdir\x93.")),
    "Namespace": lambda: archive(raw(argparse.Namespace(x=1))),
    "a whole module": lambda: stored({"model": nn.Linear(2, 2)}).getvalue(),
    "defaultdict": lambda: archive(raw(collections.defaultdict(Custom))),
    "a set": lambda: archive(raw({1, 2}, 4)),
    "REDUCE of a string": lambda: archive(opcode("U\x01x)R.")),
    "BUILD of a list": lambda: archive(opcode("]}b.")),
    "a tuple as key": lambda: archive(raw({(1, 2): 3})),
    "a tensor beyond its storage": lambda: archive(tensor(4, 0, (5,), (1,)), FOUR),
    "an offset beyond it": lambda: archive(tensor(4, 3, (2,), (1,)), FOUR),
    "a negative offset": lambda: archive(tensor(4, -2, (2,), (1,)), FOUR),
    "a negative stride": lambda: archive(tensor(4, 3, (2,), (-1,)), FOUR),
    "a negative shape": lambda: archive(tensor(4, 0, (-1, -4), (1, 1)), FOUR),
    "a stride that overflows": lambda: archive(tensor(4, 0, (2,), (2**62,)), FOUR),
    "a shape of strings": lambda: archive(tensor(4, 0, ("2",), (1,)), FOUR),
    "a tensor of terabytes, stride 0": lambda: archive(tensor(4, 0, (2**40,), (0,)), FOUR),
    "two sizes of one storage": lambda: archive(
        raw([Persistent("storage", torch.FloatStorage, "0", "cpu", n) for n in (4, 5)]), FOUR
    ),
    "compressed": lambda: archive(raw({}), {"archive/data/0": bytes(10**6)}, zipfile.ZIP_DEFLATED),
    "something behind": lambda: archive(raw({}) + raw(Attack(os.mkdir, CANARY))),
    "TorchScript": lambda: archive(raw({}), {"archive/code/__torch__.py": b"", "archive/constants.pkl": b""}),
}

BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": bytes,
    "text": lambda: b"<html>404</html>",
    "one byte": lambda: b"\x80",
    "half a zip": lambda: truncated(new=True),
    "half a legacy file": lambda: truncated(new=False),
    "no data.pkl": lambda: archive(b"").replace(b"data.pkl", b"data.txt"),
    "two data.pkl": lambda: archive(raw({}), {"other/data.pkl": raw({})}),
    "empty program": lambda: archive(b""),
    "no STOP": lambda: archive(raw({})[:-1]),
    "STOP alone": lambda: archive(opcode(".")),
    "two results": lambda: archive(opcode("NN.")),
    "a mark as result": lambda: archive(opcode("(.")),
    "no mark": lambda: archive(opcode("Nt.")),
    "an empty memo": lambda: archive(opcode("h\x05.")),
    "a string that is too long": lambda: archive(opcode("X\xff\xff\xff\x7fab.")),
    "an unknown instruction": lambda: archive(opcode("\xff.")),
    "a storage that is not there": lambda: archive(tensor(4, 0, (4,), (1,))),
    "a storage that is too short": lambda: archive(
        tensor(4, 0, (4,), (1,)), {"archive/data/0": FOUR["archive/data/0"][:-1]}
    ),
    "flipped bits": lambda: archive(tensor(4, 0, (4,), (1,)), FOUR).replace(
        FOUR["archive/data/0"], bytes(16)
    ),
    "big-endian": lambda: archive(raw({}), {"archive/byteorder": b"big"}),
    "legacy of another version": lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1000, 2),
}


def read_all(data: bytes) -> None:
    loaded(open_checkpoint(io.BytesIO(data)))


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_files_are_refused_and_nothing_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="nothing of it was run") as refused:
        read_all(MALICIOUS[name]())
    assert refused.value.code == "unsafe_format"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_said_to_be_broken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as refused:
        read_all(BROKEN[name]())
    assert refused.value.code == "bad_weights"
    assert list(tmp_path.iterdir()) == []


def test_the_canary_sings_for_a_reader_that_runs_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacks are real: plain pickle falls for them."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(raw(Attack(os.mkdir, CANARY)))
    assert [path.name for path in tmp_path.iterdir()] == [CANARY]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_any_flipped_or_missing_byte_is_an_error_of_ours_or_harmless(new: bool) -> None:
    whole = stored({"state_dict": collections.OrderedDict(w=torch.ones(3, 2), n=torch.tensor(1))}, new=new)
    data = whole.getvalue()
    for place in range(0, len(data), 7):
        for changed in (data[:place], data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]):
            try:
                read_all(changed)
            except ModelError as error:
                assert error.code in ("unsafe_format", "bad_weights")  # noqa: PT017


def test_every_instruction_there_is_alone_is_no_way_out() -> None:
    for operation in pickletools.opcodes:
        for argument in (b"", b"\x01", b"\x00\x00\x00\x01", b"posix\nmkdir\n", b"\xff" * 8):
            program = b"\x80\x02" + operation.code.encode("latin-1") + argument + b"."
            try:
                read_all(archive(program))
            except ModelError as error:
                assert error.code in ("unsafe_format", "bad_weights")  # noqa: PT017


def test_deep_and_self_containing_structures_do_no_harm() -> None:
    deep = archive(opcode("]" * 20_000 + "a" * 19_999 + "."))
    assert isinstance(open_checkpoint(io.BytesIO(deep)).content, list)
    endless = open_checkpoint(io.BytesIO(archive(opcode("}q\x00U\x05modelh\x00s.")))).content
    assert endless["model"] is endless
    assert list(state_dicts(endless)) == []
    many: dict[str, Any] = {"a": torch.ones(1)}
    many.update(dict.fromkeys(NESTED, many))
    assert len(list(state_dicts(open_checkpoint(stored(many)).content))) == 1

"""Tensors out of public ``.pt``, ``.pth`` and ``.ckpt`` files, without running what is in them.

Such a file is a program for a stack machine (pickle) that may call anything. Here its instructions are
listed by :mod:`pickletools`, which only lists, and an interpreter of our own carries out the few that a
state dict needs. A name in the file is looked up in a table of words (:data:`_NAMES`) and never imported;
whatever is not in the table, and every instruction that is not among ours, refuses the file with code
``unsafe_format``. What is made are dicts, lists, tuples, numbers, strings and :class:`Stored`, which says
where in the file a tensor's numbers lie. They are read when they are asked for, so optimiser states cost
nothing.

Both of torch's layouts are read: the zip archive (since 1.6), and the file before it, where pickles and raw
storages follow each other. A damaged file has code ``bad_weights``.

Unusual: nothing in the file can make us allocate much more than the file is long: archives must be
uncompressed, storages must fit in the file, and tensors that repeat their storage (stride 0) have a bound.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from anyrestore.errors import ModelError

PROGRAM_LIMIT = 64 << 20
"""Bytes of instructions; the largest real ones have some hundred thousand."""
STEP_LIMIT = 5_000_000
"""Instructions."""
REPEAT_LIMIT = 1 << 26
"""Values of a tensor that is larger than its storage."""
_UNSIGNED_LIMIT = 1 << 20
"""Bytes of a pickle without a signature."""

#: What zipfile and pickletools raise on broken files; RuntimeError among them for zip's newer versions.
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, EOFError, RuntimeError)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


ByteFile = io.BufferedReader | io.BytesIO


class Name(NamedTuple):
    """A name that the file may use: a word of ours, not the thing itself."""

    word: str
    dtype: torch.dtype | None = None


#: Every (module, name) that a file may mention.
_NAMES: dict[tuple[str, str], Name] = {
    ("collections", "OrderedDict"): Name("dict"),
    ("torch._utils", "_rebuild_tensor"): Name("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Name("tensor"),
    ("torch._utils", "_rebuild_parameter"): Name("parameter"),
    ("torch", "Size"): Name("tuple"),
    **{("torch", name): Name("storage", dtype) for name, dtype in _DTYPES.items()},
}


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class Stored:
    """A tensor of the file that has not been read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """What it takes when it is copied out of its storage."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


class Checkpoint:
    """An open file: :attr:`content` is what it holds, :meth:`load` reads one of its tensors.

    Args:
        content: dicts, lists, tuples, numbers, strings, None and :class:`Stored`.
        read: gives the bytes of a storage.
    """

    def __init__(self, content: Any, read: Callable[[Storage], bytes]) -> None:
        self.content = content
        self._read = read
        self._loaded = dict[str, Tensor]()

    def load(self, stored: Stored) -> Tensor:
        """Read a tensor; tensors of one storage share its memory, as they did when they were saved.

        Raises:
            ModelError: its numbers are not in the file.
        """
        storage = stored.storage
        if storage.key not in self._loaded:
            self._loaded[storage.key] = _numbers(self._read(storage), storage)
        return self._loaded[storage.key].as_strided(stored.shape, stored.stride, stored.offset)


def is_checkpoint(file: ByteFile) -> bool:
    """Whether a file begins as one of torch's does."""
    file.seek(0)
    start = file.read(_UNSIGNED_LIMIT)
    file.seek(0)
    return start.startswith((_ZIP, _PICKLE)) or _is_unsigned_pickle(start)


def _is_unsigned_pickle(start: bytes) -> bool:
    """Whether instructions can be listed up to the last one: pickle's protocols 0 and 1 have no signature."""
    try:
        for _ in pickletools.genops(start):
            pass
    except (*_BROKEN, IndexError):
        return False
    return True


def open_checkpoint(file: ByteFile) -> Checkpoint:
    """Read a checkpoint's structure; ``file`` is seekable and must stay open while tensors are loaded.

    Raises:
        ModelError: ``unsafe_format`` if it holds more than plain values and tensors, ``bad_weights`` if it is
            damaged or no checkpoint.
    """
    length = file.seek(0, io.SEEK_END)
    if not is_checkpoint(file):
        raise _damaged("its beginning is that of no checkpoint" if length else "it is empty")
    zipped = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    return _open_zip(file, length) if zipped else _open_legacy(file, length)


def _open_zip(file: ByteFile, length: int) -> Checkpoint:
    """The zip layout: FOLDER/data.pkl, FOLDER/data/KEY, and FOLDER/byteorder."""
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise _damaged(f"the archive is broken ({error})") from error
    if any(name.endswith(("constants.pkl", ".py")) for name in archive.namelist()):
        raise _refused("it holds a TorchScript program")
    entries = _entries(archive, length)
    programs = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise _damaged(f"the archive holds {len(programs)} files data.pkl")
    folder = programs[0].removesuffix("data.pkl")
    if entries[programs[0]].file_size > PROGRAM_LIMIT:
        raise _refused(f"its instructions take {entries[programs[0]].file_size} bytes")

    def content(name: str) -> bytes:
        if name not in entries:
            raise _damaged(f"the archive has no {name!a:.80}")
        try:
            return archive.read(entries[name])
        except (*_BROKEN, OSError) as error:
            raise _damaged(f"{name!a:.80} is broken ({error})") from error

    if f"{folder}byteorder" in entries and content(f"{folder}byteorder") != b"little":
        raise _damaged("it was written on a big-endian machine, which is not read")
    instructions = io.BytesIO(content(programs[0]))
    result = _Machine(instructions).run()
    if instructions.read(1):
        raise _refused("something follows its instructions")
    return Checkpoint(result, lambda storage: content(f"{folder}data/{storage.key}"))


def _entries(archive: zipfile.ZipFile, length: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name, none of which can be more than the file holds."""
    found = archive.infolist()
    if len({info.filename for info in found}) != len(found):
        raise _refused("two entries of the archive have the same name")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in found):
        raise _refused("the archive is compressed or encrypted, which torch's never are")
    if sum(info.file_size for info in found) > length:
        raise _refused("the archive's entries overlap")
    return {info.filename: info for info in found}


def _open_legacy(file: ByteFile, length: int) -> Checkpoint:
    """The layout before the archive: four pickles, the list of storage keys, then count and data of each."""
    head = io.BytesIO(file.read(PROGRAM_LIMIT))
    if _Machine(head).run() != _LEGACY_MAGIC:
        raise _refused("it is a pickle that torch did not write")
    if _Machine(head).run() != _LEGACY_PROTOCOL:
        raise _damaged("its format has another version")
    system = _Machine(head).run()
    if not isinstance(system, dict) or cast("dict[str, Any]", system).get("little_endian") is not True:
        raise _damaged("it was written on a big-endian machine, which is not read")
    machine = _Machine(head)
    content = machine.run()
    keys = _Machine(head).run()
    position = head.tell()
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in cast("list[Any]", keys)):
        raise _damaged("its list of storages is broken")
    places = dict[str, int]()
    for key in cast("list[str]", keys):
        storage = machine.storages.get(key)
        if storage is None:
            raise _damaged("it holds a storage that no tensor has")
        file.seek(position)
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise _damaged("a storage has another size than its tensors say")
        places[key] = position + 8
        position += 8 + count * storage.dtype.itemsize
        if position > length:
            raise _damaged("it is cut off")

    def read(storage: Storage) -> bytes:
        if storage.key not in places:
            raise _damaged("a tensor's storage is not in it")
        file.seek(places[storage.key])
        return file.read(storage.count * storage.dtype.itemsize)

    return Checkpoint(content, read)


def _numbers(data: bytes, storage: Storage) -> Tensor:
    """Bytes -> a flat tensor."""
    if len(data) != storage.count * storage.dtype.itemsize:
        raise _damaged("a storage has another size than its tensors say")
    if not data:
        return torch.empty(0, dtype=storage.dtype)
    if storage.dtype == torch.bool and max(data) > 1:
        raise _damaged("a truth value is neither 0 nor 1")
    return torch.frombuffer(bytearray(data), dtype=storage.dtype)


_MARK = object()


class _Machine:
    """Carries out one program: see the module's docstring for what it may do."""

    def __init__(self, program: io.BytesIO) -> None:
        self._program = program
        self._stack = list[Any]()
        self._memo = dict[int, Any]()
        self.storages = dict[str, Storage]()

    def run(self) -> Any:
        """The program's result; what has been read is read up to its end, and no further."""
        steps = pickletools.genops(self._program)
        for count in range(STEP_LIMIT):
            try:
                operation, argument, _ = next(steps)
            except (*_BROKEN, IndexError, StopIteration) as error:
                raise _damaged(f"its instructions are broken ({error})") from error
            if operation.name == "STOP":
                if len(self._stack) != 1 or self._stack[0] is _MARK:
                    raise _damaged("its instructions leave no result, or several")
                return self._stack[0]
            self._step(operation.name, argument, count)
        raise _refused("it has too many instructions")

    def _step(self, name: str, argument: Any, count: int) -> None:
        try:
            if name in _LITERALS:
                self._stack.append(_LITERALS[name](argument))
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise _refused(f"it holds the instruction {name}")
        except (IndexError, KeyError) as error:
            raise _damaged(f"its instruction {count} ({name}) finds nothing to work on") from error

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def _since_mark(self) -> list[Any]:
        for i in range(len(self._stack) - 1, -1, -1):
            if self._stack[i] is _MARK:
                items = self._stack[i + 1 :]
                del self._stack[i:]
                return items
        raise IndexError

    def _last(self, n: int) -> tuple[Any, ...]:
        return tuple(reversed([self._pop() for _ in range(n)]))

    def put(self, index: Any) -> None:
        """Remember what lies on top of the stack."""
        if not self._stack or self._stack[-1] is _MARK:
            raise IndexError
        self._memo[len(self._memo) if index is None else int(index)] = self._stack[-1]

    def get(self, index: Any) -> None:
        """Push what was remembered."""
        self._stack.append(self._memo[int(index)])

    def mark(self, _: Any) -> None:
        """Push a mark."""
        self._stack.append(_MARK)

    def tuple_of(self, size: int | None) -> None:
        """A tuple of the last ``size`` values, or of all since the mark."""
        self._stack.append(tuple(self._since_mark()) if size is None else self._last(size))

    def append(self, _: Any) -> None:
        """The top value to the list below it."""
        self._extend([self._pop()])

    def extend(self, _: Any) -> None:
        """All since the mark to the list below it."""
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise _refused("it appends to what is no list")
        cast("list[Any]", self._stack[-1]).extend(items)

    def set_item(self, _: Any) -> None:
        """Key and value to the dict below them."""
        self._set(list(self._last(2)))

    def set_items(self, _: Any) -> None:
        """All since the mark to the dict below it."""
        self._set(self._since_mark())

    def _set(self, items: Sequence[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _refused("it sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int, float, bool, type(None)):
                raise _refused(f"a dict of it has keys of type {type(key).__name__}")
            cast("dict[Any, Any]", target)[key] = value

    def name(self, argument: Any) -> None:
        """Push the word for "module name"."""
        self._stack.append(_look_up(*str(argument).split(" ", 1)))

    def name_from_stack(self, _: Any) -> None:
        """As :meth:`name`, the two strings taken from the stack."""
        self._stack.append(_look_up(*self._last(2)))

    def call(self, _: Any) -> None:
        """What a known name makes of its arguments."""
        named, arguments = self._last(2)
        if not isinstance(named, Name) or not isinstance(arguments, tuple):
            raise _refused("it calls what is no known name")
        self._stack.append(_make(named, cast("tuple[Any, ...]", arguments)))

    def set_state(self, _: Any) -> None:
        """Attributes of a dict (a state dict's versions), which are left out."""
        state = self._pop()
        if not isinstance(self._stack[-1], dict) or not isinstance(state, dict):
            raise _refused("it gives attributes to what is no dict")

    def persistent(self, _: Any) -> None:
        """A storage, from the tuple that names it."""
        self._stack.append(self._storage(self._pop()))

    def _storage(self, named: Any) -> Storage:
        match named:
            # The old layout has a last field for views on other storages, in use before torch 0.4.
            case ("storage", Name("storage", torch.dtype() as dtype), str(key), str(), int(count)) | (
                "storage",
                Name("storage", torch.dtype() as dtype),
                str(key),
                str(),
                int(count),
                None,
            ) if 0 <= count < 1 << 48:
                found = Storage(key, dtype, count)
            case _:
                raise _refused("it refers to what is no storage of plain numbers")
        if self.storages.setdefault(key, found) != found:
            raise _refused("it describes one storage in two ways")
        return found


def _look_up(module: Any, name: Any = "") -> Name:
    found = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if found is None:
        shown = (
            f"{module!s:.60}.{name!s:.60}" if isinstance(module, str) and isinstance(name, str) else "no name"
        )
        raise _refused(f"it wants to use {shown!a}")
    return found


def _make(named: Name, arguments: tuple[Any, ...]) -> Any:
    """What a call of a known name gives; nothing is called."""
    match named.word, arguments:
        case "dict", ():
            return {}
        case "dict", (list(),):
            return _dict_of_pairs(cast("list[Any]", arguments[0]))
        case "tuple", (list() | tuple(),):
            return tuple(cast("Sequence[Any]", arguments[0]))
        case "parameter", (Stored() as stored, *_):
            return stored
        case "tensor", (Storage() as storage, int(offset), tuple(), tuple(), *_):
            return _stored(storage, offset, *arguments[2:4])
        case _:
            raise _refused(f"it makes a {named.word} in a way that is not known")


def _dict_of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    made = dict[Any, Any]()
    for pair in pairs:
        match pair:
            case [str() | int() as key, value] | (str() | int() as key, value):
                made[key] = value
            case _:
                raise _refused("it makes a dict in a way that is not known")
    return made


def _stored(storage: Storage, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> Stored:
    """A tensor that lies within its storage."""
    numbers = (offset, *shape, *stride)
    if (
        len(shape) != len(stride)
        or len(shape) > 16
        or not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
    ):
        raise _refused("a tensor's shape is not possible")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if size else offset - 1
    if last >= storage.count or offset > storage.count:
        raise _refused("a tensor reaches beyond its storage")
    if size > max(storage.count, REPEAT_LIMIT):
        raise _refused("a tensor repeats its storage too often")
    return Stored(storage, offset, shape, stride)


def _as_is(argument: Any) -> Any:
    return argument


def _constant(value: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _: value()


#: Instructions that push a value.
_LITERALS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
        ),
        _as_is,
    ),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
}

#: Instructions that do something with the stack.
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.set_state,
    "BINPERSID": _Machine.persistent,
}


def _refused(why: str) -> ModelError:
    return ModelError(
        f"expected a checkpoint of tensors and plain values, but {why}; nothing of it was run. "
        "If you trust the file, store its state dict alone",
        code="unsafe_format",
    )


def _damaged(why: str) -> ModelError:
    return ModelError(
        f"expected a checkpoint (.pt, .pth, .ckpt), but {why}; fetch it again", code="bad_weights"
    )

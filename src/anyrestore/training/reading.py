"""Typed values from plain ones: what JSON and the command line say, read strictly into frozen dataclasses.

``read(kind, value, path)`` takes a type (a dataclass, a number, text, a Literal, a tuple, a mapping, or one
of these or None) and returns a value of it, or says at which dotted path what was expected and what came.
Nothing is converted silently except what JSON cannot tell apart: a list is a tuple, a whole number may stand
for any number. It is written out here because architectures and mixtures are read by the same rules as runs,
and carry no marks of a validation library.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from anyrestore.errors import UsageError

__all__ = ["closest", "fields_of", "join", "optional", "read"]


def read(kind: Any, value: object, path: str) -> Any:
    """``value`` as a ``kind``.

    Args:
        kind: a type as annotations have it.
        value: what JSON gives: dict, list, str, int, float, bool, None.
        path: where it stands, for sentences; "" is the whole.

    Raises:
        UsageError: the value is of another type, a field is unknown or missing, or the dataclass refuses it.
    """
    if kind is Any:
        return value
    if (inner := optional(kind)) is not None:
        return None if value is None else read(inner, value, path)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(cast("type[Any]", kind), value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise _wrong(path, f"one of {', '.join(map(str, arguments))}", value)
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(path, "names with values", value)
        items = cast("Mapping[object, object]", value).items()
        return {read(str, k, path): read(arguments[1], v, join(path, str(k))) for k, v in items}
    return _read_plain(kind, value, path)


def fields_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass and their types, in order."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def optional(kind: Any) -> Any:
    """X where ``kind`` is ``X | None``, else None."""
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    inner = [argument for argument in get_args(kind) if argument is not type(None)]
    if len(inner) != 1:  # a defect of a dataclass, found by the test that walks every field
        raise TypeError(f"cannot read {kind}: a field may be one type, or that type or None")
    return inner[0]


def closest(name: str, among: Iterable[str]) -> str:
    """``; did you mean X?`` or nothing, for the end of a sentence."""
    found = difflib.get_close_matches(name, list(among), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def join(path: str, name: str) -> str:
    """The dotted path of ``name`` under ``path``."""
    return f"{path}.{name}" if path else name


def _read_dataclass(kind: type[Any], value: object, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(path, f"the fields of {kind.__name__}", value)
    kinds = fields_of(kind)
    values = cast("Mapping[object, object]", value)
    for name in map(str, values):
        if name not in kinds:
            owner = path or "a run"
            raise UsageError(
                f"{join(path, name)}: no such field; {owner} has {', '.join(kinds)}{closest(name, kinds)}"
            )
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise UsageError(f"{join(path, field.name)}: missing; it has no default, so give it a value")
    read_values = {str(k): read(kinds[str(k)], v, join(path, str(k))) for k, v in values.items()}
    try:
        return kind(**read_values)
    except UsageError as error:
        # Sentences of a dataclass's own checks begin with the field's name.
        dotted = str(error).split(":", 1)[0].split(".", 1)[0] in kinds
        raise UsageError(f"{path}{'.' if dotted else ': '}{error}" if path else str(error)) from error
    except ValueError as error:  # a network's Config
        raise UsageError(f"{path}: {error}" if path else str(error)) from error


def _read_tuple(arguments: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(path, "a list", value)
    values = list(cast("list[object]", value))
    kinds = [arguments[0]] * len(values) if arguments[1:] == (...,) else list(arguments)
    if len(values) != len(kinds):
        raise _wrong(path, f"{len(kinds)} values", values)
    return tuple(read(k, v, join(path, str(i))) for i, (k, v) in enumerate(zip(kinds, values, strict=True)))


def _read_plain(kind: Any, value: object, path: str) -> Any:
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
            raise _wrong(path, "a number", value)
        return value
    names = {int: "a whole number", str: "text", bool: "true or false"}
    if type(value) is not kind:  # not isinstance: True is no whole number
        raise _wrong(path, names[kind], value)
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _wrong(path: str, expected: str, value: object) -> UsageError:
    text = "none" if value is None else repr(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return UsageError(f"{path or 'a run'}: expected {expected}, came {text}")

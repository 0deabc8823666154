"""A run from JSON, and a run with settings of the command line applied.

Settings are ``path=value``. A path is dotted as in the written run: ``optimizer.lr``, ``phases.0.crop``.
Short forms, each for one thing that is asked for often:

- ``phases.crop``: of every phase; likewise ``mixture.parts.repeat``;
- ``mixture.parts.denoise15.repeat``: the parts of that task;
- ``mixture=cdd11``: a mixture by name; the phases' shares, which are of the old mixture's tasks, go;
- ``model.name=cea-s``: another network with its own options; the losses of the old one's own go;
- ``model.rank=4``: an option of the network;
- ``steps=100``: unsets ``epochs``, and the other way round.

Values are JSON, or plain text where text belongs; ``none`` unsets. ``mixture`` and ``model.name`` are applied
before everything else, the rest in the order given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, cast, get_args, get_origin

from anyrestore.data.mixtures import MIXTURES, Part
from anyrestore.errors import UsageError
from anyrestore.training.reading import closest, fields_of, join, optional, read
from anyrestore.training.run import Model, Run
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG

__all__ = ["change", "from_json"]

_FIRST = ("mixture", "model.name")


def from_json(obj: object) -> Run:
    """The run that ``Run.to_json`` wrote.

    Args:
        obj: what json.loads gives.

    Raises:
        UsageError: an unknown or missing field, or a value of another type; the sentence names its path.
    """
    return read(Run, obj, "")


def change(run: Run, settings: Iterable[str]) -> Run:
    """``run`` with ``path=value`` settings applied; see this module's docstring.

    Raises:
        UsageError: no such field, or a value that the field refuses.
    """
    tree: dict[str, Any] = json.loads(json.dumps(run.to_json()))
    pairs = [_split(setting) for setting in settings]
    for path, text in sorted(pairs, key=lambda pair: pair[0] not in _FIRST):
        if path == "mixture":
            tree["mixture"] = _mixture(text)
            for phase in tree["phases"]:
                phase["shares"] = {}
        elif path == "model.name":
            tree["model"] |= {"name": _network(text), "options": {}}
            tree["loss"]["auxiliary"] = {}
        else:
            for place in _find(tree, Run, path.split("."), ""):
                place.container[place.key] = _value(text, place.kind)
        other = {"epochs": "steps", "steps": "epochs"}.get(path)
        if other is not None and tree[path] is not None and other not in dict(pairs):
            tree[other] = None
    return from_json(tree)


def _split(setting: str) -> tuple[str, str]:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"expected a setting like optimizer.lr=1e-4, came {setting!r}")
    return path.strip(), text.strip()


def _mixture(text: str) -> object:
    if text in MIXTURES:
        return json.loads(json.dumps(asdict(MIXTURES[text])))
    value = _value(text, dict)
    if isinstance(value, dict):
        return cast("object", value)
    raise UsageError(
        f"mixture: no mixture named {text!r}; there are {', '.join(MIXTURES)}{closest(text, MIXTURES)}"
    )


def _network(text: str) -> str:
    if text not in CATALOG:
        known = ", ".join(CATALOG)
        raise UsageError(f"model.name: no network named {text!r}; there are {known}{closest(text, CATALOG)}")
    return text


@dataclass(frozen=True)
class _Place:
    """Where a value goes in the tree of plain values, and of what type it should be."""

    container: Any  # dict or list
    key: Any
    kind: Any


def _find(node: Any, kind: Any, steps: Sequence[str], path: str) -> list[_Place]:
    """The places that ``steps`` lead to from ``node``, which holds the plain values of a ``kind``."""
    if is_dataclass(kind):
        if steps[0] == "options" and len(steps) > 1:  # model.options.rank is model.rank
            steps = steps[1:]
        places = [_field(node, kind, steps[0], path)]
    elif get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        inner = get_args(kind)[0]
        if is_dataclass(inner) and steps[0] in fields_of(inner):  # of every entry
            return [
                place
                for i, item in enumerate(node)
                for place in _find(item, inner, steps, join(path, str(i)))
            ]
        places = [_Place(node, i, inner) for i in _indexes(node, inner, steps[0], path)]
    elif isinstance(node, dict):  # a mapping takes any name; the run knows which make sense
        places = [_Place(node, steps[0], get_args(kind)[1])]
    else:
        raise UsageError(f"{join(path, steps[0])}: no such field; {path} is one value")
    if len(steps) == 1:
        return places
    here = join(path, steps[0])
    return [
        deeper
        for place in places
        for deeper in _find(_get(place.container, place.key), place.kind, steps[1:], here)
    ]


def _get(container: Any, key: Any) -> Any:
    return container.get(key) if isinstance(container, dict) else container[key]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _field(node: Any, kind: Any, name: str, path: str) -> _Place:
    fields = fields_of(kind)
    if name in fields:
        return _Place(node, name, fields[name])
    options = dict[str, Any]()
    if kind is Model:
        if node["name"] not in CATALOG:
            raise UsageError(
                f"{path}.{name}: no such field, and this version has no network {node['name']} whose option "
                "it could be; choose another with model.name"
            )
        options = fields_of(ARCHITECTURES[CATALOG[node["name"]].architecture].config)
        if name in options:
            return _Place(node["options"], name, options[name])
    known = [*fields, *options]
    raise UsageError(
        f"{join(path, name)}: no such field; {path or 'a run'} has {', '.join(known)}{closest(name, known)}"
    )


def _indexes(entries: list[Any], kind: Any, name: str, path: str) -> list[int]:
    """Entries of a list by their number, or parts of a mixture by their task."""
    tasks = [entry["task"] for entry in entries] if kind is Part else []
    if name in tasks:
        return [i for i, task in enumerate(tasks) if task == name]
    if name.isdecimal() and int(name) < len(entries):
        return [int(name)]
    fields = list(fields_of(kind)) if is_dataclass(kind) else []
    known = [f"0 to {len(entries) - 1}", *dict.fromkeys(tasks), *fields]
    raise UsageError(
        f"{join(path, name)}: no such entry; {path} has {', '.join(known)}{closest(name, known)}"
    )


def _value(text: str, kind: Any) -> object:
    """What ``text`` says where a ``kind`` belongs; whether it fits is found out when the run is read."""
    if text in ("none", "None") and "none" not in get_args(kind):
        return None
    inner = optional(kind) or kind
    if inner is str or (get_origin(inner) is Literal and all(isinstance(x, str) for x in get_args(inner))):
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text) if inner is float else text
    except ValueError:
        return text

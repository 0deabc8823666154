"""Every foreseen error carries a sentence and a stable code, also across processes."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from anyrestore import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES)
def test_one_root_and_a_stable_default_code(kind):
    error = kind("What came, and what to do.")
    assert isinstance(error, errors.AnyRestoreError)
    assert str(error) == error.message == "What came, and what to do."
    assert error.code == kind.default_code
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("kind", CLASSES)
def test_code_and_type_survive_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("Cut short.", code="truncated")))
    assert (type(error), str(error), error.code) == (kind, "Cut short.", "truncated")


def test_default_codes_are_distinct():
    assert len({kind.default_code for kind in CLASSES}) == len(CLASSES)


def test_every_code_stands_in_its_class_docstring():
    source = Path(errors.__file__).parent
    calls = [
        (path, call)
        for path in source.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
    ]
    found = {
        (call.func.id, word.value, path.name)
        for path, call in calls
        if isinstance(call.func, ast.Name) and call.func.id in errors.__all__
        for keyword in call.keywords
        if keyword.arg == "code"
        for word in ast.walk(keyword.value)
        if isinstance(word, ast.Constant)
    }
    assert len(found) > 30
    missing = [one for one in sorted(found) if f"``{one[1]}``" not in (getattr(errors, one[0]).__doc__ or "")]
    assert missing == []
    assert all(f"``{kind.default_code}``" in (kind.__doc__ or "") for kind in CLASSES)

"""Every foreseen error carries a sentence and a stable code, also across processes."""

import pickle
import re

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

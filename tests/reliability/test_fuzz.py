"""The fuzz target runs, finds nothing in the reader, and would find what there is to find."""

import random

import pytest

from reliability import corpus, fuzz_reader


def test_nothing_but_input_errors_comes_out() -> None:
    count, found = fuzz_reader.fuzz(seed=1, seconds=60 if corpus.FULL else 2)
    assert [(one["wrong"], one["why"]) for one in found] == []
    assert count > 50


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("raise ValueError('no')", "ValueError"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
        ("raise InputError('no', code='of_another_kind')", "of_another_kind"),
    ],
)
def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, wrong: str, why: str) -> None:
    broken = f"""
import os, signal
from anyrestore import image
from anyrestore.errors import InputError
def decode(*_, **__):
    {wrong}
image.decode = decode
"""
    monkeypatch.setattr(fuzz_reader, "CHILD", broken + fuzz_reader.CHILD)
    _, found = fuzz_reader.fuzz(seed=1, seconds=0.01)
    assert why in str(found[0]["why"])


def test_a_seed_gives_the_same_files_again() -> None:
    files = list(corpus.whole_files().values())
    one, other = ([fuzz_reader.mutate(files, random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert one == other
    assert len(set(one)) == 50

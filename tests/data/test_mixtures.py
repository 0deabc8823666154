"""The published mixtures: their lengths from the sets' full counts, and that every name in them exists."""

from __future__ import annotations

import re
from typing import Any

import pytest

from anyrestore.data.catalog import CATALOG
from anyrestore.data.mixtures import MIXTURES, Mixture, Part
from anyrestore.data.readers import find_split
from anyrestore.data.samples import check_degrade
from anyrestore.data.sampling import Stream
from anyrestore.errors import UsageError


def full_counts(mixture: Mixture) -> list[int]:
    """Pictures of every part where all data sets are whole."""

    def count(name: str) -> int:
        entry, subset, split = find_split(name, "train")
        return split.count // (len(entry.subsets) if subset else 1)

    return [sum(count(name) for name in part.sets) for part in mixture.parts]


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("promptir-aio3", 142_431),
        ("adair-aio5", 162_646),
        ("moce-aio5", 236_251),
        ("cdd11", 11 * 1183),
        ("allweather", 18_069),
    ],
)
def test_an_epoch_is_as_long_as_published(name: str, samples: int) -> None:
    assert Stream(MIXTURES[name], full_counts(MIXTURES[name])).epoch == samples


def test_the_balanced_mixture_is_nine_tenths_of_aio3_with_half_the_haze() -> None:
    mixture = MIXTURES["anyir-balanced"]
    counts = full_counts(mixture)
    assert Stream(mixture, counts).epoch / 142_431 == pytest.approx(0.9, abs=0.005)
    of_task = {p.task: round(n * p.repeat) for p, n in zip(mixture.parts, counts, strict=True)}
    assert of_task["dehaze"] == 36_068
    assert of_task["derain"] == 24_000
    assert sum(n for task, n in of_task.items() if task.startswith("denoise")) > 3 * 3 * 5144


def test_every_set_and_degradation_exists() -> None:
    for mixture in MIXTURES.values():
        for part in mixture.parts:
            check_degrade(part.degrade)
            assert all(":" in name or name.partition("/")[0] in CATALOG for name in part.sets)


def test_published_noise_is_cut_off_to_eight_bits_and_ours_is_rounded() -> None:
    for name in ("promptir-aio3", "adair-aio5", "moce-aio5", "anyir-balanced"):
        assert MIXTURES[name].eight_bits == "truncate"
    assert MIXTURES["composite"].eight_bits == "round"


@pytest.mark.parametrize("text", ["noise:", "noise:loud", "noise:-5", "rain:3", "fog", "", ":"])
def test_what_cannot_be_done_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected degrade to be"):
        check_degrade(text)


NOT_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"task": ""}, "task: expected a name without spaces, came ''"),
    ({"task": "two words"}, "task: expected a name without spaces, came 'two words'"),
    ({"sets": ()}, "sets: expected at least one data set, each with a name, came []"),
    ({"sets": ("wed", "")}, "sets: expected at least one data set, each with a name, came ['wed', '']"),
    ({"repeat": 0.0}, "repeat: expected a number above 0, came 0.0"),
    ({"repeat": float("inf")}, "repeat: expected a number above 0, came inf"),
    ({"share": -0.5}, "share: expected a number of at least 0, came -0.5"),
    ({"weight": float("nan")}, "weight: expected a number of at least 0, came nan"),
]


@pytest.mark.parametrize(("fields", "sentence"), NOT_PARTS)
def test_what_is_no_part_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        Part(**{"task": "noise", "sets": ("wed",), **fields})


def test_what_is_no_mixture_is_refused() -> None:
    part, unused = Part(task="noise", sets=("wed",)), Part(task="rain", sets=("wed",), share=0.0)
    with pytest.raises(UsageError, match=r"^parts: expected at least one part, came none"):
        Mixture(name="m", parts=())
    with pytest.raises(UsageError, match=r"^epoch: expected none or at least 1 sample, came 0"):
        Mixture(name="m", parts=(part,), epoch=0)
    with pytest.raises(UsageError, match=r"^parts: expected a share above 0"):
        Mixture(name="m", parts=(unused,), order="draw")
    assert Mixture(name="m", parts=(unused,)).parts == (unused,)
    assert Mixture(name="m", parts=(unused, part), order="draw").parts == (unused, part)

"""The table of data sets: complete, consistent, and with the counts of PROTOCOLS."""

import pytest

from anyrestore.data.catalog import CATALOG
from anyrestore.data.prepare import layouts
from anyrestore.data.readers import plain_name


@pytest.mark.parametrize("name", CATALOG)
def test_an_entry_is_complete(name: str) -> None:
    entry = CATALOG[name]
    assert entry.name == name == name.lower()
    assert all((entry.title, entry.task, entry.pairing, entry.licence, entry.how))
    assert entry.page.startswith("https://")
    assert entry.access in ("url", "login", "drive", "request")
    assert entry.how.endswith(".")
    assert not entry.doubts.endswith(".")
    for split in entry.splits.values():
        assert split.places
        assert all(place.folders and place.target for place in split.places)
        assert len({place.degraded is None for place in split.places}) == 1
        assert split.count > 0 or "no counts" in entry.doubts


@pytest.mark.parametrize("name", CATALOG)
def test_known_names_are_distinct_and_as_many_as_there_are_pictures(name: str) -> None:
    entry = CATALOG[name]
    for split in entry.splits.values():
        if split.names:
            assert len(split.names) == split.count
            assert len({plain_name(known, entry.prefixes) for known in split.names}) == split.count


def test_counts_are_those_of_the_published_mixtures() -> None:
    count = {name: entry.splits["train"].count for name, entry in CATALOG.items() if "train" in entry.splits}
    denoise = 3 * 3 * (count["bsd400"] + count["wed"])
    aio3 = denoise + 120 * count["rain100l"] + count["ots"]
    assert aio3 == 46_296 + 24_000 + 72_135 == 142_431
    assert aio3 + 5 * count["gopro"] + 20 * count["lolv1"] == 162_646
    assert aio3 + 5 * count["gopro-crops"] + 20 * count["lolv1"] == 236_251
    assert count["cdd11"] == 11 * 1183
    assert CATALOG["gopro"].splits["test"].count == 1111
    assert CATALOG["ots"].splits["train"].count == 2061 * len(CATALOG["ots"].splits["train"].variants)


def test_the_canonical_place_has_no_signs_of_the_catalogue() -> None:
    for entry in CATALOG.values():
        for line in layouts(entry):
            assert not set(line) & set("|&{}")


def test_only_sets_with_an_address_for_each_file_are_fetched() -> None:
    for entry in CATALOG.values():
        if entry.download:
            assert entry.access == "url"
            assert entry.download.startswith("https://")
            assert "{file}" in entry.download

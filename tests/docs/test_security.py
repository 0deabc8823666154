"""docs/security.md says what the code holds: every limit with its default, every error code."""

from __future__ import annotations

import re

import pytest

from anyrestore import errors, video
from anyrestore.cli.main import build_parser
from anyrestore.errors import AnyRestoreError
from anyrestore.image.formats import LARGEST_PROFILE
from anyrestore.image.picture import MAX_FILE_BYTES, MAX_PIXELS
from anyrestore.server.settings import Settings
from documented import ROOT

TEXT = (ROOT / "docs/security.md").read_text()
SETTINGS = Settings()
MiB, GiB = 2**20, 2**30
LIMITS = {
    "pixels of a picture, command and Python": f"{MAX_PIXELS:,}",
    "pixels of a video's frame": f"{video.Options().max_pixels:,}",
    "a picture file that is read into memory": f"{MAX_FILE_BYTES // GiB} GiB",
    "an ICC profile that is kept": f"{LARGEST_PROFILE // MiB} MiB",
    "server: address": f"{SETTINGS.host}, port {SETTINGS.port}",
    "server: one upload": f"{SETTINGS.max_bytes // MiB} MiB",
    "server: pixels of a picture": f"{SETTINGS.max_pixels:,}",
    "server: pixels of all pictures in work": f"{SETTINGS.pixels_in_flight:,}",
    "server: bytes of all uploads in work": f"{SETTINGS.bytes_in_flight // MiB} MiB",
    "server: workers, and pictures that wait": f"{SETTINGS.workers}, {SETTINGS.queue}",
    "server: memory of a worker": f"{SETTINGS.worker_memory // MiB} MiB",
    "server: a request's headers, body": f"{SETTINGS.header_seconds:g} s, {SETTINGS.body_seconds:g} s",
    "server: from admission to answer": f"{SETTINGS.request_seconds:g} s, "
    f"and {SETTINGS.seconds_per_megapixel:g} s for each million pixels",
    "server: time to finish when it is ended": f"{SETTINGS.drain_seconds:g} s",
    "server: open connections": f"{SETTINGS.connections}",
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    table = re.search(r"^\|.*?(?=\n\n)", TEXT.split(f"## {heading}\n")[1], re.MULTILINE | re.DOTALL)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_every_limit_has_its_default() -> None:
    assert {row[0]: row[1] for row in rows("Limits and defaults")} == LIMITS


@pytest.mark.parametrize("verb", ["restore", "serve"])
def test_the_options_that_change_them_exist(verb: str) -> None:
    parsers = next(a for a in build_parser()._actions if isinstance(a.choices, dict)).choices
    assert isinstance(parsers, dict)
    if verb not in parsers:
        pytest.skip(f"there is no verb {verb}")
    named = [
        option
        for row in rows("Limits and defaults")
        for option in re.findall(r"--[\w-]+", row[2])
        if row[0].startswith("server") == (verb == "serve")
    ]
    assert named
    assert set(named) <= set(parsers[verb]._option_string_actions)


def test_every_error_code_is_listed_with_its_class() -> None:
    listed = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows("Error codes")}
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert kind.default_code in listed[name]
        codes = set(re.findall(r"``(\w+)``", (kind.__doc__ or "").partition("odes")[2])) - {"foreign"}
        assert codes <= listed[name], name
    assert all(issubclass(getattr(errors, name, AnyRestoreError), AnyRestoreError) for name in listed)


def test_it_says_how_to_report() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    assert "private security advisory" in policy
    assert "Supported versions" in policy
    assert "(docs/security.md)" in policy

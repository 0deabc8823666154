"""docs/server.md says what is so: its tables are those of the code. ANYRESTORE_WRITE=1 writes them."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from anyrestore.cli.main import build_parser
from anyrestore.server.guards import ROUTES
from anyrestore.server.problems import STATUSES
from anyrestore.server.settings import MiB, Settings

PAGE = Path(__file__).parents[2] / "docs" / "server.md"

# What is a limit, in words, and the option that changes it.
LIMITS = {
    "workers": ("workers", "--workers"),
    "queue": ("pictures that may wait beside those being worked on", "--queue"),
    "max_bytes": ("one upload", "--max-bytes"),
    "max_pixels": ("pixels of one picture", "--max-pixels"),
    "pixels_in_flight": ("pixels of all pictures that are let in", ""),
    "bytes_in_flight": ("all uploads that are received or wait", ""),
    "worker_memory": ("memory of one worker", "--memory"),
    "header_seconds": ("a request's headers", ""),
    "body_seconds": ("a request's body", "--transfer"),
    "send_seconds": ("reading an answer", "--transfer"),
    "idle_seconds": ("a connection between requests", ""),
    "request_seconds": ("from a picture's admission to its answer", "--timeout"),
    "seconds_per_megapixel": ("...and more for each million of its pixels", "--timeout-per-megapixel"),
    "drain_seconds": ("finishing what was let in, at the end", "--drain"),
    "connections": ("open connections", "--connections"),
}


def error_rows() -> str:
    found = dict[int, list[str]]()
    for code, status in STATUSES.items():
        found.setdefault(status, []).append(f"`{code}`")
    return "\n".join(f"| {status} | {', '.join(found[status])} |" for status in sorted(found))


def limit_rows() -> str:
    rows = list[str]()
    for name, (words, option) in LIMITS.items():
        value = getattr(Settings(), name)
        shown = f"{value:,}" if isinstance(value, int) else f"{value:g} s"
        if name in ("max_bytes", "bytes_in_flight", "worker_memory"):
            shown = f"{value // MiB} MiB"
        rows.append(f"| {words} | {shown} | {f'`{option}`' if option else ''} |")
    return "\n".join(rows)


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("ANYRESTORE_WRITE"):
        for heading, rows in (("status | codes", error_rows()), ("limit | default | option", limit_rows())):
            page = re.sub(
                rf"(\| {re.escape(heading)} \|\n\|[-|]+\|\n)(?:\|.*\n|[A-Z]+\n)+", rf"\g<1>{rows}\n", page
            )
        PAGE.write_text(page, encoding="utf-8")
    assert error_rows() in page
    assert limit_rows() in page


def test_every_number_among_the_settings_is_a_limit_with_an_option_that_exists() -> None:
    numbers = {
        field.name for field in dataclasses.fields(Settings) if str(field.type) in ("int", "float")
    } - {"port"}
    assert numbers == LIMITS.keys()
    parser = build_parser()
    usage = next(
        action.choices["serve"].format_help()
        for action in parser._actions
        if isinstance(action.choices, dict) and "serve" in action.choices
    )
    for _, option in LIMITS.values():
        assert option in usage
    assert set(re.findall(r"`(?:GET|POST) (/[a-z0-9/.]+)`", PAGE.read_text(encoding="utf-8"))) == set(ROUTES)

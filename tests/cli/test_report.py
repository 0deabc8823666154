from pathlib import Path
from typing import Any

from stored_results import content_of, entries_from, write, write_pictures


def test_a_page_is_written(command: Any, tmp_path: Path) -> None:
    entries = entries_from({"rain": [25.0, 26.0, 27.0]})
    for name in ("a", "b"):
        write(tmp_path / name, content_of(entries, model=name))
        write_pictures(tmp_path / name, entries)
    page = tmp_path / "report.html"
    done = command("report", tmp_path / "a", tmp_path / "b", "-o", page)
    assert (done.code, done.err) == (0, "")
    assert "report.html" in done.out
    assert page.read_text().startswith("<!doctype html>")


def test_names_that_are_no_utf_8_do_not_stop_it(command: Any, tmp_path: Path) -> None:
    write(tmp_path / "a", content_of(entries_from({"rain": [25.0]}), model="\udcff"))
    done = command("report", tmp_path / "a", "-o", tmp_path / "report.html")
    assert done.code == 0
    assert "\\udcff" in (tmp_path / "report.html").read_text()


def test_a_place_that_cannot_be_written_is_told_at_once(command: Any, tmp_path: Path) -> None:
    done = command("report", tmp_path / "none", "-o", tmp_path / "no" / "report.html")
    assert done.code == 4
    assert "does not exist" in done.err

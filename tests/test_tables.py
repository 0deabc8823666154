"""Columns of plain text."""

from anyrestore.tables import aligned


def test_words_to_the_left_and_numbers_to_the_right() -> None:
    rows: list[list[str]] = [["model", "dB"], ["a", "7.25"], ["longer name", "31.5"]]
    assert aligned(rows) == ["model          dB", "a            7.25", "longer name  31.5"]
    assert aligned([rows[0], None, rows[2]])[1] == "-----------  ----"
    assert aligned(rows, left=(0, 1)) == ["model        dB", "a            7.25", "longer name  31.5"]

"""Following jobs as they are done: a bar, a line per picture, a sentence per failure, the exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from anyrestore.batch.running import Result
from anyrestore.cli import terminal
from anyrestore.errors import OutputError, UsageError


def follow(results: Iterable[Result], expected: int, *, debug: bool) -> int:
    """Report each result when it comes; the exit code at the end.

    Args:
        results: from `run_jobs`.
        expected: how many there are to be.
        debug: whether to show where an error came from.
    """
    done: list[Result] = []
    # A single picture has a bar of its own; None: a bar where stderr is a terminal.
    with tqdm(
        total=expected, delay=1, unit="picture", leave=False, disable=True if expected == 1 else None
    ) as bar:
        for result in results:
            done.append(result)
            with tqdm.external_write_mode():  # lines go above a bar, not through it
                _report(result, debug=debug)
            bar.update()
    if len(done) < expected:
        terminal.complain(f"stopped because the disk is full; not tried: {expected - len(done)} pictures")
    return _exit_code([result.error for result in done if result.error is not None], expected)


def _report(result: Result, *, debug: bool) -> None:
    source = result.job.source
    for warning in result.warnings:
        terminal.complain(f"warning: {warning}", about=source)
    if result.error is None:
        arrow = f"{terminal.escape(source)} -> {terminal.escape(result.job.target)}"
        terminal.say(f"{arrow}  {result.width}x{result.height}  {result.seconds:.1f} s")
        return
    if debug:
        traceback.print_exception(result.error, file=sys.stderr)
    terminal.complain(terminal.describe(result.error), about=source)


def _exit_code(errors: Sequence[Exception], expected: int) -> int:
    if any(isinstance(error, OutputError) for error in errors):
        return terminal.OUTPUT_FAILED
    if len(errors) < expected:
        return terminal.SOME_FAILED if errors else terminal.OK
    # Where every picture was refused for what was asked (a format that cannot hold it), the asking was wrong.
    return terminal.USAGE if all(isinstance(error, UsageError) for error in errors) else terminal.ALL_FAILED

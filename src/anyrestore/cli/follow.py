"""Following jobs as they are done: a bar, a line per picture, a sentence per failure, the exit code."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from anyrestore.batch.jobs import Job, Refusal
from anyrestore.batch.report import Report
from anyrestore.batch.running import Result
from anyrestore.cli import terminal
from anyrestore.errors import AnyRestoreError, OutputError, UsageError


class Follower:
    """Tells of jobs, on the terminal and in a report.

    Args:
        debug: whether to show where an error came from.
        report: takes a line per input, if there is one.
        quiet: whether stdout is left alone, since the report goes there.
    """

    def __init__(self, *, debug: bool, report: Report | None = None, quiet: bool = False) -> None:
        self._debug = debug
        self._report = report
        self._quiet = quiet
        self._good = 0
        self._errors = list[Exception]()

    def refused(self, refusals: Sequence[Refusal]) -> None:
        """Tell of what was found in folders and is not restored."""
        for refusal in refusals:
            error = refusal.error
            terminal.complain(error, about=refusal.source)
            if refusal.failed:
                self._errors.append(error)
            if self._report is not None:
                self._report.add(
                    source=refusal.source,
                    target=None,
                    status="failed" if refusal.failed else "skipped",
                    code=error.code,
                    message=str(error),
                )

    def skipped(self, jobs: Sequence[tuple[Job, str | None]], *, code: str, message: str) -> None:
        """Tell of jobs that need not be done, each with the SHA-256 of its result where that is known."""
        self._good += len(jobs)
        for job, sha256 in jobs:
            if self._report is not None:
                self._report.add(
                    source=job.source,
                    target=job.target,
                    status="skipped",
                    code=code,
                    message=message,
                    sha256=sha256,
                )
        if jobs:
            terminal.complain(f"{_counted(len(jobs))} skipped: {message}")

    def follow(self, results: Iterable[Result], jobs: Sequence[Job]) -> int:
        """Report each result when it comes; the exit code at the end.

        Args:
            results: from `run_jobs`; closed in the end, whatever happens.
            jobs: what is to be done, in any order.
        """
        left = dict.fromkeys(jobs)
        sizes = {job: _bytes(job.source) for job in jobs}
        last: Result | None = None
        # A single picture has a bar of its own; None: a bar where stderr is a terminal. It counts the bytes
        # of the inputs: a file twice as large takes about twice as long, so they tell the time left.
        bar = tqdm(
            total=sum(sizes.values()),
            delay=1,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=True if len(jobs) == 1 else None,
        )
        try:
            with bar, _closing(results):
                for last in results:
                    with tqdm.external_write_mode():  # lines go above a bar, not through it
                        self._tell(last)
                    left.pop(last.job, None)
                    bar.update(sizes.get(last.job, 0))
                    bar.set_postfix_str(f"{len(jobs) - len(left)} of {len(jobs)} pictures")
        except BaseException:  # Ctrl-C too; what ended the run matters more than a report that fails
            with contextlib.suppress(OutputError, BrokenPipeError):
                self._finish_report(left)
            raise
        self._finish_report(left)
        full = last is not None and getattr(last.error, "code", "") == "disk_full"
        if left and full:
            terminal.complain(f"stopped because the disk is full; not tried: {_counted(len(left))}")
        return self._exit_code(not_tried=len(left))

    def _tell(self, result: Result) -> None:
        source, error = result.job.source, result.error
        if self._report is not None:
            self._report.add(
                source=source,
                target=result.job.target,
                status="done" if error is None else "failed",
                code=None if error is None else _code(error),
                message=None if error is None else terminal.describe(error),
                seconds=result.seconds,
                size=(result.width, result.height) if error is None else None,
                sha256=result.sha256,
                warnings=result.warnings,
            )
        for warning in result.warnings:
            terminal.complain(f"warning: {warning}", about=source)
        if error is None:
            self._good += 1
            if not self._quiet:
                arrow = f"{terminal.escape(source)} -> {terminal.escape(result.job.target)}"
                terminal.say(f"{arrow}  {result.width}x{result.height}  {result.seconds:.1f} s")
            return
        self._errors.append(error)
        if self._debug:
            traceback.print_exception(error, file=sys.stderr)
        terminal.complain(terminal.describe(error), about=source)

    def _finish_report(self, left: Iterable[Job]) -> None:
        """So that it has a line for every input, also where the run ended before its time."""
        if self._report is None:
            return
        for job in left:
            self._report.add(
                source=job.source,
                target=job.target,
                status="skipped",
                code="not_tried",
                message="the run ended before its turn",
            )
        self._report.close()

    def _exit_code(self, *, not_tried: int) -> int:
        if any(isinstance(error, OutputError) for error in self._errors):
            return terminal.OUTPUT_FAILED
        if self._good or not_tried or not self._errors:
            return terminal.SOME_FAILED if self._errors else terminal.OK
        # Every picture was refused for what was asked (a format that cannot hold it): the asking was wrong.
        wrong = all(isinstance(error, UsageError) for error in self._errors)
        return terminal.USAGE if wrong else terminal.ALL_FAILED


@contextlib.contextmanager
def _closing(results: Iterable[Result]) -> Generator[None]:
    try:
        yield
    finally:
        if isinstance(results, Generator):
            results.close()


def _counted(pictures: int) -> str:
    return f"{pictures} picture{'s' * (pictures != 1)}"


def _code(error: Exception) -> str:
    """The stable word for an error; what was not foreseen is `internal`, as between processes."""
    if isinstance(error, AnyRestoreError):
        return error.code
    if isinstance(error, MemoryError):
        return "out_of_memory"
    return "unreadable" if isinstance(error, OSError) else "internal"


def _bytes(path: Path) -> int:
    try:
        return max(path.stat().st_size, 1)
    except (OSError, ValueError):
        return 1

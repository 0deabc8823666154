"""The command's entry: `anyrestore VERB ...`.

Each verb is a file with `add_parser(subparsers)`, which declares its options, and `run(args)`, which does the
work and returns the exit code. Only `run` imports torch and the rooms that need it, so that `--help` is
quick.

Exit codes: 0 all well, 1 some pictures failed, 2 the command is not right, 3 all failed, 4 a result could not
be stored, 130 and 143 ended by Ctrl-C and SIGTERM, 141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType

from anyrestore import __version__
from anyrestore.cli import (
    average,
    batch,
    bench,
    compare,
    completion,
    convert,
    data,
    degrade,
    evaluate,
    explain,
    export,
    gallery,
    models,
    report,
    restore,
    serve,
    study,
    train,
)
from anyrestore.cli.terminal import complain, describe, exit_code
from anyrestore.errors import AnyRestoreError

VERBS = (
    restore,
    batch,
    serve,
    degrade,
    models,
    convert,
    evaluate,
    compare,
    report,
    gallery,
    explain,
    export,
    data,
    train,
    study,
    average,
    bench,
    completion,
)
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
PIPE_CLOSED = 141


class _TerminatedError(BaseException):
    """SIGTERM came; like KeyboardInterrupt not an Exception, so that nothing on the way catches it."""


def build_parser() -> argparse.ArgumentParser:
    """The parser with every verb."""
    parser = argparse.ArgumentParser(
        prog="anyrestore",
        description="Restore degraded photographs: noise, rain, haze, snow, low light, blur, JPEG, mixtures.",
    )
    parser.add_argument("--version", action="version", version=f"anyrestore {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        of_verb = verb.add_parser(subparsers)
        of_verb.add_argument("--debug", action="store_true", help="show where an error came from")
        of_verb.set_defaults(run=verb.run, command=parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `argv` is without the program's name."""
    debug = False
    _sleep_at_barriers()
    try:
        args = build_parser().parse_args(argv)
        debug = bool(args.debug)
        with _signals_raise():
            code = int(args.run(args))
        sys.stdout.flush()
    except SystemExit as leave:  # argparse: --help, --version, or options that are not right
        return leave.code if isinstance(leave.code, int) else 2
    except BrokenPipeError:
        _drop_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        complain("stopped; what was finished is kept")
        return INTERRUPTED
    except _TerminatedError:
        complain("ended by SIGTERM; what was finished is kept")
        return TERMINATED
    except (AnyRestoreError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        complain(describe(error))
        return exit_code(error)
    return code


def _sleep_at_barriers() -> None:
    """Let OpenMP threads sleep, not spin, while they wait for each other; a setting of the user's own stays.

    OpenMP reads it when torch is imported, which no verb does before its `run`.

    Spinning pays only where every thread has a core to itself. With one other busy process on two cores, a
    512 x 512 tile of cea-t took 6.4 s with spinning threads and 0.7 s with sleeping ones.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def _signals_raise() -> Generator[None]:
    """Let Ctrl-C and SIGTERM unwind the program, so that temporary files go; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Who ignores Ctrl-C (a shell does so for what it starts in the background), or has a handler of its own,
    # keeps that.
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_DFL)
        raise KeyboardInterrupt if number == signal.SIGINT else _TerminatedError

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drop_stdout() -> None:
    """Point stdout to nowhere: the interpreter flushes it once more at its end."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (a device, not a path)
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

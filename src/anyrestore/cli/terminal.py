"""What the verbs say on the terminal: names escaped, one sentence per problem, exit codes."""

from __future__ import annotations

import sys
from typing import TextIO

from anyrestore.errors import AnyRestoreError, DataError, ModelError, OutputError, UsageError

OK = 0
SOME_FAILED = 1
USAGE = 2
ALL_FAILED = 3
OUTPUT_FAILED = 4

#: Codes of a run's folder that must be looked at by a person before training can go on in it.
_NOT_TO_BE_WRITTEN_OVER = {"checkpoints_damaged", "checkpoint_foreign", "run_differs", "data_differs"}


def escape(text: object) -> str:
    """`text` on one line: control characters and bytes that are no UTF-8 as backslash escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def say(line: str, *, to: TextIO | None = None) -> None:
    """Print one line, on stdout unless told, escaping what the stream's encoding cannot hold."""
    stream = sys.stdout if to is None else to
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def complain(problem: object, *, about: object = None) -> None:
    """One sentence on stderr: `anyrestore: photo.jpg: ...`."""
    sentence = escape(problem)
    if about is not None:
        # Sentences that begin with the file's name, quoted, need not name it twice.
        sentence = f"{escape(about)}: {sentence.removeprefix(repr(str(about))).lstrip()}"
    say(f"anyrestore: {sentence}", to=sys.stderr)


def describe(error: BaseException) -> str:
    """An error as one sentence for a person."""
    if isinstance(error, AnyRestoreError):
        return str(error)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return "memory ran out; close other programs or use smaller tiles"
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"internal error ({type(error).__name__}: {first}); run with --debug for where it happened"


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ends with `error` before any picture."""
    if isinstance(error, (UsageError, ModelError)):  # a model that is not there was asked for by an option
        return USAGE
    if isinstance(error, DataError) and error.code in _NOT_TO_BE_WRITTEN_OVER:
        return USAGE
    return OUTPUT_FAILED if isinstance(error, OutputError) else ALL_FAILED

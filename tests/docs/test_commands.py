"""Every command of the documentation is run, on small files under the names that it uses.

Each page is read as a newcomer reads it: from the top, in a folder that has what it talks about, one command
after another. What takes weeks is run with a few words more (`SHORTER`). What cannot run here at all is named
with its reason (`PARSED`), and is still held against the parser, the Makefile, the extras or the files that
it names. ``ANYRESTORE_FULL=1`` (`make commands`) also runs what only takes long (`LONG`).

    ANYRESTORE_SHOW_COMMANDS=1 python -m pytest -s tests/docs/test_commands.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import stand_ins
from anyrestore.cli.main import build_parser, main
from anyrestore.text.encoder import is_installed
from documented import PAGES, ROOT, Command, commands, synopses

STORAGE = 4  # the exit code for a result that could not be stored
VERBOSE = os.environ.get("ANYRESTORE_SHOW_COMMANDS", "") not in ("", "0")
FULL = os.environ.get("ANYRESTORE_FULL", "") not in ("", "0")

WIDTH = " --set model.width=8"
STEP = (
    f"--set steps=1 --set phases.crop=16 --set phases.batch=1{WIDTH} --set validation.every=0 "
    "--set checkpoints.every=1 --set instructions=2 --device cpu --no-tensorboard --quiet"
)
VARIANTS = (
    "--set steps=1 --set phases.crop=16 --set phases.batch=1 --set model.width=8 --set validation.count=2 "
    "--set validation.crop=16 --set validation.held_out=2 --device cpu --jobs 1"
)

# What a command begins with (a regular expression), what is added, and why. The first that fits counts.
SHORTER = [
    (
        r"anyrestore train (?!.*(--show|--list))exda-t@aio3",
        f"{STEP} --set validation.every=1 --set validation.count=1 --set validation.crop=16 --limit 4",
        "weeks; best.safetensors",
    ),
    (
        r"anyrestore train (?!.*(--show|--list))(cea-t-(cont|larger)|.*start=)",
        STEP.replace(WIDTH, ""),
        "minutes to hours",
    ),
    (r"anyrestore train (?!.*(--show|--list))", STEP, "weeks on a GPU"),
    (r"anyrestore study (?!.*(--show|--list))", VARIANTS, "minutes on two cores, or days on a GPU"),
    (
        r"anyrestore bench cost --size",
        "cea-t --size 16 --seconds 0.01 --no-peak",
        "minutes: every network of the zoo",
    ),
    (r"anyrestore bench cost", "--size 16 --seconds 0.01 --no-peak", "minutes on a machine of one's own"),
    (
        r"anyrestore bench whole",
        "--megapixels 0.01 --limit 4G",
        "minutes: a process for each picture and limit",
    ),
    (
        r"anyrestore bench train",
        (
            "--set model.name=tiny --set model.start=none --set phases.crop=16 --set phases.batch=1 "
            "--seconds 0.01 --workers 0 --no-compile --device cpu"
        ),
        "minutes, and the memory of a large network's steps",
    ),
    (r"anyrestore bench flicker", "--side 32 --frames 2", "half a minute"),
    (r"anyrestore bench folder", "--repeats 1", "medians of several runs"),
    (r"anyrestore bench tiles", "--side 32", "the stand-in is smaller than a tile"),
    (r"anyrestore batch .*--threads 2", "--threads 1", "two threads of one core wait for each other"),
    (r"anyrestore evaluate", "--limit 1", "dozens of lines of a table; a picture for each is enough"),
    (r"anyrestore explain --embeddings", "--limit 2", "t-SNE of hundreds of pictures"),
    (r"anyrestore explain photo", "--look spectra", "drawing takes long; tests/inspection draws every look"),
]

# What cannot run here, and why; it is parsed all the same. Regular expressions that match from the beginning.
PARSED = {
    r"make\b": "builds an environment, or runs this suite",
    r"pip install": "fetches packages",
    r"python -m venv|\. \.venv|openssl": "tools of the system: an environment, a random token",
    r"python -m pytest|pytest": "the suite within the suite",
    r"anyrestore serve": "does not end by itself; it is started for what `curl` asks",
    r"anyrestore restore .*scunet": "needs spandrel (extra foreign, not in dev) and a public file",
    r"anyrestore batch s3:": "needs a bucket",
    r"anyrestore batch .*--engine ray": "needs Ray (extra scale, not in dev); tests/batch/test_ray.py has it",
}

# What only takes long: run with ANYRESTORE_FULL=1, parsed otherwise.
LONG = {
    r"curl": "starts a service and loads its models",
    r"anyrestore study .*(PHOTOS|--seeds 3|--data DATA)": "trainings; docs/studies.md has one that is run",
    r"anyrestore bench cost cea-t nafnet": "many passes; docs/cost.md has one that is run",
    r"anyrestore gallery docs": "sixteen photographs, two models; README.md has one that is run",
    r"(OMP_NUM_THREADS=2 )?anyrestore bench train": "the machine is timed: tests/cli/test_bench.py",
    r"anyrestore bench backends .*compile": "inductor compiles for minutes",
    r"anyrestore bench backends": "graphs of cea-s are recorded and compiled",
    r"anyrestore (restore|evaluate|export) .*(openvino|onnx)": "graphs are recorded: tests/cli/test_export",
}

# Exit codes other than 0 that a page speaks of, or that the stand-ins bring about.
EXIT = {
    r"anyrestore data check": (1, "the stand-in is not the published set"),
}


def seconds() -> float:
    """Of CPU so far, with those of processes that were started and have ended."""
    return sum(os.times()[:4])


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def listed(command: Command, table: dict[str, object]) -> str | None:
    """The pattern of the table that the command fits."""
    text = shlex.join(command.words)
    return next((pattern for pattern in table if re.match(pattern, text)), None)


def is_run(command: Command) -> bool:
    return listed(command, PARSED) is None and (FULL or listed(command, LONG) is None)


ALL = {page: commands(page) for page in PAGES}
EVERY = [command for of_page in ALL.values() for command in of_page]


# ---------------------------------------------------------------------------------------- parsing


def check_anyrestore(words: list[str]) -> None:
    build_parser().parse_args(words[1:])


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words[1:] if "=" not in word and word not in targets] == []


def check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert words[1] == "install"
    for word in words[2:]:
        for extra in re.findall(r"\[(.*)\]", word):
            assert set(extra.split(",")) <= set(project["optional-dependencies"])


def check_pytest(words: list[str]) -> None:
    paths = [ROOT / word for word in words if word.startswith("tests/")]
    assert paths
    assert [path for path in paths if not path.exists()] == []
    if "-k" in words and (chosen := words[words.index("-k") + 1]) not in (
        "flat",
        "impulse",
    ):  # a reader's own
        assert any(chosen in path.read_text() for path in paths)


def check_curl(words: list[str]) -> None:
    found = [word for word in words if re.match(r"https?://", word)]
    assert found
    routes = r"https?://[\w.:-]+/(v1/\w+|\w+|openapi.json)?(\?.*)?"
    assert [one for one in found if not re.fullmatch(routes, one)] == []


def check_python(words: list[str]) -> None:
    if words[:3] == ["python", "-m", "venv"]:
        return
    if words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
        return
    check_pytest(words)


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "anyrestore": check_anyrestore,
    "make": check_make,
    "curl": check_curl,
    "pip": check_pip,
    "pytest": check_pytest,
    "python": check_python,
    ".": lambda words: None,
    "openssl": lambda words: None,
}


@pytest.mark.parametrize("page", [page for page in PAGES if ALL[page]])
def test_every_command_parses(page: str) -> None:
    for command in ALL[page]:
        words = shlex.split(
            re.sub(r"\$\w+/?(\$\w+)?", lambda m: "1/2" if "/" in m[0] else "1", shlex.join(command.words))
        )
        program = next(word for word in words if "=" not in word)
        assert program in CHECKS, f"{page}: nothing here knows how to check {command.text!r}"
        if is_run(command) and program == "python":
            continue
        CHECKS[program](words)


@pytest.mark.parametrize("page", [page for page in PAGES if synopses(page)])
def test_what_a_synopsis_names_exists(page: str) -> None:
    for text in synopses(page):
        parser: argparse.ArgumentParser | None = build_parser()
        for word in re.findall(r"(?<=\s)[a-z][\w-]*", text.removeprefix("python -m ")):
            deeper = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
            if deeper is None:
                break
            assert word in deeper.choices, f"{page}: {text}"
            parser = deeper.choices[word]
        known = set(parser._option_string_actions)
        assert set(re.findall(r"(?<![\w-])--[\w-]+", text)) <= known, f"{page}: {text}"


# ---------------------------------------------------------------------------------------- running


def has_extras(command: Command) -> bool:
    """Whether what the command needs beside the package is installed: for videos, for words."""
    if "clip." in command.text and importlib.util.find_spec("av") is None:
        return False
    if command.words[0] == "curl" and shutil.which("curl") is None:
        return False
    return "instructir" not in command.text or "@" in command.text or is_installed()


def at_home(word: str, folder: Path) -> str:
    """Absolute places of the reader's machine become places of the scratch folder."""
    return str(folder / word[1:]) if re.match(r"/\w", word) else word


@contextmanager
def served(wanted: bool) -> Generator[str]:
    """A service for the commands that ask one, and its address."""
    if not wanted:
        yield ""
        return
    models = ("--model", "cea-t", "--model", "instructir-t")
    options = ("--port", "0", "--no-page", "--workers", "1", "--threads", "1", *models)
    command = [sys.executable, "-m", "anyrestore", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = list[str]()
        for line in process.stdout:
            said.append(line)
            if line.rstrip().endswith("ready"):
                break
        assert process.poll() is None, "".join(said)
        yield said[-1].split()[0]
        process.terminate()


def ask(words: list[str], address: str) -> int:
    """What `curl` says of the service at another address than the page's."""
    asked = [word.replace("http://127.0.0.1:8000", address) for word in words]
    return subprocess.run([*asked, "--max-time", "60"], check=False).returncode


def run(command: Command, folder: Path, *more: str) -> int:
    words = [at_home(os.path.expandvars(word), folder) for word in command.words]
    if words[0] == "anyrestore":
        added = next((extra for pattern, extra, _why in SHORTER if re.match(pattern, shlex.join(words))), "")
        return main([*words[1:], *shlex.split(added), *more])
    program = words.index("python")
    assert words[program + 1] == "-c"
    code = words[program + 2].replace("draw_sentences(200", "draw_sentences(2")  # 1,400 of them take 8 s
    exec(compile(code, command.page, "exec"), {})
    return 0


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_run, ALL[page]))])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("default")  # of libraries; the tests of each verb hold warnings
def test_the_commands_of_a_page_run(page: str, scratch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for clip in ("clip.mp4", "clip.mkv"):
        if any(clip in command.text for command in ALL[page]) and has_extras(Command(page, clip)):
            stand_ins.make_clip(scratch / clip)
    chosen = [command for command in ALL[page] if is_run(command) and has_extras(command)]
    with served(any(command.words[0] == "curl" for command in chosen)) as address:
        for command in chosen:
            check(command, scratch, capfd, address)


def check(command: Command, scratch: Path, capfd: pytest.CaptureFixture[str], address: str) -> None:
    """Run one, and see that it ends as it should."""
    start = seconds()
    expected = EXIT[found][0] if (found := listed(command, EXIT)) is not None else 0
    capfd.readouterr()
    code = ask(command.words, address) if command.words[0] == "curl" else run(command, scratch)
    printed = capfd.readouterr()
    if code == STORAGE and "exists; choose another name" in printed.err:
        code = run(command, scratch, "--overwrite")  # the commands of a page are alternatives, not steps
        printed = capfd.readouterr()
    if VERBOSE:
        with capfd.disabled():
            say(f"{seconds() - start:6.2f} s  {command.page}: {command.text}")
    assert code == expected, f"{command.page}: {command.text}\n{printed.out[-2000:]}{printed.err[-3000:]}"


def test_every_command_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    ran = sum(map(is_run, EVERY))
    with capsys.disabled():
        say(f"\n{len(EVERY)} commands: {ran} run, {len(EVERY) - ran} parsed only")
    assert len(EVERY) > 100
    never = sum(listed(command, PARSED) is not None for command in EVERY)
    assert never < 0.25 * len(EVERY)
    assert ran + never > 0.85 * len(EVERY)


@pytest.mark.parametrize("table", [PARSED, LONG, EXIT], ids=["PARSED", "LONG", "EXIT"])
def test_no_exception_is_stale(table: dict[str, object]) -> None:
    used = {listed(command, table) for command in EVERY}
    assert set(table) - used == set()

"""Settings for the whole suite. Nothing here imports anyrestore: jaxtyping must hook it first."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# What several folders of tests make their data with: training_pictures.py, layouts.py, public_weights.py.
sys.path.insert(0, str(Path(__file__).parent))

# The tensors here are small, and xdist gives every core a worker: more threads only wait for each other.
torch.set_num_threads(1)

# The same examples every time: a failure here must be one that the next run shows again.
settings.register_profile("anyrestore", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("anyrestore")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scoreboard", metavar="FILE", type=Path, help="count the rows of docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--scoreboard")
    if target is not None:
        from reliability.scoreboard import TABLE, Scoreboard, promised

        config.pluginmanager.register(Scoreboard(target, promised(TABLE.read_text(encoding="utf-8"))))
        if sys.platform != "win32":
            from reliability import turns

            config.pluginmanager.register(turns)


@pytest.fixture(scope="session")
def counted(pytestconfig: pytest.Config) -> bool:
    """Whether promises are counted: then tests have the table's counts and times, and quiet."""
    return pytestconfig.getoption("--scoreboard") is not None or os.environ.get("ANYRESTORE_FULL") == "1"


REFERENCE_DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "test"


def _reference(name: str) -> Path:
    folder = (REFERENCE_DATA / name).resolve()
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not on this machine")
    return folder


@pytest.fixture(scope="session")
def cbsd68_root() -> Path:
    """The folder that holds CBSD68; a test that asks for it is skipped where there is none."""
    return _reference("CBSD68").parent


@pytest.fixture(scope="session")
def rain100l_root() -> Path:
    """The folder that holds Rain100L; a test that asks for it is skipped where there is none."""
    return _reference("Rain100L").parent


@pytest.fixture(scope="session")
def lolv1_root() -> Path:
    """The folder that holds LOLv1-eval15; a test that asks for it is skipped where there is none."""
    return _reference("LOLv1-eval15").parent


@pytest.fixture(scope="module")
def unchecked() -> Iterator[None]:
    """Calls are not checked by jaxtyping and beartype, which takes a third of the time of a small network.

    For files of tests that run again and again what others run under these checks. For a whole file, as
    beartype draws random numbers, and a checkpoint holds the state that they come from.
    """
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder in miniature, in the layout that the composite mixture expects."""
    from training_pictures import write_training_root

    return write_training_root(tmp_path_factory.mktemp("training"))

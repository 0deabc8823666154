"""Every recipe runs ten steps on small data in the canonical layouts, through the command."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from anyrestore.cli.main import main
from anyrestore.data.readers import read_set
from anyrestore.training.recipes import RECIPES
from anyrestore.zoo import CATALOG
from layouts import make_set

SMALL = ["steps=10", "epochs=none", "phases.crop=16", "phases.batch=2", "validation.every=10"]
SMALL += ["validation.count=1", "validation.crop=16", "log_every=5", "checkpoints.every=10"]


@functools.cache
def smallest(architecture: str) -> str:
    return min(
        (e for e in CATALOG.values() if e.architecture == architecture), key=lambda e: e.parameters
    ).name


@pytest.fixture(scope="module")
def every_set(tmp_path_factory: pytest.TempPathFactory, training_root: Path) -> Path:
    """Small copies, side by side, of everything that a recipe trains on."""
    root = tmp_path_factory.mktemp("sets")
    for folder in training_root.iterdir():
        (root / folder.name).symlink_to(folder)
    mixtures = [RECIPES[name]().mixture for name in RECIPES]
    names = {s for mixture in mixtures for part in mixture.parts for s in part.sets}
    for name in sorted({n.partition("/")[0] for n in names if ":" not in n}):
        make_set(name, root)
    for name in sorted(names):
        for folder in name.removeprefix("pairs:").split("|") if name.startswith("pairs:") else ():
            if not (root / folder).exists():
                (root / folder).parent.mkdir(exist_ok=True)
                (root / folder).symlink_to(training_root / "LOLv1-our485-288" / "high")
        assert read_set(name, root).pairs, name
    return root


@pytest.mark.usefixtures("stand_in_encoder", "unchecked")
@pytest.mark.parametrize("name", RECIPES)
def test_ten_steps(name: str, every_set: Path, tmp_path: Path) -> None:
    architecture = CATALOG[RECIPES[name]().model.name].architecture
    auxiliary = RECIPES[name]().loss.auxiliary
    settings = [*SMALL, f"model.name={smallest(architecture)}", "model.start=none"]
    # Changing the network drops losses that only the old one has; this one has them too.
    settings += [f"loss.auxiliary.{key}={weight}" for key, weight in auxiliary.items()]
    arguments = ["train", name, "--data", str(every_set), "--out", str(tmp_path / "run"), "--device", "cpu"]
    for setting in settings:
        arguments += ["--set", setting]
    assert main([*arguments, "--quiet"]) == 0
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 10
    assert last["skipped"] == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()
    scores = json.loads((tmp_path / "run" / "scores.jsonl").read_text().splitlines()[-1])
    assert set(scores["psnr"]) == {part.task for part in RECIPES[name]().mixture.parts}

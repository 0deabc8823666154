"""Averages of weights: every number, every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anyrestore.cli.main import main
from anyrestore.errors import ModelError, UsageError
from anyrestore.zoo import crops_seen, load_model, save_weights
from anyrestore.zoo.average import average
from tiny_models import make


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two weights of one network, with their crops, and one of another network."""
    first, second = make("tiny"), make("tiny")
    with torch.no_grad():
        for value in second.parameters():
            value.mul_(3.0)
    save_weights(first, tmp_path / "a.safetensors", dtype=torch.float32, crops={64: 10})
    save_weights(second, tmp_path / "b.safetensors", dtype=torch.float32, crops={64: 10, 128: 5})
    save_weights(make("tiny", rank=2), tmp_path / "c.safetensors", dtype=torch.float32)
    return [str(tmp_path / f"{name}.safetensors") for name in "abc"]


@pytest.mark.parametrize(("shares", "factor"), [((), 2.0), ((3.0, 1.0), 1.5), ((0.0, 2.0), 3.0)])
def test_every_number_is_the_weighted_mean(
    files: list[str], shares: tuple[float, ...], factor: float
) -> None:
    whole = average(files[:2], shares)
    assert not whole.training
    for name, value in load_model(files[0]).named_parameters():
        torch.testing.assert_close(whole.get_parameter(name), factor * value, rtol=1e-6, atol=0)


def test_the_command_stores_a_model_that_says_its_crops(
    files: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean.safetensors"
    assert main(["average", *files[:2], "-o", str(out)]) == 0
    said = capfd.readouterr().out
    assert "mean of 2; SHA-256 " in said
    assert crops_seen(out) == {64: 10, 128: 5}
    assert load_model(str(out)).state_dict().keys() == load_model(files[0]).state_dict().keys()
    assert main(["average", *files[:2], "-o", str(out)]) == 4  # not replaced unasked
    words = ["--shares", "1,0", "--crops", "64=7,192=2", "--overwrite"]
    assert main(["average", *files[:2], *words, "-o", str(out)]) == 0
    assert crops_seen(out) == {64: 7, 192: 2}
    expected = load_model(files[0]).state_dict()
    torch.testing.assert_close(load_model(str(out)).state_dict(), expected, rtol=1e-3, atol=1e-6)


def test_what_has_no_mean_is_refused(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two weights to average, came 1"):
        average(files[:1])
    with pytest.raises(ModelError, match="are of different ones"):
        average([files[0], files[2]])
    for shares in ((1.0,), (1.0, -1.0), (0.0, 0.0)):
        with pytest.raises(UsageError, match="expected a share for each of the 2 weights"):
            average(files[:2], shares)
    assert main(["average", *files[:2], "-o", str(tmp_path / "x.bin")]) == 2
    assert main(["average", *files[:2], "--crops", "64", "-o", str(tmp_path / "x.safetensors")]) == 2

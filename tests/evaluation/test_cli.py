import argparse
import json
from pathlib import Path

import pytest

from anyrestore.cli.evaluate import add_parser, run
from anyrestore.errors import OutputError, UsageError
from anyrestore.zoo import create_model
from anyrestore.zoo.weights import save_weights


def call(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return run(parser.parse_args(["evaluate", *map(str, words)]))


def test_the_identity_is_measured_printed_and_stored(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    words = ("--model", "identity", "--benchmark", "clean,rain100l", "--benchmark", "lolv1", "--root", root)
    assert call(*words, "--limit", "1", "--json", out, "--csv", tmp_path / "images.csv") == 0
    printed = capsys.readouterr().out
    assert "at most 1 images" in printed
    entries = json.loads(out.read_text())["entries"]
    assert [entry["name"] for entry in entries] == ["rain100l", "lolv1", "clean"]
    assert all(entry["name"] in printed and entry["n"] == 1 for entry in entries)
    assert len((tmp_path / "images.csv").read_text().splitlines()) == 4


def test_a_weights_file_is_measured_and_named(root: Path, tmp_path: Path) -> None:
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "scores.json"
    sha256 = save_weights(create_model("tiny"), weights)
    assert (
        call("--model", weights, "--benchmark", "lolv1", "--root", root, "--limit", "1", "--json", out) == 0
    )
    content = json.loads(out.read_text())
    assert content["weights_sha256"] == sha256
    assert content["model"] == str(weights)


def test_an_unknown_protocol_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="promptir, moce, instructir"):
        call("--model", "identity", "--root", root, "--protocol", "psnr")


def test_an_unknown_benchmark_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="bsd100"):
        call("--model", "identity", "--benchmark", "bsd100", "--root", root)


def test_a_file_that_cannot_be_written_is_found_out_at_once(root: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        call("--model", "identity", "--root", root, "--json", root / "nowhere" / "scores.json")


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_below_one_is_refused(root: Path, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call("--model", "identity", "--root", root, "--limit", limit)
    assert caught.value.code == 2
    assert "--limit" in capsys.readouterr().err

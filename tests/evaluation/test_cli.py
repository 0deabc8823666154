import argparse
import csv
import json
import sys
from pathlib import Path

import pytest

from anyrestore.cli import terminal
from anyrestore.cli.evaluate import add_parser, run
from anyrestore.errors import DataError, ModelError, OutputError, UsageError
from anyrestore.evaluation import runner
from anyrestore.evaluation.comparison import estimates
from anyrestore.evaluation.results import read_results
from anyrestore.image import read
from anyrestore.zoo import create_model
from anyrestore.zoo.weights import save_weights
from layouts import make_set


def call(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return run(parser.parse_args(["evaluate", *map(str, words)]))


def test_the_identity_is_measured_printed_and_stored(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    words = ("--model", "identity", "--benchmark", "clean,rain100l", "--benchmark", "lolv1", "--root", root)
    assert call(*words, "--limit", "1", "--json", out, "--csv", tmp_path / "images.csv") == 0
    printed = capfd.readouterr().out
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
    with pytest.raises(UsageError, match="promptir, moce, instructir, instructir-y, onerestore, restormer-y"):
        call("--model", "identity", "--root", root, "--protocol", "psnr")


def test_an_unknown_benchmark_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="bsd100"):
        call("--model", "identity", "--benchmark", "bsd100", "--root", root)


def test_an_empty_name_is_not_the_folder_one_is_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "LOLv1-eval15")
    with pytest.raises(UsageError, match="an empty one"):
        call("--model", "identity", "--benchmark", "lolv1,", "--root", root)


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_file_that_cannot_be_written_is_found_out_at_once(
    root: Path, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        call("--model", "identity", "--root", root, option, root / "nowhere" / "scores")
    with pytest.raises(OutputError, match="is a folder"):
        call("--model", "identity", "--root", root, option, root)
    assert not capfd.readouterr().out, "nothing was measured"


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_below_one_is_refused(root: Path, limit: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call("--model", "identity", "--root", root, "--limit", limit)
    assert caught.value.code == 2
    assert "--limit" in capfd.readouterr().err


def test_a_results_folder_holds_everything(root: Path, tmp_path: Path, capfd) -> None:
    out = tmp_path / "out"
    words = ("--model", "identity", "--benchmark", "lolv1", "--root", root, "--out", out)
    assert call(*words, "--save", "--protocol", "onerestore") == 0
    content = json.loads((out / "results.json").read_text())
    assert content["format"] == 2
    assert content["command"] == (
        "anyrestore evaluate --model identity --benchmark lolv1 --root ROOT --protocol onerestore"
    )
    assert set(content["machine"]) == {"cpu", "cores", "memory_gb", "gpu"}
    (entry,) = content["entries"]
    assert (entry["n"], entry["tiles"], len(entry["images"])) == (2, {}, 2)
    assert entry["psnr"] == sum(image["psnr"] for image in entry["images"]) / 2
    assert set(entry["images"][0]) == {
        *("name", "height", "width", "psnr", "ssim", "input_psnr", "input_ssim", "seconds"),
        *("colour_shift", "input_colour_shift"),
    }
    with (out / "images.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["0", "1"]
    assert read(out / "restored" / "lolv1" / "0.png").pixels.shape == (35, 50, 3)
    assert read_results(out).entry("lolv1").mean("psnr") == entry["psnr"]
    before = (out / "results.json").read_text()
    capfd.readouterr()
    assert call(*words, "--protocol", "onerestore") == 0
    assert (out / "results.json").read_text() == before
    assert "2 images are in" in capfd.readouterr().err


def test_ctrl_c_keeps_what_is_finished(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--model",
        "identity",
        "--benchmark",
        "rain100l,lolv1",
        "--root",
        root,
        "--out",
        tmp_path / "out",
    )
    seen = list[int]()

    def until_the_fourth(image):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return image

    with monkeypatch.context() as patch:
        patch.setattr(runner, "identity", until_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            call(*words)
    captured = capfd.readouterr()
    assert "3 images are kept in" in captured.err
    assert "rain100l" in captured.out, "the finished line is printed"
    assert "lolv1" not in captured.out
    assert not (tmp_path / "out" / "results.json").exists()
    assert call(*words) == 0
    entries = json.loads((tmp_path / "out" / "results.json").read_text())["entries"]
    assert [(entry["name"], entry["n"]) for entry in entries] == [("rain100l", 2), ("lolv1", 2)]


def test_a_reader_that_has_gone_loses_no_results(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(text: str, *, to: object = None) -> None:
        if to is None:
            raise BrokenPipeError

    monkeypatch.setattr(terminal, "say", gone)
    with pytest.raises(BrokenPipeError):
        call("--model", "identity", "--benchmark", "lolv1", "--root", root, "--out", tmp_path / "out")
    assert read_results(tmp_path / "out").entry("lolv1").n == 2


def test_results_of_another_model_or_protocol_are_not_gone_on_with(root: Path, tmp_path: Path) -> None:
    words = ("--benchmark", "lolv1", "--root", root, "--out", tmp_path / "out")
    assert call("--model", "identity", *words) == 0
    with pytest.raises(DataError, match="protocol moce, and it was with promptir"):
        call("--model", "identity", *words, "--protocol", "moce")
    weights = tmp_path / "tiny.safetensors"
    save_weights(create_model("tiny"), weights)
    with pytest.raises(DataError, match=r"weights .* and it was with identity"):
        call("--model", weights, *words)


def test_the_papers_rows_stand_above_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("csd", "cdd11"):
        make_set(name, tmp_path, count=1, size=(24, 32))
    words = ("--model", "identity", "--benchmark", "csd,cdd11", "--root", tmp_path)
    assert call(*words) == 0
    lines = capfd.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("mean of 2 cdd11-triple"))
    rows = [line.split() for line in lines]
    theirs = next(row for row in rows if row[:1] == ["CEA-IR-S"])
    ours = next(row for row in rows if row[-1:] == ["ours"] and len(row) > 10)
    assert theirs[-2:] == ["29.79/.886", "C7"]
    assert theirs[-5:-2] == ["33.36/.943", "28.51/.875", "25.90/.798"]
    assert len(ours) == len(theirs) - 1  # we do not count parameters here
    assert any("CEA-IR (arXiv 2605.06127), Table 7; protocol: not stated" in line for line in lines)
    assert rows.index(theirs) < rows.index(ours)
    assert call(*words, "--no-published") == 0
    assert "CEA-IR" not in capfd.readouterr().out


def test_a_page_of_two_protocols_with_intervals(root: Path, tmp_path: Path) -> None:
    words = ("--model", "identity", "--benchmark", "cbsd68,clean", "--root", root)
    page = tmp_path / "results.md"
    assert call(*words, "--out", tmp_path / "new/a") == 0
    beside = ("--beside", tmp_path / "new/a", "--markdown", page, "--title", "How good")
    more = ("--protocol", "moce", "--out", tmp_path / "new/b", *beside)
    assert call(*words, *more) == 0
    text = page.read_text()
    assert text.startswith("# How good\n")
    assert text.index("protocol `promptir`") < text.index("protocol `moce`")
    assert "--out results/moce-2 --beside results/promptir-1 --markdown" in text
    row = next(line for line in text.splitlines() if line.startswith("| cbsd68-sigma15"))
    mean, low, high = (float(word.strip("[,]")) for word in row.split("|")[4].split())
    assert low < mean < high
    assert "| clean | 6 | exact | exact |" in text
    aio3 = text.split("## Beside published rows: aio3")[1].split("## Beside published rows: aio5")[0]
    lines = [line for line in aio3.splitlines() if line.startswith("| ")]
    assert lines[0].split("|")[3:-1] == [
        f" cbsd68-sigma{sigma} " for sigma in (15, 25, 50)
    ]  # what was measured
    assert [line.split(",")[0] for line in lines[2:4]] == ["| **identity**", "| **identity**"]
    assert "| CEA-IR-S | 10 | 34.16 / 0.933 | 31.51 / 0.889 | 28.27 / 0.803 |" in lines
    assert "InstructIR-5D" not in aio3  # not a row of CEA-IR's own table
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[5], cells[6], cells[9]) == ("0.00", "0.00", cells[10]), (
        "gain, least, shift of doing nothing"
    )
    assert float(cells[10]) > 0
    of_group = next(line for line in text.splitlines() if line.startswith("| mean of 3 cbsd68 | 18 |"))
    mean, low, high = (float(word.strip("[,]")) for word in of_group.split("|")[4].split())
    assert low < mean < high
    found = estimates(read_results(tmp_path / "new/a"), ["cbsd68-sigma15"], lambda image: image.psnr)
    assert f"[{found['cbsd68-sigma15'].low:.2f}, " in row, "as the other page has it"


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("--save",), UsageError, "--save needs --out"),
        (("--markdown", "page.md"), UsageError, "--markdown needs --out"),
        (("--title", "How good"), UsageError, "--title needs --markdown"),
        (("--beside", "x"), UsageError, "--beside needs --markdown"),
        (("--out", "/dev/null/out"), OutputError, "/dev/null"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(root: Path, words, error, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        call("--model", "identity", "--root", root, *words)


def test_a_public_set_needs_a_root_and_a_folder_does_not(root: Path) -> None:
    with pytest.raises(UsageError, match="Expected --root"):
        call("--model", "identity", "--benchmark", "lolv1")
    assert call("--model", "identity", "--benchmark", root / "LOLv1-eval15") == 0


def test_photographs_of_ones_own_are_degraded_and_measured(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "identity", "--benchmark", root / "CBSD68", "--degrade", "noise:0.5,haze:0.5")
    assert call(*words, "--centre", "16", "--out", tmp_path / "out", "--colour-shift") == 0
    lines = capfd.readouterr().out.splitlines()
    (in_whole, alone) = (line.split() for line in lines if line.startswith("CBSD68-noise0.5"))
    assert in_whole[1:5] == alone[1:5]
    assert in_whole[4] == "+0.00"
    assert any("output shift" in line for line in lines)
    command = json.loads((tmp_path / "out/results.json").read_text())["command"]
    assert "--degrade noise:0.5,haze:0.5 --centre 16 --root" in command
    with pytest.raises(UsageError, match="--centre needs --degrade"):
        call("--model", "identity", "--root", root, "--centre", "16")


def test_the_like_of_cdd11_prints_mean_and_least(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = root / "tiny.safetensors"
    save_weights(create_model("tiny"), weights)
    words = ("--root", root, "--limit", "1", "--csv", root / "images.csv")
    assert call("--model", weights, "--benchmark", "cdd11-like", *words) == 0
    printed = capfd.readouterr().out
    with (root / "images.csv").open() as file:
        gains = [float(row["psnr"]) - float(row["input_psnr"]) for row in csv.DictReader(file)]
    (line,) = (line for line in printed.splitlines() if line.startswith("mean of 11 cdd11-like "))
    assert line.split()[6:8] == [f"{sum(gains) / 11:+.2f}", f"{min(gains):+.2f}"]
    assert ("worse than their inputs" in printed) == (min(gains) < 0)


def test_lpips_without_its_package_is_refused_before_any_image(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModelError, match=r"anyrestore\[lpips\]"):
        call("--model", "identity", "--root", root, "--benchmark", "lolv1", "--lpips")

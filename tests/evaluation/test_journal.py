import math
from pathlib import Path

import pytest

from anyrestore.errors import DataError, OutputError
from anyrestore.evaluation import BENCHMARKS, PROTOCOLS, ImageScore, evaluate
from anyrestore.evaluation.journal import FILE, Journal
from anyrestore.evaluation.sheets import Sheets

SETTINGS = {"weights": "abc", "protocol": "promptir"}
PROMPTIR = PROTOCOLS["promptir"]


def score(name: str, psnr: float = 0.1 + 0.2, lpips: float | None = None) -> ImageScore:
    return ImageScore(
        name=name,
        height=3,
        width=4,
        psnr=psnr,
        ssim=1 / 3,
        input_psnr=math.inf,
        input_ssim=1.0,
        seconds=0.5,
        lpips=lpips,
    )


def test_scores_come_back_to_the_last_bit(tmp_path: Path) -> None:
    first = Journal(tmp_path / "out", SETTINGS)
    first.add("a", "1", score("x"))
    first.add("b", "2", score("x", math.inf, 0.25))
    first.close()
    again = Journal(tmp_path / "out", SETTINGS)
    assert len(again) == 2
    assert again.find("a", "x", "1") == score("x")
    assert again.find("b", "x", "2") == score("x", math.inf, 0.25)
    assert again.find("a", "y", "1") is None
    again.close()


def test_a_last_line_that_a_kill_cut_off_is_forgotten(tmp_path: Path) -> None:
    first = Journal(tmp_path, SETTINGS)
    first.add("a", "1", score("x"))
    first.add("a", "2", score("y"))
    first.close()
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(tmp_path, SETTINGS)
    assert again.find("a", "x", "1") == score("x")
    assert again.find("a", "y", "2") is None
    again.add("a", "2", score("y"))
    again.close()
    assert len(path.read_text().splitlines()) == 3


def test_an_empty_file_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"settings": {"wei')
    journal = Journal(tmp_path, SETTINGS)
    journal.close()
    assert len((tmp_path / FILE).read_text().splitlines()) == 1


@pytest.mark.parametrize("key", SETTINGS)
def test_other_settings_are_refused_by_name(tmp_path: Path, key: str) -> None:
    Journal(tmp_path, SETTINGS).close()
    with pytest.raises(
        DataError, match=f"measured with {key} other, and it was with {SETTINGS[key]}"
    ) as caught:
        Journal(tmp_path, {**SETTINGS, key: "other"})
    assert caught.value.code == "run_differs"


def test_other_data_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SETTINGS)
    journal.add("a", "1", score("x"))
    with pytest.raises(DataError, match="it has changed") as caught:
        journal.find("a", "x", "2")
    journal.close()
    assert caught.value.code == "data_differs"


@pytest.mark.parametrize(
    "line", ["{}", "nonsense", '{"benchmark": "a", "data_sha256": "1", "name": "x"}', "[1]"]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    Journal(tmp_path, SETTINGS).close()
    path = tmp_path / FILE
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match="line 2 of") as caught:
        Journal(tmp_path, SETTINGS)
    assert caught.value.code == "bad_results"


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="could not be written"):
        Journal(tmp_path / "out", SETTINGS)


def test_an_evaluation_that_was_stopped_goes_on_and_gives_the_same_numbers(
    root: Path, tmp_path: Path
) -> None:
    benchmarks = [BENCHMARKS["cbsd68-sigma25"], BENCHMARKS["lolv1"]]
    calls = 0

    def model(image):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return image * 0.9

    whole = evaluate(lambda image: image * 0.9, benchmarks, root, PROMPTIR, progress=False)
    journal = Journal(tmp_path, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, benchmarks, root, PROMPTIR, journal=journal, progress=False)
    journal.close()
    journal = Journal(tmp_path, SETTINGS)
    assert len(journal) == 3
    resumed = evaluate(model, benchmarks, root, PROMPTIR, journal=journal, progress=False)
    journal.close()
    assert calls == 4 + 5
    for a, b in zip(whole, resumed, strict=True):
        assert (a.psnr, a.ssim, a.data_sha256) == (b.psnr, b.ssim, b.data_sha256)


def test_pictures_that_are_missing_are_made_although_the_score_is_known(root: Path, tmp_path: Path) -> None:
    names = [BENCHMARKS["lolv1"]]
    journal = Journal(tmp_path, SETTINGS)
    before = evaluate(lambda image: image, names, root, PROMPTIR, journal=journal, progress=False)
    sheets = Sheets(tmp_path)
    after = evaluate(
        lambda image: image, names, root, PROMPTIR, journal=journal, sheets=sheets, progress=False
    )
    journal.close()
    assert before == after
    assert sheets.have("lolv1", "0")
    assert sheets.have("lolv1", "1")
    assert len((tmp_path / FILE).read_text().splitlines()) == 3

from pathlib import Path

import pytest
import torch

from anyrestore.errors import OutputError
from anyrestore.evaluation.benchmarks import Sample
from anyrestore.evaluation.sheets import WHITE, Sheets, error_map, sheet
from anyrestore.image import read


def test_the_error_map_goes_from_black_over_red_and_yellow_to_white() -> None:
    target = torch.zeros(1, 3, 1, 4)
    output = target + WHITE * torch.tensor([0.0, 1 / 3, 2 / 3, 2.0])
    colours = error_map(output, target)[0, :, 0].T
    expected = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(colours, expected, rtol=0, atol=1e-5)


def test_a_sheet_has_four_pictures_in_order() -> None:
    values = [torch.full((1, 3, 8, 10), value) for value in (0.1, 0.6, 0.5)]
    whole = sheet(*values)
    assert whole.shape == (1, 3, 8, 4 * 10 + 3 * 4)
    parts = [whole[0, 0, 0, start].item() for start in (0, 14, 28)]
    assert parts == pytest.approx([0.1, 0.6, 0.5])
    assert whole[0, :, :, 10:14].min() == 1


def test_pictures_are_stored_where_the_results_say(tmp_path: Path) -> None:
    sheets = Sheets(tmp_path)
    sample = Sample(name="video/000001", degraded=torch.zeros(1, 3, 8, 9), target=torch.ones(1, 3, 8, 9))
    assert not sheets.have("gopro", sample.name)
    sheets.save("gopro", sample, torch.full((1, 3, 8, 9), 1.5))
    assert sheets.have("gopro", sample.name)
    restored = read(tmp_path / "restored" / "gopro" / "video" / "000001.png").pixels
    assert restored.shape == (8, 9, 3)
    assert restored.min() == 255
    assert read(tmp_path / "sheets" / "gopro" / "video" / "000001.png").pixels.shape == (8, 48, 3)


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "restored").write_text("in the way")
    sample = Sample(name="1", degraded=torch.zeros(1, 3, 8, 8), target=torch.zeros(1, 3, 8, 8))
    with pytest.raises(OutputError, match="could not be made"):
        Sheets(tmp_path).save("clean", sample, sample.target)

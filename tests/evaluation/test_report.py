import csv
import dataclasses
import io
import json
import math
import re

import pytest

from anyrestore.errors import UsageError
from anyrestore.evaluation import COLLECTIONS, ImageScore, Score
from anyrestore.evaluation.report import as_csv, as_harm, as_published_table, as_table, collections_in
from anyrestore.evaluation.results import as_dict, as_json
from anyrestore.evaluation.scores import group_means


def score(name: str, group: str, *values: tuple[float, float], protocol: str = "promptir") -> Score:
    images = tuple(
        ImageScore(
            name=f"{i}", height=32, width=48, psnr=out, ssim=0.9, input_psnr=inp, input_ssim=0.5, seconds=0.25
        )
        for i, (inp, out) in enumerate(values)
    )
    return Score(name=name, group=group, protocol=protocol, data_sha256="0", images=images)


SCORES = [
    score("a-1", "a", (20, 30)),
    score("a-2", "a", (10, 12), (10, 12), (10, 15)),
    score("clean", "clean", (math.inf, 40)),
]


def test_group_means_average_lines_not_images() -> None:
    (mean,) = group_means(SCORES)
    assert (mean.group, mean.lines) == ("a", 2)
    assert mean.psnr == pytest.approx((30 + 13) / 2)
    assert mean.gain == pytest.approx((10 + 3) / 2)


def test_a_group_with_an_exact_input_has_no_gain() -> None:
    scores = [*SCORES[:2], score("a-3", "a", (math.inf, math.inf))]
    (mean,) = group_means(scores)
    assert mean.gain is None
    assert "nan" not in as_table(scores)
    assert as_dict(scores, model="m", weights_sha256=None)["groups"][0]["gain"] is None


def test_the_table_says_it_all() -> None:
    lines = [re.split(r"\s{2,}", line) for line in as_table(SCORES).splitlines()]
    assert lines[0] == ["protocol promptir"]
    assert ["a-1", "1", "20.00", "30.00", "+10.00", "+10.00", "0.5000", "0.9000", "0.25"] in lines
    assert ["a-2", "3", "10.00", "13.00", "+3.00", "+2.00", "0.5000", "0.9000", "0.25"] in lines
    assert ["mean of 2 a", "15.00", "21.50", "+6.50", "+3.00", "0.5000", "0.9000"] in lines
    assert lines[5][:4] == ["clean", "1", "exact", "40.00"]


def test_json_has_full_precision_and_no_infinity() -> None:
    content = json.loads(as_json(SCORES, model="m", weights_sha256="abc"))
    assert (content["model"], content["weights_sha256"], content["protocol"]) == ("m", "abc", "promptir")
    assert set(content["versions"]) == {"anyrestore", "torch", "numpy", "python"}
    by_name = {entry["name"]: entry for entry in content["entries"]}
    assert by_name["a-2"]["psnr"] == SCORES[1].psnr
    assert by_name["a-2"]["n"] == 3
    assert by_name["a-2"]["ssim"] == SCORES[1].ssim
    assert by_name["clean"]["input_psnr"] is None
    assert by_name["clean"]["gain"] is None


def test_json_has_every_image_and_says_which_were_tiled() -> None:
    tiled = dataclasses.replace(SCORES[0].images[0], tile=64)
    first = dataclasses.replace(SCORES[0], images=(tiled,))
    content = as_dict([first, *SCORES[1:]], model="m", weights_sha256=None, limit=3, tile="auto")
    assert (content["format"], content["limit"], content["tile"]) == (2, 3, "auto")
    assert content["machine"]["cores"] >= 1
    by_name = {entry["name"]: entry for entry in content["entries"]}
    assert by_name["a-1"]["tiles"] == {"0": 64}
    assert by_name["a-2"]["tiles"] == {}
    assert [image["psnr"] for image in by_name["a-2"]["images"]] == [12, 12, 15]
    assert by_name["clean"]["images"][0]["input_psnr"] is None
    assert content["groups"][0]["entries"] == ("a-1", "a-2")


def test_lpips_has_its_columns_only_where_it_was_measured() -> None:
    measured = [
        dataclasses.replace(
            score, images=tuple(dataclasses.replace(i, lpips=0.125, input_lpips=0.5) for i in score.images)
        )
        for score in SCORES
    ]
    assert "output LPIPS" in as_table(measured)
    assert "0.1250" in as_table(measured)
    assert as_dict(measured, model="m", weights_sha256=None)["entries"][0]["lpips"] == 0.125
    assert next(csv.DictReader(io.StringIO(as_csv(measured))))["input_lpips"] == "0.5"
    for text in (as_table(SCORES), as_csv(SCORES), as_json(SCORES, model="m", weights_sha256=None)):
        assert "lpips" not in text.lower()


def test_the_colour_shift_has_columns_where_it_is_asked_for() -> None:
    shifted = dataclasses.replace(SCORES[0].images[0], colour_shift=1.5, input_colour_shift=12.25)
    scores = [dataclasses.replace(SCORES[0], images=(shifted,)), *SCORES[1:]]
    assert "shift" not in as_table(scores)
    lines = [re.split(r"\s{2,}", line) for line in as_table(scores, colour=True).splitlines()]
    assert lines[1][-3:] == ["input shift", "output shift", "s/image"]
    assert lines[3][-4:] == ["0.9000", "12.25", "1.50", "0.25"]
    assert lines[4][-2:] == ["0.9000", "0.25"], "of before it was measured"
    assert next(csv.DictReader(io.StringIO(as_csv(scores))))["colour_shift"] == "1.5"
    entries = as_dict(scores, model="m", weights_sha256=None)["entries"]
    assert (entries[0]["colour_shift"], "colour_shift" in entries[1]) == (1.5, False)


def test_what_makes_pictures_worse_is_named() -> None:
    worse = score("b", "b", (20, 19.5), (20, 20))
    assert as_harm([*SCORES, worse]) == "worse than their inputs: b (-0.25 dB)"
    assert as_harm(SCORES) == ""


def test_the_like_of_cdd11_is_no_part_of_its_published_table() -> None:
    names = (*COLLECTIONS["cdd11"], *COLLECTIONS["cdd11-like"])
    table = as_published_table("cdd11", [score(name, "x", (10, 20)) for name in names], model="m")
    assert "triple" in table
    assert "like" not in table


def test_a_collection_has_its_mean_only_when_it_is_whole() -> None:
    whole = [score(name, "cdd11", (10, 20 + i)) for i, name in enumerate(COLLECTIONS["cdd11-single"])]
    assert [(m.group, m.lines, m.psnr) for m in group_means(whole)] == [
        ("cdd11", 4, 21.5),
        ("cdd11-single", 4, 21.5),
    ]
    assert [m.group for m in group_means(whole[1:])] == ["cdd11"]
    aio5 = [score(name, name, (10, 20)) for name in COLLECTIONS["aio5"]]
    assert [m.group for m in group_means(aio5)] == ["aio5"]
    assert collections_in(aio5) == ["aio5"]
    assert collections_in(aio5[1:]) == []


def test_csv_has_a_line_for_every_image() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(SCORES))))
    assert [row["benchmark"] for row in rows] == ["a-1", "a-2", "a-2", "a-2", "clean"]
    assert rows[3]["psnr"] == "15"
    assert rows[3]["protocol"] == "promptir"


@pytest.mark.parametrize("scores", [[], [SCORES[0], score("b", "b", (1, 2), protocol="moce")]])
def test_protocols_are_not_mixed(scores: list[Score]) -> None:
    with pytest.raises(UsageError, match="one protocol"):
        as_table(scores)
    with pytest.raises(UsageError, match="one protocol"):
        as_json(scores, model="m", weights_sha256=None)

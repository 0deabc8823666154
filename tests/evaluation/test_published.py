import pytest

from anyrestore.evaluation.benchmarks import BENCHMARKS, COLLECTIONS
from anyrestore.evaluation.published import columns, published, sources

TABLES = ("aio3", "aio5", "cdd11", "allweather", "weatherbench", "amir", "uieb", "csd")


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_whole_plausible_and_have_a_source(name: str) -> None:
    rows = published(name)
    assert rows
    assert all(column in BENCHMARKS for column in columns(name))
    for row in rows:
        assert len(row.values) == len(columns(name))
        assert row.sources
        assert set(row.sources) <= set(sources())
        for value in (*row.values, row.average):
            assert value is None or (10 < value[0] < 45 and 0.4 < value[1] < 1)
    seen = [(row.method, row.values, row.average) for row in rows]
    assert len(seen) == len(set(seen)), "a row that two papers print alike stands once"


def test_printed_averages_are_means_except_where_the_papers_are_not_consistent() -> None:
    odd = {(name, row.method) for name in TABLES for row in published(name) if not row.consistent}
    assert odd == {
        ("aio3", "NDR"),
        ("aio5", "AnyIR-T"),
        ("cdd11", "ExDA"),
        ("allweather", "ExDA"),
        ("amir", "AMIR"),
    }


def test_the_papers_of_the_main_system_are_there() -> None:
    (row,) = (row for row in published("aio5") if row.method == "CEA-IR-S")
    assert row.parameters == "10M"
    assert row.values[COLLECTIONS["aio5"].index("lolv1")] == (23.58, 0.858)
    assert row.average == (30.80, 0.919)
    assert sources()[row.sources[0]].table == "CEA-IR (arXiv 2605.06127), Table 6"


@pytest.mark.parametrize(
    ("method", "groups"),
    [
        ("OneRestore", {"single": (31.68, 0.938), "double": (27.35, 0.866), "triple": (24.84, 0.790)}),
        ("MoCE-IR-S", {"single": (32.54, 0.941), "double": (27.73, 0.869), "triple": (25.40, 0.790)}),
        ("CEA-IR-S", {"single": (33.36, 0.943), "double": (28.51, 0.875), "triple": (25.90, 0.798)}),
    ],
)
def test_the_groups_of_cdd11_are_means_of_its_categories(
    method: str, groups: dict[str, tuple[float, float]]
) -> None:
    """Against Table 2 of CEA-IR, which prints the groups."""
    (row,) = (row for row in published("cdd11") if row.method == method)
    for name, (psnr, ssim) in groups.items():
        part = [row.values[columns("cdd11").index(entry)] for entry in COLLECTIONS[f"cdd11-{name}"]]
        assert sum(value[0] for value in part if value) / len(part) == pytest.approx(psnr, abs=0.0101)
        assert sum(value[1] for value in part if value) / len(part) == pytest.approx(ssim, abs=0.00101)


def test_a_benchmark_that_no_paper_measures_has_no_rows() -> None:
    assert published("synthetic") == ()
    assert columns("uieb") == ("uieb",)

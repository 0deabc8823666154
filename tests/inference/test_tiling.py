"""The planner covers every pixel exactly once in weight, and blending adds up."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyrestore.inference.tiling import Tile, blend, plan, windows

SIZES = st.integers(1, 150)


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    return (
        draw(SIZES),
        draw(SIZES),
        draw(st.integers(1, 90)),
        draw(st.integers(0, 60)),
        draw(st.sampled_from([1, 2, 3, 8, 16])),
    )


def test_weights_add_up_to_one_everywhere() -> None:
    @given(plans())
    @settings(max_examples=150, deadline=None)
    def check(case: tuple[int, int, int, int, int]) -> None:
        height, width = case[:2]
        total = torch.zeros(height, width)
        for tile in plan(*case):
            weights = tile.weights()
            assert weights.min() >= 0
            total[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += weights
        assert (total - 1).abs().max() < 1e-6

    check()


def test_tiles_fit_align_and_are_alike() -> None:
    @given(plans())
    @settings(max_examples=150, deadline=None)
    def check(case: tuple[int, int, int, int, int]) -> None:
        height, width, side, overlap, multiple = case
        tiles = plan(*case)
        limit = max(side // multiple, 1) * multiple
        assert len({(tile.rows.size, tile.columns.size) for tile in tiles}) == 1
        for length, spans in ((height, {t.rows for t in tiles}), (width, {t.columns for t in tiles})):
            starts = sorted(span.start for span in spans)
            assert starts[0] == 0
            assert max(span.stop for span in spans) == length
            size = next(iter(spans)).size
            assert size <= limit
            assert len(starts) == len(set(starts)) == len(spans)
            assert all(start % multiple == 0 for start in starts[:-1])
            assert starts[-1] % multiple == 0 or length % multiple != 0
            if len(starts) > 1:
                shared = min(overlap, size // 2 // multiple * multiple)
                assert max(b - a for a, b in pairwise(starts)) <= size - shared

    check()


def test_blending_identical_tiles_gives_the_picture_in_bands() -> None:
    @given(plans())
    @settings(max_examples=60, deadline=None)
    def check(case: tuple[int, int, int, int, int]) -> None:
        height, width = case[:2]
        picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        tiles = plan(*case)
        rows = 0
        parts = []
        for top, band in blend(tiles, (cut(picture, tile) for tile in tiles)):
            assert top == rows
            assert band.shape[2] <= tiles[0].rows.size
            rows += band.shape[2]
            parts.append(band.clone())
        assert torch.allclose(torch.cat(parts, dim=2), picture, atol=1e-6, rtol=0)

    check()


def test_results_are_taken_one_at_a_time() -> None:
    """Blending must not collect the results of the whole picture first."""
    tiles = plan(100, 20, 20, 4)
    taken = 0

    def results() -> object:
        nonlocal taken
        for tile in tiles:
            taken += 1
            yield torch.zeros(1, 3, tile.rows.size, tile.columns.size)

    next(blend(tiles, results()))
    assert taken == 2


def test_the_border_of_a_tile_has_no_weight_inside_the_picture() -> None:
    tiles = plan(1, 200, 64, 32)
    first, second = tiles[0].columns, tiles[1].columns
    shared = first.stop - second.start
    assert (first.weights()[-(shared // 4) :] == 0).all()
    assert (second.weights()[: shared // 4] == 0).all()


def test_windows_reach_the_borders_and_stay_few() -> None:
    found = windows(640, 4096, 256, 4, 16)
    assert len(found) == 3 * 4
    assert (found[0].rows.start, found[0].columns.start) == (0, 0)
    assert (found[-1].rows.stop, found[-1].columns.stop) == (640, 4096)
    assert all(tile.rows.start % 16 == tile.columns.start % 16 == 0 for tile in found)
    assert windows(64, 64, 256, 4, 16) == windows(64, 64, 64, 1, 16)


@pytest.mark.parametrize("bad", [(0, 5, 4, 0, 1), (5, 5, 0, 0, 1), (5, 5, 4, -1, 1), (5, 5, 4, 0, 0)])
def test_impossible_plans_are_refused(bad: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected sizes"):
        plan(*bad)


def cut(picture: torch.Tensor, tile: Tile) -> torch.Tensor:
    return picture[:, :, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]

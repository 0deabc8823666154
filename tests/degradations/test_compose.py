"""Recipes, mixtures and the composite categories of CDD-11."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anyrestore.degradations import (
    CDD11_CATEGORIES,
    CDD11_ORDER,
    KINDS,
    Step,
    cdd11,
    degrade,
    haze,
    kernel_blur,
    parse_recipe,
)
from anyrestore.errors import UsageError

steps = st.builds(Step, st.sampled_from(list(KINDS)), st.floats(0, 1))


def test_a_recipe_keeps_its_order():
    assert parse_recipe("haze:0.5+rain:0.7") == (Step("haze", 0.5), Step("rain", 0.7))
    assert parse_recipe(" rain : .7 + haze:1 ") == (Step("rain", 0.7), Step("haze", 1.0))


@given(st.lists(steps, min_size=1, max_size=4))
def test_any_recipe_can_be_written_and_read(recipe):
    text = "+".join(f"{step.kind}:{step.severity:.17f}" for step in recipe)
    read = parse_recipe(text)
    assert [step.kind for step in read] == [step.kind for step in recipe]
    assert [step.severity for step in read] == pytest.approx([step.severity for step in recipe], abs=1e-15)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "kind:severity"),
        ("haze", "kind:severity"),
        ("haze:0.5+", "kind:severity"),
        ("haze:much", "must be a number"),
        ("haze:", "must be a number"),
        ("fog:0.5", "choose from noise, poisson_noise"),
        ("haze:1.5", "between 0 and 1"),
        ("haze:-0.1", "between 0 and 1"),
        ("haze:nan", "between 0 and 1"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(text, said):
    with pytest.raises(UsageError, match=said):
        parse_recipe(text)


def test_degrade_applies_the_steps_from_left_to_right(photograph, seeded):
    generator = seeded(0)
    expected = KINDS["noise"](KINDS["jpeg"](photograph, 0.5, generator), 0.4, generator)
    assert torch.equal(degrade(photograph, "jpeg:0.5+noise:0.4", seeded(0)), expected)
    other = degrade(photograph, [Step("noise", 0.4), Step("jpeg", 0.5)], seeded(0))
    assert not torch.equal(other, expected)


def test_no_steps_and_severity_zero_are_the_identity(photograph, seeded):
    assert torch.equal(degrade(photograph, [], seeded(0)), photograph)
    everything = "+".join(f"{kind}:0" for kind in KINDS)
    assert torch.equal(degrade(photograph, everything, seeded(0)), photograph)


def test_a_mixture_is_worse_than_its_parts(photograph, seeded):
    def error(recipe):
        return float(((degrade(photograph, recipe, seeded(0)) - photograph) ** 2).mean())

    assert error("rain:0.5+noise:0.5") > max(error("rain:0.5"), error("noise:0.5"))


def test_given_layers_reach_their_steps(photograph, seeded):
    h, w = photograph.shape[-2:]
    nothing = torch.zeros(1, 1, h, w)
    same = degrade(
        photograph, "rain:1+snow:1+haze:1", seeded(0), streaks=nothing, snow_masks=nothing, depth=nothing
    )
    torch.testing.assert_close(same, photograph)
    kernels = torch.rand(1, 5, 5, generator=seeded(1))
    blurred = degrade(photograph, "motion_blur:1", seeded(0), kernels=kernels)
    torch.testing.assert_close(blurred, kernel_blur(photograph, kernels))
    half = degrade(photograph, "motion_blur:0.5", seeded(0), kernels=kernels)
    torch.testing.assert_close(half, (photograph + blurred) / 2)


def test_haze_depth_is_that_of_the_clean_scene(photograph, seeded):
    # Under snow that covers everything, two scenes can only differ by the depth made before it fell.
    def buried(scene):
        return degrade(scene, "snow:1+haze:1", seeded(0), snow_masks=torch.ones_like(scene[:, :1]))

    assert not torch.equal(buried(photograph), buried(photograph.flip(3)))


def test_degrade_wants_a_batch_of_rgb_floats(seeded):
    for wrong in (torch.rand(3, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(UsageError, match="shape"):
            degrade(wrong, "noise:0.5", seeded(0))


def test_cdd11_has_eleven_categories_in_a_physical_order():
    assert len(CDD11_CATEGORIES) == len(set(CDD11_CATEGORIES)) == 11
    assert CDD11_ORDER == ("low_light", "rain", "snow", "haze")


@pytest.mark.parametrize("category", CDD11_CATEGORIES)
def test_cdd11_applies_its_order_however_the_category_is_written(category, photograph, seeded):
    letters = category.split("+")
    names = {"L": "low_light", "R": "rain", "S": "snow", "H": "haze"}
    wanted = {names[letter] for letter in letters}
    expected = degrade(photograph, [Step(k, 0.5) for k in CDD11_ORDER if k in wanted], seeded(9))
    for written in itertools.permutations(letters):
        assert torch.equal(cdd11(photograph, "+".join(written), seeded(9)), expected)
    assert not torch.equal(expected, photograph)


@pytest.mark.parametrize("category", ["", "R+S", "L+R+S", "H+H", "X", "L+H+R+S", "rain"])
def test_other_categories_are_refused(category, photograph, seeded):
    with pytest.raises(UsageError, match="CDD-11"):
        cdd11(photograph, category, seeded(0))


def test_cdd11_passes_given_layers_on(photograph, seeded):
    depth = torch.rand(1, 1, *photograph.shape[-2:], generator=seeded(1))
    assert not torch.equal(
        cdd11(photograph, "H", seeded(0), depth=depth), cdd11(photograph, "H", seeded(0), depth=depth * 0.5)
    )
    assert torch.equal(
        cdd11(photograph, "H", seeded(0), 1.0, depth=torch.zeros_like(depth)),
        haze(photograph, 0.0, 0.8, depth),
    )

"""What holds for every kind in the table, whatever it does to the picture."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyrestore.degradations import KINDS
from anyrestore.errors import UsageError

SIZES = ((1, 1), (1, 7), (7, 1), (5, 3), (17, 33))
DETERMINISTIC = {"defocus_blur", "gaussian_blur", "jpeg"}

kinds = pytest.mark.parametrize("kind", KINDS)


def random_image(seed, shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def psnr(image, reference):
    return float(-10 * torch.log10(((image - reference) ** 2).mean()))


def test_the_table_holds_the_documented_kinds():
    assert list(KINDS) == [
        "noise",
        "poisson_noise",
        "motion_blur",
        "defocus_blur",
        "gaussian_blur",
        "rain",
        "haze",
        "snow",
        "low_light",
        "jpeg",
    ]


@kinds
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), b=st.integers(1, 3), h=st.integers(1, 24), w=st.integers(1, 24))
def test_severity_zero_is_the_identity_bit_for_bit(kind, seed, b, h, w):
    image = random_image(seed, (b, 3, h, w))
    generator = torch.Generator().manual_seed(seed)
    assert torch.equal(KINDS[kind](image, 0.0, generator), image)
    assert torch.equal(KINDS[kind](image, torch.zeros(b), generator), image)


@kinds
def test_severity_zero_is_the_identity_beside_images_that_are_degraded(kind, photograph, seeded):
    batch = photograph.repeat(4, 1, 1, 1)
    degraded = KINDS[kind](batch, torch.tensor([0.0, 0.6, 0.0, 1.0]), seeded(3))
    assert torch.equal(degraded[0], batch[0])
    assert torch.equal(degraded[2], batch[2])
    assert psnr(degraded[1], batch[1]) < 40
    assert psnr(degraded[3], batch[3]) < 35


@kinds
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_more_severe_is_worse(kind, photograph, seed):
    # The batch shares its randomness with nothing, so the severities are run one by one from one seed.
    scores = [
        psnr(KINDS[kind](photograph, severity, torch.Generator().manual_seed(seed)), photograph)
        for severity in (0.25, 0.5, 0.75, 1.0)
    ]
    assert all(milder > worse for milder, worse in itertools.pairwise(scores)), scores
    # Visible, and not yet destroyed.
    assert 5 < scores[-1] < scores[0] < 45, scores


@kinds
def test_a_seed_fixes_the_result(kind, photograph, seeded):
    batch = photograph.repeat(2, 1, 1, 1)
    severity = torch.tensor([0.3, 0.8])
    first = KINDS[kind](batch, severity, seeded(1))
    assert torch.equal(first, KINDS[kind](batch, severity, seeded(1)))
    same = torch.equal(first, KINDS[kind](batch, severity, seeded(2)))
    assert same == (kind in DETERMINISTIC)


@kinds
def test_images_of_a_batch_are_degraded_differently(kind, photograph, seeded):
    degraded = KINDS[kind](photograph.repeat(2, 1, 1, 1), 0.7, seeded(5))
    assert torch.equal(degraded[0], degraded[1]) == (kind in DETERMINISTIC)


@kinds
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_keeps_shape_type_and_range(kind, size, seeded):
    image = random_image(0, (2, 3, *size))
    before = image.clone()
    for severity in (0.1, 0.5, 1.0):
        degraded = KINDS[kind](image, severity, seeded(7))
        assert degraded.shape == image.shape
        assert degraded.dtype == torch.float32
        assert bool(torch.isfinite(degraded).all())
        assert float(degraded.min()) >= 0
        assert float(degraded.max()) <= 1
    assert torch.equal(image, before), "the input was written to"


@kinds
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_stay_in_range(kind, value, seeded):
    degraded = KINDS[kind](torch.full((2, 3, 24, 20), value), 1.0, seeded(11))
    assert bool(torch.isfinite(degraded).all())
    assert 0 <= float(degraded.min()) <= float(degraded.max()) <= 1


@kinds
def test_the_global_random_state_is_neither_read_nor_changed(kind, photograph, seeded):
    torch.manual_seed(1)
    first = KINDS[kind](photograph, 0.5, seeded(1))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = KINDS[kind](photograph, 0.5, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)


@kinds
@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan"), torch.tensor([0.5, 2.0])])
def test_a_wrong_severity_is_refused(kind, severity, seeded):
    with pytest.raises(UsageError, match="must be"):
        KINDS[kind](torch.rand(2, 3, 8, 8), severity, seeded(0))

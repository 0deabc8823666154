"""One number for the batch, or one for each image."""

import pytest
import torch

from anyrestore.degradations.parameters import per_sample, uniform
from anyrestore.errors import UsageError

BATCH = torch.zeros(3, 3, 4, 4)


def test_a_number_serves_the_batch():
    assert per_sample(0.5, BATCH, name="x").tolist() == [0.5, 0.5, 0.5]


def test_a_tensor_gives_each_image_its_own():
    assert per_sample(torch.tensor([1.0, 2.0, 3.0]), BATCH, name="x").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("length", [1, 2, 4])
def test_another_length_than_the_batchs_is_refused(length):
    with pytest.raises(UsageError, match=r"x must be one number, or one for each of the 3 images"):
        per_sample(torch.ones(length), BATCH, name="x")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), torch.tensor([0.0, 0.5, 1.5])])
def test_values_out_of_range_are_refused(value):
    with pytest.raises(UsageError, match=r"x must be between 0 and 1; got"):
        per_sample(value, BATCH, name="x", high=1.0)


def test_uniform_draws_one_for_each_image(seeded):
    drawn = uniform(torch.zeros(4000, 1, 1, 1), 2.0, 5.0, seeded(0))
    assert drawn.shape == (4000,)
    assert 2 <= float(drawn.min()) < 2.05
    assert 4.95 < float(drawn.max()) < 5

import pytest
import torch
from torch import Tensor, nn

from anyrestore.benchmark import count_macs, count_parameters


class Products(nn.Module):
    """Channel attention by hand: (3, hw) @ (hw, 3), then (3, 3) @ (3, hw)."""

    def forward(self, image: Tensor) -> Tensor:
        x = image.flatten(2)
        return ((x @ x.transpose(1, 2)) @ x).view_as(image)


class PerPixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.linear(image.movedim(1, -1))


# height 8, width 12: 96 pixels
HAND = {
    "conv": (nn.Conv2d(3, 7, 3, padding=1), 96 * 7 * 3 * 9),
    "strided conv": (nn.Conv2d(3, 7, 2, stride=2, bias=False), 24 * 7 * 3 * 4),
    "depthwise conv": (nn.Conv2d(3, 3, 3, padding=1, groups=3), 96 * 3 * 9),
    "two in a row": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU(), nn.Conv2d(4, 2, 1)), 96 * (12 + 8)),
    "linear": (PerPixel(), 96 * 3 * 5),
    "matmul": (Products(), 2 * 3 * 3 * 96),
}


@pytest.mark.parametrize("case", HAND)
def test_macs_against_a_count_by_hand(case: str) -> None:
    model, macs = HAND[case]
    assert count_macs(model, 8, 12) == macs


def test_counting_leaves_the_model_where_and_as_it_was() -> None:
    model = nn.Conv2d(3, 3, 3, padding=1)
    before = model.weight.detach().clone()
    count_macs(model, 8, 8)
    assert model.training
    torch.testing.assert_close(model.weight, before, rtol=0, atol=0)


def test_a_size_that_would_be_padded_is_refused() -> None:
    model = nn.Conv2d(3, 3, 1)
    model.size_multiple = 16
    with pytest.raises(ValueError, match="multiples of 16"):
        count_macs(model, 224, 225)


def test_parameters_count_shared_ones_once() -> None:
    first = nn.Linear(3, 5)
    assert count_parameters(first) == 20
    assert count_parameters(nn.Sequential(first, first)) == 20
    first.weight.requires_grad_(requires_grad=False)
    assert count_parameters(first) == 20

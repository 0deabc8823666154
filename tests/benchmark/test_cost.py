"""What is counted, against counts by hand: single layers, and one block of each architecture."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from anyrestore.architectures import anyir, cea, exda, moce
from anyrestore.architectures.promptir import PromptedStage
from anyrestore.benchmark import count_macs, count_parameters, count_traffic
from anyrestore.conditioning.instruction_block import InstructionBlock
from anyrestore.conditioning.prompt_pool import PromptPool
from anyrestore.layers.naf import NAFBlock
from anyrestore.layers.transformer import TransformerBlock, TransformerStage


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


# Blocks of 24 channels (c) and two heads (k) on 8 x 12 pixels (n); each count is a paper's description of its
# block, written out. What is not a convolution or a matrix product does not count.
HEIGHT, WIDTH, N, C, K = 8, 12, 96, 24, 2


def conv(into: int, out: int, side: int = 1, pixels: int = N) -> int:
    """A convolution of ``into`` to ``out`` channels."""
    return pixels * into * out * side**2


def depthwise(channels: int, side: int = 3, pixels: int = N) -> int:
    return pixels * channels * side**2


def attention(channels: int, heads: int = K) -> int:
    """Restormer: 1x1 to q, k, v; depthwise 3x3 on them; q k^T and A v in each head. No 1x1 after it."""
    products = 2 * heads * (channels // heads) ** 2 * N
    return conv(channels, 3 * channels) + depthwise(3 * channels) + products


def feedforward(channels: int, expansion: float = 2.0) -> int:
    """Restormer: 1x1 to two branches, depthwise 3x3 on both, product, 1x1 back."""
    hidden = int(channels * expansion)
    return conv(channels, 2 * hidden) + depthwise(2 * hidden) + conv(hidden, channels)


def restormer_block(channels: int = C, heads: int = K, expansion: float = 2.0) -> int:
    return attention(channels, heads) + conv(channels, channels) + feedforward(channels, expansion)


def naf_block() -> int:
    """NAFNet: 1x1 to 2c, depthwise 3x3, gate, 1x1 of the means (one pixel), 1x1; 1x1 to 2c, gate, 1x1."""
    mixing = conv(C, 2 * C) + depthwise(2 * C) + conv(C, C, pixels=1) + conv(C, C)
    return mixing + conv(C, 2 * C) + conv(C, C)


def cea_block() -> int:
    """CEA-IR: Restormer's block; q and k get (X A^T) B with rank r = 8 from a hyper-adapter.

    It condenses the features (depthwise 3x3 with stride 4, 1x1) to m tokens; 2r queries look at them through
    linear maps (of the queries, of the tokens to keys and values) and two products; four linear heads decode
    r vectors each, of bases and directions for q and k.
    """
    r, m = 8, N // 16
    condensed = depthwise(C, 3, m) + conv(C, C, pixels=m)
    looked = 2 * r * C * C + m * C * 2 * C + 2 * (2 * r * m * C)
    decoded = 4 * r * C * C
    assembled = 2 * (2 * N * C * r)
    return restormer_block() + condensed + looked + decoded + assembled


def exda_block() -> int:
    """ExDA: v + g(v) with g = 1x1 to c/2, depthwise 3x3, 1x1 back; one more channel per head in q, k and v.

    The tokens' maps come from a 1x1 on features pooled 2 x 2.
    """
    value = conv(C, C // 2) + depthwise(C // 2) + conv(C // 2, C)
    tokens = conv(C, K, pixels=N // 4)
    products = 2 * K * (C // K + 1) ** 2 * N
    projected = conv(C, 3 * C) + depthwise(3 * C) + conv(C, C)
    return projected + products + value + tokens + feedforward(C)


def anyir_block() -> int:
    """AnyIR: half of the channels (d) to attention, half to GatedDA; a 1x1 joins them; feed-forward.

    GatedDA expands d to 8/3 d: gamma and beta as wide as the input, alpha 2/3 of it. Depthwise 7x7 on alpha,
    1x1 of alpha and beta to d, 1x1.
    """
    d, alpha = C // 2, C // 3
    gated = conv(d, 2 * d + alpha) + depthwise(alpha, 7) + conv(alpha + d, d) + conv(d, d)
    return attention(d) + gated + conv(C, C) + feedforward(C)


def moce_block() -> int:
    """MoCE-IR: a 1x1 into each path; Restormer's attention as the shared expert; router; expert; fusion.

    The expert counted is the costliest, of rank c: 1x1 down, gate and up; in between 1x1 to q (depthwise 3x3)
    and to k, v (depthwise 7x7), the convolution in windows by FFT (not counted), 1x1. A 1x1 follows. In the
    cross-attention q has a depthwise 3x3, k and v have 7x7. The router: two linear maps to 4 experts.
    """
    qkv = conv(C, C) + depthwise(C) + conv(C, 2 * C) + depthwise(2 * C, 7)
    shared = attention(C) + conv(C, C)
    router = C * 4 + 8 * C * 4
    expert = 3 * conv(C, C) + qkv + conv(C, C) + conv(C, C)
    cross = qkv + 2 * K * (C // K) ** 2 * N + conv(C, C)
    return 2 * conv(C, C) + shared + router + expert + cross + feedforward(C)


def promptir_block() -> int:
    """PromptIR: weights of 5 components of p = 8 channels and 4 x 4 pixels from a linear map of the means.

    Their sum is resized, goes through a 3x3, stands beside the features in Restormer's block, 1x1 back to c.
    """
    p = 8
    prompt = C * 5 + 5 * p * 16 + conv(p, p, 3)
    return prompt + restormer_block(C + p) + conv(C + p, C)


def instructir_block() -> int:
    """InstructIR: a linear map of the instruction's 256 numbers to a mask, NAFNet's block after it."""
    return 256 * C + naf_block()


class OnFeatures(nn.Module):
    """Gives features to a block, whatever the image."""

    def __init__(self, block: nn.Module, *more: Callable[[torch.device], object]) -> None:
        super().__init__()
        self.block = block
        self.more = more

    def forward(self, image: Tensor) -> Tensor:
        features = image.new_empty(1, C, *image.shape[-2:])
        return self.block(features, *(make(image.device) for make in self.more))


def guidance(device: torch.device) -> moce.Guidance:
    return moce.Guidance(torch.empty(1, 8 * C, device=device), None, None, [])


BLOCKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], int]]] = {
    "restormer": (lambda: OnFeatures(TransformerBlock(C, K)), restormer_block),
    "nafnet": (lambda: OnFeatures(NAFBlock(C)), naf_block),
    "cea": (lambda: OnFeatures(cea.CEABlock(C, K, cea.Config(width=C))), cea_block),
    "exda": (lambda: OnFeatures(exda.ExDABlock(C, K, exda.Config(), decoder=True)), exda_block),
    "anyir": (lambda: OnFeatures(anyir.AnyIRBlock(C, K, anyir.Config())), anyir_block),
    "moce": (
        lambda: OnFeatures(
            moce.MoCEBlock(C, K, moce.Config(width=C)), guidance, lambda _: moce.BlockCondition()
        ),
        moce_block,
    ),
    "promptir": (
        lambda: OnFeatures(
            PromptedStage(
                TransformerStage(),
                PromptPool(C, 8, 4),
                TransformerBlock(C + 8, K),
                nn.Conv2d(C + 8, C, 1, bias=False),
            )
        ),
        promptir_block,
    ),
    "instructir": (
        lambda: OnFeatures(
            InstructionBlock(C, 256, NAFBlock(C)), lambda device: torch.empty(1, 256, device=device)
        ),
        instructir_block,
    ),
}


@pytest.mark.parametrize("architecture", BLOCKS)
def test_macs_of_one_block_against_its_paper(architecture: str) -> None:
    make, by_hand = BLOCKS[architecture]
    assert count_macs(make(), HEIGHT, WIDTH) == by_hand()


class Views(nn.Module):
    """Nothing moves."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(2).transpose(1, 2)[:, ::2].unflatten(1, (-1, 4))


class Sum(nn.Module):
    """One image and one value for each channel, read once each; one image written."""

    def forward(self, image: Tensor) -> Tensor:
        return image + image.new_empty(1, 3, 1, 1).expand_as(image)


def test_traffic_against_a_count_by_hand() -> None:
    image, weights, out = 3 * 96, 7 * 3 * 9 + 7, 7 * 96
    assert count_traffic(nn.Conv2d(3, 7, 3, padding=1), 8, 12) == 4 * (image + weights + out)
    # The activation reads the convolution's output and writes as much.
    assert count_traffic(nn.Sequential(nn.Conv2d(3, 7, 3, padding=1), nn.GELU()), 8, 12) == 4 * (
        image + weights + 3 * out
    )
    assert count_traffic(Views(), 8, 12) == 0
    assert count_traffic(Sum(), 8, 12) == 4 * (2 * image + 3)


def test_counting_works_where_gradients_are_off() -> None:
    """The flop counter hooks into autograd, which has nothing to offer there."""
    make, by_hand = BLOCKS["cea"]
    with torch.inference_mode():
        assert count_macs(make(), HEIGHT, WIDTH) == by_hand()

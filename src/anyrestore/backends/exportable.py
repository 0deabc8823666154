"""Networks as ONNX's standard operators can hold them, for any height and width: the same numbers.

A graph is recorded by running the network once, so nothing may depend on values, and sizes only by
arithmetic. Some parts of the zoo do otherwise. In a copy of the network they are changed for parts with the
same weights:

- MoCE-IR's experts: a graph cannot choose, so every expert runs and those not chosen weigh 0. Exact, and as
  costly as all experts together;
- the Fourier transforms in MoCE-IR's windows, for which the exporter has no operator: a circular
  convolution of fixed size is a product with its DFT matrices;
- repeating channels (AnyIR), which the exporter records wrongly;
- pooling rounded up (ExDA), where the last row and column are repeated instead: OpenVINO makes nothing of a
  map that is smaller than the window.

NAFNet's local means choose between two computations by the picture's size, and ``paper_quirks`` of MoCE-IR
draws random numbers: both are refused.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.conditioning.complexity_experts import ComplexityExperts, Router, Routing, WindowConvolution
from anyrestore.conditioning.frequency_fusion import SpatialFrequencyFusion
from anyrestore.conditioning.gated_adaptation import GatedAdaptation, Moments
from anyrestore.conditioning.spatial_tokens import SpatialTokens
from anyrestore.errors import ModelError
from anyrestore.layers.naf import SimplifiedChannelAttention
from anyrestore.types import Features


class _AllExperts(ComplexityExperts):
    """Every expert on every image, whatever the routers chose."""

    def forward(self, x: Features, shared: Features, routing: Routing) -> Features:
        return self.to_out(self._everywhere(x, shared, routing.gates))


class _MatrixConvolution(WindowConvolution):
    """The windows' circular convolution by matrix products."""

    def convolve(self, q: Features, k: Features) -> Features:
        side, (height, width) = self.window, q.shape[-2:]
        b, c = q.shape[:2]
        # Rounded up, of positive numbers: in a graph, negative ones are divided towards zero.
        down, right = (height + side - 1) // side, (width + side - 1) // side

        def windows(x: Tensor) -> Tensor:
            padded = F.pad(x, (0, right * side - width, 0, down * side - height))
            return padded.reshape(b, c, down, side, right, side).transpose(3, 4)  # b c i j side side

        cosine, sine = _dft(side)
        real_q, imaginary_q = _transform(windows(q), cosine, sine)
        real_k, imaginary_k = _transform(windows(k), cosine, sine)
        real = real_q * real_k - imaginary_q * imaginary_k
        imaginary = real_q * imaginary_k + imaginary_q * real_k
        # The inverse of a spectrum whose original is real: with C + iS for both axes, its real part.
        columns = real @ cosine - imaginary @ sine
        rows = real @ sine + imaginary @ cosine
        mixed = (cosine @ columns - sine @ rows) / side**2
        whole = mixed.transpose(3, 4).reshape(b, c, down * side, right * side)
        return whole[..., :height, :width]


class _PlainFusion(SpatialFrequencyFusion):
    """Channels repeated by expanding and flattening."""

    def frequency(self, attended: Features, gated: Features) -> Tensor:
        total = attended + gated
        return torch.stack([total, total], dim=2 if self.repeat == "interleave" else 1).flatten(1, 2)


class _PlainGate(GatedAdaptation):
    """Statistics dealt out to alpha's channels by their numbers."""

    def scale(self, moments: Moments) -> Tensor:
        mean, deviation = moments.mean_and_deviation()
        index = torch.arange(self.tau.shape[0]) % self.project.in_channels
        return 1 + self.tau * torch.sigmoid(mean + deviation)[:, index]


class _EdgeTokens(SpatialTokens):
    """Pooling by two over a map with its last row and column repeated, rounded down."""

    def pool(self, x: Features) -> Tensor:
        if self.stride != 2:
            return super().pool(x)
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


_CHANGED: dict[type[nn.Module], type[nn.Module]] = {
    ComplexityExperts: _AllExperts,
    WindowConvolution: _MatrixConvolution,
    SpatialFrequencyFusion: _PlainFusion,
    GatedAdaptation: _PlainGate,
    SpatialTokens: _EdgeTokens,
}


def exportable(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in eval mode, with the same numbers, that can be recorded for every size.

    Raises:
        ModelError: ``cannot_export``: there is none.
    """
    other = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    for module in other.modules():
        if isinstance(module, SimplifiedChannelAttention) and module.window is not None:
            raise ModelError(
                "local means (local_window) depend on the picture's size in a way that a graph cannot hold; "
                "export a network without them, or use the backend torch or compile",
                code="cannot_export",
            )
        if isinstance(module, Router) and module.noisy_inference:
            raise ModelError(
                "paper_quirks of MoCE-IR adds noise in inference, which a graph would hold fixed; build it "
                "without them, the weights are the same",
                code="cannot_export",
            )
        if type(module) in _CHANGED:
            object.__setattr__(module, "__class__", _CHANGED[type(module)])
    return other


def _dft(side: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi j k / side, (side, side), rounded from float64."""
    index = torch.arange(side, dtype=torch.float64)
    angle = index[:, None] * index * (2 * math.pi / side)
    return angle.cos().float(), angle.sin().float()


def _transform(x: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the discrete Fourier transform over the last two axes, exp(-i ...)."""
    columns, minus = x @ cosine, x @ sine
    return cosine @ columns - sine @ minus, -(cosine @ minus + sine @ columns)

"""GatedDA against algorithm 1 written out, its widths, and its moments over tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anyrestore.conditioning.gated_adaptation import ChannelMoments, GatedAdaptation, add_moments

TEXT: dict[str, Any] = {"gating": "concatenated", "activation": "gelu", "shares": (1 / 4, 1 / 4, 1 / 2)}


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(*args: Any, **kwargs: Any) -> GatedAdaptation:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gate = GatedAdaptation(*args, **kwargs)
        for parameter in (gate.norm.weight, gate.norm.bias):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        if gate.moments is not None:
            torch.nn.init.uniform_(gate.tau, 0.5, 1.5)
    return gate


@pytest.mark.parametrize("changes", [{}, {"norm": "affine"}, TEXT, {"kernel": 3}], ids=str)
def test_one_image_against_the_algorithm_written_out(changes: dict[str, Any]) -> None:
    gate, x = seeded(6, 8 / 3, **changes), features(1, 6, 5, 7)
    pixels = x[0].flatten(1)  # c n
    weight, bias = gate.norm.weight[:, None], gate.norm.bias[:, None]
    if changes.get("norm") == "affine":
        normed = weight * pixels + bias
    else:
        centred = pixels - pixels.mean(dim=0)
        normed = weight * centred / (centred.square().mean(dim=0) + 1e-5).sqrt() + bias
    expanded = gate.expand.weight[:, :, 0, 0] @ normed
    gamma, beta, alpha = expanded.split(gate.widths)
    mean = normed.mean(dim=1)
    deviation = ((normed - mean[:, None]).square().mean(dim=1) + 1e-6).sqrt()
    delta = torch.sigmoid(mean + deviation)
    size = gate.depthwise.kernel_size[0]
    padded = F.pad(alpha.unflatten(1, (5, 7)), [size // 2] * 4)
    scaled = torch.zeros(alpha.shape[0], 5, 7)
    for c in range(scaled.shape[0]):
        for i in range(5):
            for j in range(7):
                window = padded[c, i : i + size, j : j + size]
                scaled[c, i, j] = (window * gate.depthwise.weight[c, 0]).sum()
        scaled[c] *= 1 + gate.tau[c] * delta[c]
    merged = torch.cat([beta, scaled.flatten(1)])
    combine = gate.combine.weight[:, :, 0, 0]
    gated = (
        combine @ (F.gelu(gamma) * merged) if changes is TEXT else torch.sigmoid(gamma) * (combine @ merged)
    )
    expected = gate.project.weight[:, :, 0, 0] @ (pixels + gated)
    torch.testing.assert_close(gate(x)[0].flatten(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "changes", "widths"),
    [
        (14, {}, (14, 14, 9)),  # gamma, beta, alpha: the authors' code
        (128, {}, (128, 128, 85)),
        (12, TEXT, (16, 8, 8)),
        (12, TEXT | {"shares": (0, 1 / 2, 1 / 2)}, (16, 16, 0)),
        (12, TEXT | {"shares": (1 / 2, 0, 1 / 2)}, (16, 0, 16)),
        (12, TEXT | {"shares": (1 / 2, 1 / 2, 0)}, (0, 16, 16)),
    ],
)
def test_widths_of_the_parts(channels: int, changes: dict[str, Any], widths: tuple[int, ...]) -> None:
    gate = seeded(channels, **changes)
    assert gate.widths == widths
    gate(features(2, channels, 3, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in gate.parameters())


def test_a_gate_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a gate of 12 channels"):
        GatedAdaptation(12, shares=(1 / 4, 1 / 4, 1 / 2))


def test_moments_of_tiles_add_up_to_the_whole() -> None:
    moments, x = ChannelMoments(), features(2, 3, 6, 10) + 1
    whole = moments(x)
    for added, seen in zip(add_moments([moments(x[..., :3]), moments(x[..., 3:])]), whole, strict=True):
        torch.testing.assert_close(added, seen)
    mean, deviation = whole.mean_and_deviation()
    torch.testing.assert_close(mean, x.mean(dim=(2, 3)))
    torch.testing.assert_close(deviation, x.flatten(2).std(dim=-1, correction=0), rtol=1e-4, atol=1e-5)

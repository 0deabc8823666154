"""Both ways in which a picture can lie in memory give the same result, and channels_last stays so inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from anyrestore.layers.attention import ChannelAttention, TransposedAttention, aggregate, aggregate_into
from anyrestore.layers.norm import BiasFreeLayerNorm, LayerNorm
from tiny_models import image, moved

LAST = torch.channels_last


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(model: nn.Module) -> nn.Module:
    return moved(model).to(memory_format=LAST)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)  # of the noise in a router's logits
    (model(x) - x).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_both_formats_give_the_same_picture(model: nn.Module, batch: int) -> None:
    x = image(32, 48, batch)
    result = turned(model)(x.contiguous(memory_format=LAST))
    torch.testing.assert_close(result, moved(model)(x), rtol=1e-4, atol=1e-5)


def test_both_formats_learn_the_same(model: nn.Module) -> None:
    x = image(32, 48, 2)
    expected = gradients(moved(model).train(), x)
    found = gradients(turned(model).train(), x.contiguous(memory_format=LAST))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-3, atol=1e-7 + 1e-4 * gradient.abs().max().item()
        )


def test_a_pass_with_and_without_gradients_is_the_same(model: nn.Module) -> None:
    """Without them some products are taken in place."""
    other, x = moved(model), image(32, 48)
    with torch.inference_mode():
        inside = other(x)
    torch.testing.assert_close(other(x).detach(), inside, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_what_a_module_has_given_out_is_not_changed_afterwards(model: nn.Module, layout: Any) -> None:
    """Whoever hooks a module may keep its output."""
    other = moved(model).to(memory_format=layout)
    kept = list[tuple[str, Tensor, Tensor]]()

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            kept.extend((name, leaf, leaf.clone()) for leaf in pytree.tree_leaves(output))

        return hook

    for name, module in other.named_modules():
        module.register_forward_hook(keep(name))
    other(image(32, 48, 2).contiguous(memory_format=layout))
    assert len(kept) > 20
    assert [name for name, now, then in kept if not torch.equal(now, then)] == []


class Planar(TorchDispatchMode):
    """Collects operators that write large maps pixel by pixel of one channel after the other."""

    def __init__(self, sides: set[int], largest: int) -> None:
        super().__init__()
        self.sides, self.largest, self.found = sides, largest, list[str]()

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor) and not func.is_view and self.is_planar(leaf):
                self.found.append(f"{func} {tuple(leaf.shape)}")
        return out

    def is_planar(self, x: Tensor) -> bool:
        return x.numel() >= self.largest and x.stride(-1) == 1 and x.shape[-1] in self.sides


#: Transforms of windows are made plane by plane.
EXCEPTIONS = {"MoCE": ("pad", "fft", "clone", "mul", "_unsafe_view")}


@torch.no_grad()
def test_no_large_map_falls_back_to_planes(model: nn.Module) -> None:
    """Sides of 112 and 208: no number of channels is one of these, or their halves, or a number of pixels."""
    x = image(112, 208).contiguous(memory_format=LAST)
    widths = {208 // scale for scale in (1, 2, 4, 8)}
    pixels = {112 * 208 // scale**2 for scale in (1, 2, 4, 8)}
    # Of the smallest width, 8 channels, at the top level of this model.
    unshuffled = (one.downscale_factor for one in model.modules() if isinstance(one, nn.PixelUnshuffle))
    top = 112 * 208 * 8 // next(unshuffled, 1) ** 2
    other = turned(model)
    with Planar(widths | pixels, top) as seen:
        other(x)
    allowed = EXCEPTIONS.get(type(model).__name__, ())
    assert [one for one in seen.found if not any(word in one for word in allowed)] == []
    with Planar(widths | pixels, top) as seen:
        other(x.contiguous())
        moved(model)(x.contiguous())
    assert seen.found  # the look sees them where they are


@pytest.mark.parametrize("make", [BiasFreeLayerNorm, LayerNorm])
def test_norms_are_the_same_in_both_formats(make: Callable[[int], nn.Module]) -> None:
    norm, x = make(6), seeded(2, 6, 3, 5) + 3
    for i, parameter in enumerate(norm.parameters()):
        nn.init.uniform_(parameter, generator=torch.Generator().manual_seed(i))
    result = norm(x.contiguous(memory_format=LAST))
    assert result.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(result, norm(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_merged_weights_are_the_convolution_of_the_mixed_values(batch: int, layout: Any) -> None:
    out = nn.Conv2d(6, 5, 1)
    weights, values = seeded(batch, 2, 3, 4), seeded(batch, 8, 5, 7, seed=1).contiguous(memory_format=layout)
    mixed = torch.stack(
        [
            torch.cat([weights[b, head] @ values[b, 4 * head : 4 * head + 4].flatten(1) for head in (0, 1)])
            for b in range(batch)
        ]
    ).unflatten(-1, (5, 7))
    torch.testing.assert_close(aggregate(weights, values), mixed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(aggregate_into(weights, values, out), out(mixed), rtol=1e-4, atol=1e-5)
    few = values[..., :1, :2]
    torch.testing.assert_close(
        aggregate_into(weights, few, out), out(mixed[..., :1, :2]), rtol=1e-4, atol=1e-5
    )


def test_what_is_heard_of_the_similarity_can_be_replaced() -> None:
    attention, x = TransposedAttention(8, 2), seeded(1, 8, 6, 7)
    other = attention.similarity(*(seeded(1, 2, 4, 42, seed=seed) for seed in (1, 2)))
    expected = attention(x, other)
    handle = attention.similarity.register_forward_hook(lambda _module, _inputs, _output: other)
    replaced = attention(x)
    handle.remove()
    torch.testing.assert_close(replaced, expected)
    assert not torch.allclose(attention(x), expected)


def test_parts_by_themselves_are_the_whole_convolutions() -> None:
    attention, x = ChannelAttention(8, 2), seeded(2, 8, 6, 7)
    expected = attention.depthwise(attention.to_qkv(x)).chunk(3, dim=1)
    for found, part in zip(attention.expand(x), expected, strict=True):
        torch.testing.assert_close(found, part)
    for found, part in zip(attention.refine(*attention.project(x)), expected, strict=True):
        torch.testing.assert_close(found, part)

"""The hyper-adapter's factors, smoothed over time: f = s f_before + (1 - s) f_now.

Noise differs from frame to frame, and so does what a hyper-adapter makes of it; brightness and colour of the
whole frame then change a little, which is seen as flicker. What differs from pixel to pixel is not touched by
it. At a cut it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.conditioning.hyper_adapter import Factors, HyperAdapter
from anyrestore.errors import UsageError

CUT = 0.1
"""A cut is where small pictures of two frames differ by more, on the average; of values in [0, 1]."""
_SMALL = (9, 16)
_FRAME = "frame"


class Smoothing:
    """Smooths the factors of one model over the frames of one clip.

    Args:
        model: has hyper-adapters.
        strength: s, 0 to 1; 1 keeps the factors of the first frame after a cut.

    Raises:
        UsageError: the model has none.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        self.strength = strength
        modules = cast(
            "Iterator[tuple[str, nn.Module]]", model.named_modules()
        )  # its stub is untyped in part
        self._adapters = {name: part for name, part in modules if isinstance(part, HyperAdapter)}
        if not self._adapters:
            raise UsageError(
                f"smooth: {type(model).__name__} has no hyper-adapter; leave it out, or use cea-t"
            )
        self._before = dict[str, Factors]()
        self._small: Tensor | None = None

    @contextmanager
    def frame(self, image: Tensor) -> Generator[None]:
        """Within it the model restores one frame.

        Args:
            image: the frame (1 3 h w).

        Raises:
            UsageError: the model saw parts of the frame one by one.
        """
        small = F.adaptive_avg_pool2d(image.mean(dim=1, keepdim=True), _SMALL)
        if self._small is None or bool((small - self._small).abs().mean() > CUT):
            self._before.clear()
        self._small = small
        seen = dict[str, Factors]()
        handles = [
            adapter.decoded.register_forward_hook(self._listener(name, seen))
            for name, adapter in self._adapters.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if seen.keys() != self._adapters.keys():
            raise UsageError("smooth: the backend does not show the factors; use --backend torch")
        self._before = seen

    def state(self) -> dict[str, Tensor]:
        """What it knows, flat."""
        found = {
            f"{name}/{target}/{i}": factor.contiguous()
            for name, factors in self._before.items()
            for target, pair in factors.items()
            for i, factor in enumerate(pair)
        }
        return found if self._small is None else {**found, _FRAME: self._small}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Know what :meth:`state` said."""
        self._small = state.get(_FRAME)
        self._before.clear()
        for key in state.keys() - {_FRAME}:
            name, target, i = key.rsplit("/", 2)
            if i == "0":
                pair = state[key], state[f"{name}/{target}/1"]
                self._before.setdefault(name, {})[target] = pair

    def _listener(
        self, name: str, seen: dict[str, Factors]
    ) -> Callable[[nn.Module, object, Factors], Factors]:
        def hook(_module: nn.Module, _inputs: object, now: Factors) -> Factors:
            if name in seen:
                raise UsageError("smooth: frames this large go in tiles; give it more memory, or --tile auto")
            before = self._before.get(name)
            if before is not None:
                now = {
                    target: (
                        _mix(before[target][0], a, self.strength),
                        _mix(before[target][1], b, self.strength),
                    )
                    for target, (a, b) in now.items()
                }
            seen[name] = now
            return now

        return hook


def _mix(before: Tensor, now: Tensor, strength: float) -> Tensor:
    return torch.lerp(now.detach(), before.to(now), strength)

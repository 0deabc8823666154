"""Weights of other people's restoration networks, through spandrel (MIT; the extra ``foreign``).

The file is read by our own reader of tensors, nothing in it is run; what one of our converters knows becomes
our own network. Whatever else holds goes to spandrel as a state dict: it finds the architecture by the
tensors' names and builds the network. A :class:`Foreign` wraps it, so that it is called like a model of ours.

Only what restores a picture at its own size is taken. Super-resolution, inpainting and faces are refused.
spandrel's separate package of non-commercial architectures is never used.

Unusual: what such a network needs in memory nobody states, so it is counted when the network is loaded: it
restores a small picture for real, and large ones on torch's device "meta", whose tensors have shapes only.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import math
import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anyrestore.errors import ModelError
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.types import Features
from anyrestore.zoo.convert import CONVERTERS
from anyrestore.zoo.convert.files import TensorFile, convert_tensors, finite_floats, open_tensors

#: Licence of the code of every architecture that can restore at the same size, by spandrel's name for it: the
#: LICENSE that spandrel's repository has beside each. Weights may have another.
LICENSES = {
    "ATD": "Apache-2.0",
    "CRAFT": "Apache-2.0",
    "Compact": "BSD-3-Clause",
    "DAT": "Apache-2.0",
    "DCTLSA": "Apache-2.0",
    "DITN": "Apache-2.0",
    "DRCT": "MIT",
    "DRUNet": "MIT",
    "DnCNN": "MIT",
    "ESRGAN": "Apache-2.0",
    "FBCNN": "Apache-2.0",
    "FDAT": "MIT",
    "FFTformer": "MIT",
    "GRL": "MIT",
    "HAT": "MIT",
    "HVICIDNet": "MIT",
    "IPT": "Apache-2.0",
    "KBNet": "MIT",
    "MMRealSR": "BSD-3-Clause",
    "MixDehazeNet": "MIT",
    "MoESR": "MIT",
    "NAFNet": "MIT",
    "OmniSR": "Apache-2.0",
    "PLKSR": "MIT",
    "RCAN": "MIT",
    "RGT": "Apache-2.0",
    "RetinexFormer": "MIT",
    "SAFMN": "Apache-2.0",
    "SAFMNBCIE": "Apache-2.0",
    "SCUNet": "Apache-2.0",
    "SPAN": "Apache-2.0",
    "SeemoRe": "Apache-2.0",
    "Swin2SR": "Apache-2.0",
    "SwinIR": "Apache-2.0",
    "SwiftSRGAN": "CC0-1.0",
    "Uformer": "MIT",
}
SMALLEST = 16
"""Pixels a side below which a picture is padded: not every network says what it cannot take."""
PROBE_SIDE = 64
"""Pixels a side of the picture on which a network is tried when it is loaded, or the least it takes."""
SIDES = (256, 512)
"""Pixels a side for which its memory is counted, without computing, where the network allows that."""
MARGIN = 2.0
"""On what was counted, for workspaces that are no tensors: the memory of the process grew by 1.9 times as
much for SCUNet, 1.8 for RetinexFormer, 1.4 for FBCNN and 1.1 for DRUNet (384 x 384, one thread)."""
LARGE = 4 << 30
"""Bytes at which a need that grows faster than the picture is stated."""


class Foreign(nn.Module):
    """A network of spandrel's: ``model(image) -> image``, of the same size, in [0, 1].

    Args:
        descriptor: spandrel's ``ImageModelDescriptor``.
        path: the file it came from, for sentences.

    Raises:
        ModelError: ``not_restoration`` if it does something else than restore at the same size,
            ``bad_weights`` if it cannot be run.

    Attributes:
        architecture: its name, as spandrel has it: "SCUNet".
        license: of the architecture's code, an SPDX name; None where it is not known.
        grey: it takes grey pictures; each channel of an RGB picture goes through it alone.
        whole: its results are better without tiles.
        size_multiple: of height and width; smaller and other pictures are padded by the network itself.
        square: it pads every picture to a square.
        bytes_per_pixel: peak of activations per pixel of the input, float32, measured with a margin.
    """

    def __init__(self, descriptor: Any, path: Path) -> None:
        super().__init__()
        _check(descriptor, path)
        self.architecture = str(descriptor.architecture.id)
        self.license = LICENSES.get(self.architecture)
        self.grey = descriptor.input_channels == 1
        self.whole = descriptor.tiling.name == "DISCOURAGED"
        needs = descriptor.size_requirements
        self.size_multiple = int(needs.multiple_of)
        self.square = bool(needs.square)
        self.network: nn.Module = descriptor.model
        self._descriptor = descriptor
        self.eval().requires_grad_(requires_grad=False)
        side = max(int(needs.minimum), -(-PROBE_SIDE // self.size_multiple) * self.size_multiple)
        try:
            tried = peak_bytes(partial(self, torch.full((1, 3, side, side), 0.5))) / side**2
        except Exception as error:
            raise _unfit(self.architecture, path, error) from error
        # A network that cuts tiles itself needs the same for every picture.
        inside = descriptor.tiling.name == "INTERNAL"
        self.bytes_per_pixel = 1.0 if inside else MARGIN * max(tried, _large_need(descriptor))

    @property
    def summary(self) -> str:
        """What the weights are of, and its licence, in words."""
        known = f"licence of its code: {self.license}" if self.license else "licence not known"
        grey = "; it takes grey pictures, so each colour goes through it alone" if self.grey else ""
        return f"{self.architecture} weights, {known} (the weights may have another){grey}"

    def forward(self, image: Features) -> Float[Tensor, "b 3 h w"]:
        """Restore ``image`` (b 3 h w), RGB in [0, 1], of any size.

        Raises:
            ModelError: the network gave another size.
        """
        if min(image.shape[-2:]) < SMALLEST:
            padded, size = pad_to_multiple(image, SMALLEST)
            return crop_to(self(padded), size)
        return torch.cat([self._picture(picture) for picture in torch.split(image, 1)])

    def _picture(self, picture: Tensor) -> Tensor:
        """One picture (1 3 h w): spandrel's calls take one."""
        if not self.grey:
            return self._call(picture)
        channels = torch.split(picture, 1, dim=1)
        if all(torch.equal(channels[0], other) for other in channels[1:]):
            return self._call(channels[0]).expand_as(picture)
        return torch.cat([self._call(channel) for channel in channels], dim=1)

    def _call(self, picture: Tensor) -> Tensor:
        """(1 c h w) -> (1 c h w)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's code warns about itself
            result = self._descriptor(picture.clone())  # some networks write into their input
        if result.shape != picture.shape:
            raise ModelError(
                f"expected from {self.architecture} a picture of {tuple(picture.shape)}, came "
                f"{tuple(result.shape)}; it does not restore at the same size",
                code="not_restoration",
            )
        return result


def load_public(path: Path) -> nn.Module:
    """A model from a public file of tensors: our own network where a converter knows it, else a `Foreign`.

    Args:
        path: a ``.pt``, ``.pth``, ``.ckpt`` or ``.safetensors`` file that anyrestore did not write.

    Returns:
        The model in eval mode, float32.

    Raises:
        ModelError: ``unsafe_format`` if the file holds more than tensors and plain values, ``bad_weights`` if
            it is missing, damaged or of no network that is known, ``not_restoration`` if the network does
            something else, ``no_spandrel`` if ours are not what it holds and spandrel is not installed.
    """
    return read_public(path)[0]


def read_public(path: Path) -> tuple[nn.Module, str]:
    """As :func:`load_public`, and the SHA-256 of the file's bytes."""
    with open_tensors(path) as file:
        ours = convert_tensors(file)
        return (_through_spandrel(file) if ours is None else ours), file.sha256


def is_installed() -> bool:
    """Whether spandrel and what it needs are there."""
    return all(importlib.util.find_spec(name) for name in ("spandrel", "torchvision", "einops"))


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made during ``run`` held at once; what was there before does not count."""
    with torch.inference_mode(), _Peak() as seen:
        run()
    return seen.peak


class _Peak(TorchDispatchMode):
    """Adds a storage's bytes when an operation first returns it, and takes them away when it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[reportUnknownMemberType]  # torch leaves its argument untyped
        self.peak = 0
        self._now = 0
        self._alive = dict[int, int]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        before = {id(storage) for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if id(storage) not in before and id(storage) not in self._alive:
                self._alive[id(storage)] = storage.nbytes()
                self._now += storage.nbytes()
                weakref.finalize(storage, self._free, id(storage))
        self.peak = max(self.peak, self._now)
        return result

    def _free(self, key: int) -> None:
        self._now -= self._alive.pop(key)


def _storages(values: object) -> list[UntypedStorage]:
    """The memory of all tensors; one storage is one Python object for as long as it lives."""
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]


def _large_need(descriptor: Any) -> float:
    """Bytes per pixel of large pictures; 0 where the network does not run without numbers.

    Bytes are taken as a n + b n^2 of n pixels; b is 0 for most, and not for attention over the whole picture.
    Then what a pixel needs, y, is that of the picture that takes ``LARGE``: y = a + b LARGE / y.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            twin = copy.deepcopy(descriptor).to("meta")
            channels = int(descriptor.input_channels)
            (n, p), (m, q) = (
                (side**2, peak_bytes(partial(twin, torch.empty(1, channels, side, side, device="meta"))))
                for side in SIDES
            )
    except Exception:  # noqa: BLE001 (of code that is not ours; what a small picture took is known)
        return 0.0
    b = max((q / m - p / n) / (m - n), 0.0)
    a = q / m - b * m
    return (a + math.sqrt(a * a + 4 * b * LARGE)) / 2


def _through_spandrel(file: TensorFile) -> nn.Module:
    """The first of the file's state dicts that spandrel can load."""
    spandrel = _spandrel(file.path)
    failed: tuple[str, Exception] | None = None
    for candidate in file.candidates:
        state = finite_floats(file.read(candidate), file.path, integers=True)
        known = _known(spandrel, state)
        if known is None:
            continue
        try:
            descriptor = _built(spandrel, state)
        except Exception as error:  # noqa: BLE001 (of code that is not ours, which may raise anything)
            failed = failed or (known, error)
            continue
        return Foreign(descriptor, file.path)
    if failed is not None:
        raise _unfit(failed[0], file.path, failed[1]) from failed[1]
    raise file.unknown(f"the weights of one of {', '.join(CONVERTERS)}, or of a network that spandrel knows")


def _built(spandrel: Any, state: dict[str, Tensor]) -> Any:
    """The descriptor of a network of spandrel's, filled.

    It reads sizes off names and shapes, and builds before it compares. So that a small file cannot ask
    for a network of any size, numbers in names are bounded by the tensors that there are, and the network is
    built without numbers first, where it can be.
    """
    numbers = (int(part) for name in state for part in name.split(".") if part.isdecimal() and len(part) < 10)
    if max(numbers, default=0) > 64 + 4 * len(state):
        raise ValueError("a tensor's name counts more layers than there are")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                spandrel.ModelLoader().load_from_state_dict(dict(state))
        except Exception as error:  # of code that is not ours, some of which needs numbers
            if "Error(s) in loading state_dict" in str(error):
                raise
        return spandrel.ModelLoader().load_from_state_dict(state)


def _known(spandrel: Any, state: Mapping[str, Tensor]) -> str | None:
    """What spandrel takes a state dict for."""
    for support in spandrel.MAIN_REGISTRY.architectures("detection"):
        if support.detect(state):
            return str(support.architecture.id)
    return None


def _check(descriptor: Any, path: Path) -> None:
    """Refuse what does not restore a picture at its own size."""
    does = {
        "SR": "magnifies pictures",
        "FaceSR": "restores cut-out faces",
        "Inpainting": "fills masked holes",
    }
    name, purpose, scale = descriptor.architecture.id, descriptor.purpose, int(descriptor.scale)
    channels = (int(descriptor.input_channels), int(descriptor.output_channels))
    if scale != 1:
        what = f"magnifies pictures {scale} times"
    elif purpose != "Restoration":
        what = does.get(purpose, f"is made for {purpose}")
    elif channels not in ((3, 3), (1, 1)):
        what = f"takes {channels[0]} channels and gives {channels[1]}"
    else:
        return
    raise ModelError(
        f"expected in {path} a network that restores a picture at its own size, came {name}, which {what}",
        code="not_restoration",
    )


def _unfit(name: str, path: Path, error: Exception) -> ModelError:
    if isinstance(error, ModelError):
        return error
    why = " ".join(str(error).split()) or type(error).__name__
    return ModelError(
        f"the weights in {path} look like those of {name}, but no such network runs with them ({why:.200}); "
        "fetch the file again, or use the program they were made for",
        code="bad_weights",
    )


def _spandrel(path: Path) -> Any:
    """The package, imported."""
    if not is_installed():
        raise ModelError(
            f"the weights in {path} are of none of {', '.join(CONVERTERS)}; other people's networks need the "
            'extra "foreign"; install it with: pip install "anyrestore[foreign]"',
            code="no_spandrel",
        )
    try:
        try:
            return importlib.import_module("spandrel")
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            _declare_operators()
            return importlib.import_module("spandrel")
    except (ImportError, RuntimeError, OSError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"spandrel is installed, but cannot be imported ({why:.200}); reinstall it with torch and "
            'torchvision that belong together: pip install "anyrestore[foreign]"',
            code="no_spandrel",
        ) from error


def _declare_operators() -> None:
    """Let torchvision be imported where its operators cannot be loaded.

    The usual torchvision is built for CUDA. Beside torch's CPU build it finds no libraries, and its import
    fails at its first operator, although it works without them by its own design. No network that restores
    uses an operator of torchvision; their names are enough.
    """
    global _declared  # noqa: PLW0603 (torch keeps declarations as long as this object lives)
    if _declared is None:
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declared: Any = None

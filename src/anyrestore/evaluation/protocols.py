"""What exactly is measured: one frozen object for each way that published tables do it.

Source: the public evaluation code of PromptIR (which AirNet and AdaIR share), MoCE-IR, InstructIR,
OneRestore, Restormer (deraining), and of papers on low light. They print different numbers for the same
picture under the same column names, so a score carries the name of its protocol, and reports refuse to mix
two of them.

Unusual: `instructir-y` repeats a slip of its source, which hands RGB to a function that expects BGR, so that
red and blue have each other's weights; with the right ones InstructIR's column could not be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from anyrestore.metrics import grey, luma, psnr, ssim_gaussian, ssim_uniform, ssim_wang

__all__ = [
    "INSTRUCTIR",
    "INSTRUCTIR_Y",
    "LOL_GTMEAN",
    "MOCE",
    "ONERESTORE",
    "PROMPTIR",
    "PROTOCOLS",
    "RESTORMER_Y",
    "Protocol",
]

Metric = Callable[[Tensor, Tensor], Tensor]
Depth = Literal["float", "round", "truncate"]
Channels = Literal["rgb", "y", "y-rounded", "y-swapped"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to turn an output and a target, both (1, 3, h, w) RGB in [0, 1], into numbers.

    PSNR has data range 1 (255 in 8 bits) and one mean squared error per image in all of them.

    Attributes:
        name: The id that is stored beside every score.
        ssim: Which of the three measures called SSIM.
        clamp: Whether the output is clamped to [0, 1] before it is measured.
        depth: "float" measures the output as it is; "round" and "truncate" make 8 bits of it, and of
            the target, as storing it and reading it back would.
        channels: What is measured: "rgb"; Y of BT.601 ("y"), rounded to 8 bits ("y-rounded"), or with
            the weights of red and blue exchanged ("y-swapped").
        match_mean: Whether the output's brightness is first brought to the target's: multiplied by the
            ratio of their mean greys. It hands the model a piece of the answer.
        crop_multiple: Input and target are centre-cropped to multiples of this many pixels before
            the network sees them. (A rule of the tables: `restore` pads and returns every pixel.)
    """

    name: str
    ssim: Metric
    clamp: bool = True
    depth: Depth = "float"
    channels: Channels = "rgb"
    match_mean: bool = False
    crop_multiple: int = 16

    def prepare(self, output: Tensor, target: Tensor) -> Tensor:
        """The output as it is measured, still RGB; `target` is looked at only to match its brightness."""
        image = output.clamp(0.0, 1.0) if self.clamp else output
        if self.match_mean:
            darkest = 1.0 / 255.0  # a black output has no brightness that could be multiplied
            ratio = grey(target).mean() / grey(image).mean().clamp_min(darkest)
            image = (image * ratio).clamp(0.0, 1.0)
        return _stored(image, self.depth)

    def psnr(self, output: Tensor, target: Tensor) -> float:
        """PSNR of one prepared (1, 3, h, w) output, in dB."""
        return psnr(self._seen(output), self._seen(_stored(target, self.depth))).item()

    def similarity(self, output: Tensor, target: Tensor) -> float:
        """This protocol's SSIM of one prepared (1, 3, h, w) output."""
        return self.ssim(self._seen(output), self._seen(_stored(target, self.depth))).item()

    def _seen(self, image: Tensor) -> Tensor:
        """The channels that are measured."""
        if self.channels == "rgb":
            return image
        y = luma(image.double().flip(1) if self.channels == "y-swapped" else image.double())
        return _stored(y, "round") if self.channels == "y-rounded" else y


def _stored(image: Tensor, depth: Depth) -> Tensor:
    """What is read back of an image that was stored with 8 bits."""
    if depth == "float":
        return image
    levels = image * 255.0  # in float32, n / 255 * 255 is n again for every n
    return (levels.round() if depth == "round" else levels.floor()) / 255.0


PROMPTIR = Protocol(name="promptir", ssim=ssim_uniform)
MOCE = Protocol(name="moce", ssim=ssim_gaussian)
INSTRUCTIR = Protocol(name="instructir", ssim=ssim_wang, clamp=False)
INSTRUCTIR_Y = Protocol(name="instructir-y", ssim=ssim_wang, depth="truncate", channels="y-swapped")
ONERESTORE = Protocol(name="onerestore", ssim=ssim_uniform, depth="round", crop_multiple=1)
RESTORMER_Y = Protocol(
    name="restormer-y", ssim=ssim_wang, depth="round", channels="y-rounded", crop_multiple=1
)
LOL_GTMEAN = Protocol(name="lol-gtmean", ssim=ssim_wang, match_mean=True, crop_multiple=1)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (PROMPTIR, MOCE, INSTRUCTIR, INSTRUCTIR_Y, ONERESTORE, RESTORMER_Y, LOL_GTMEAN)
}
"""Every protocol by name; the first is the default."""

"""What exactly is measured: one frozen object for each way that published tables do it.

Source: the public evaluation code of PromptIR (which AirNet and AdaIR share), of MoCE-IR and of
InstructIR. The three print different numbers for the same picture under the same column names,
so a score carries the name of its protocol, and reports refuse to mix two of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from anyrestore.metrics import psnr, ssim_gaussian, ssim_uniform, ssim_wang

__all__ = ["INSTRUCTIR", "MOCE", "PROMPTIR", "PROTOCOLS", "Protocol"]

Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to turn an output and a target, both (b, 3, h, w) RGB in [0, 1], into numbers.

    PSNR is the same in all of them: RGB, data range 1, one mean squared error per image.
    Outputs are never rounded to 8 bits.

    Attributes:
        name: The id that is stored beside every score.
        ssim: Which of the three measures called SSIM.
        clamp: Whether the output is clamped to [0, 1] before it is measured.
        crop_multiple: Input and target are centre-cropped to multiples of this many pixels before
            the network sees them. (A rule of the tables: `restore` pads and returns every pixel.)
    """

    name: str
    ssim: Metric
    clamp: bool = True
    crop_multiple: int = 16

    def prepare(self, output: Tensor) -> Tensor:
        """The output as it is measured."""
        return output.clamp(0.0, 1.0) if self.clamp else output

    def psnr(self, output: Tensor, target: Tensor) -> float:
        """PSNR of one prepared (1, 3, h, w) output, in dB."""
        return psnr(output, target).item()

    def similarity(self, output: Tensor, target: Tensor) -> float:
        """This protocol's SSIM of one prepared (1, 3, h, w) output."""
        return self.ssim(output, target).item()


PROMPTIR = Protocol(name="promptir", ssim=ssim_uniform)
MOCE = Protocol(name="moce", ssim=ssim_gaussian)
INSTRUCTIR = Protocol(name="instructir", ssim=ssim_wang, clamp=False)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (PROMPTIR, MOCE, INSTRUCTIR)}

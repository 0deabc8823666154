"""Peak signal-to-noise ratio.

Source: the definition, in the form of scikit-image's `peak_signal_noise_ratio`: one mean
squared error over all pixels and all channels of an image, then the logarithm. (The mean of
three per-channel PSNRs is another, larger number.)
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["psnr"]


def psnr(
    output: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float64[Tensor, " b"]:
    """PSNR = 10 log10(data_range^2 / MSE), in dB, for each image of a batch.

    Args:
        output: What is judged; not clamped here.
        target: What it should be, on the same scale.
        data_range: The distance between black and white: 1 for images in [0, 1].

    Returns:
        One value per image, in float64; infinity where the two are equal.
    """
    # float64 before the subtraction: the mean runs over 10^5 to 10^7 values.
    error = output.to(torch.float64) - target.to(torch.float64)
    mse = error.square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(data_range**2 / mse)

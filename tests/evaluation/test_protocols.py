from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from anyrestore.evaluation import BENCHMARKS, PROTOCOLS
from anyrestore.image import to_tensor
from anyrestore.metrics import psnr, ssim_wang

FLOATS = ("promptir", "moce", "instructir")


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    return data.chelsea()[60:124, 100:196]


@pytest.fixture(scope="module")
def output(target: np.ndarray) -> torch.Tensor:
    """A restored picture that is off by noise, and not made of whole levels."""
    noise = np.random.default_rng(0).normal(0, 0.05, target.shape)
    return torch.from_numpy(target / 255 + noise).permute(2, 0, 1)[None].float()


def measured(name: str, output: torch.Tensor, target: np.ndarray) -> tuple[float, float]:
    protocol, clean = PROTOCOLS[name], to_tensor(target)
    prepared = protocol.prepare(output, clean)
    return protocol.psnr(prepared, clean), protocol.similarity(prepared, clean)


def as_array(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).double().numpy()


def test_the_reference_values_come_out_to_the_last_digit(cbsd68_root: Path) -> None:
    """CBSD68 at sigma 25, the output being the noisy image blurred by a Gaussian of 1 px."""
    total = dict.fromkeys(["psnr", *FLOATS], 0.0)
    samples = list(BENCHMARKS["cbsd68-sigma25"].samples(cbsd68_root, crop_multiple=16))
    assert len(samples) == 68
    for sample in samples:
        clean = sample.target.double()
        blurred = torch.from_numpy(gaussian_filter(sample.degraded.double().numpy(), sigma=(0, 0, 1, 1)))
        total["psnr"] += psnr(blurred, clean).item() / 68
        for name in FLOATS:
            protocol = PROTOCOLS[name]
            total[name] += protocol.similarity(protocol.prepare(blurred, clean), clean) / 68
    assert round(total["psnr"], 4) == 25.9534
    assert {name: round(total[name], 5) for name in FLOATS} == {
        "promptir": 0.69154,
        "moce": 0.68606,
        "instructir": 0.68686,
    }


def test_the_rainy_inputs_have_the_published_psnr_on_y(rain100l_root: Path) -> None:
    protocol = PROTOCOLS["restormer-y"]
    values = [
        protocol.psnr(protocol.prepare(sample.degraded, sample.target), sample.target)
        for sample in BENCHMARKS["rain100l"].samples(rain100l_root, crop_multiple=protocol.crop_multiple)
    ]
    assert len(values) == 100
    assert round(sum(values) / 100, 2) == 26.90


def test_onerestore_measures_the_file_that_would_be_stored(output: torch.Tensor, target: np.ndarray) -> None:
    stored = np.rint(as_array(output).clip(0, 1) * 255).astype(np.uint8)
    expected = (
        peak_signal_noise_ratio(target, stored),
        structural_similarity(target, stored, channel_axis=-1),
    )
    assert measured("onerestore", output, target) == pytest.approx(expected, abs=1e-5)
    assert measured("promptir", output, target) != pytest.approx(expected, abs=1e-5)


def test_restormer_y_measures_the_rounded_y_of_8_bits(output: torch.Tensor, target: np.ndarray) -> None:
    stored = np.rint(as_array(output).clip(0, 1) * 255).astype(np.uint8)
    y, clean = (np.rint(rgb2ycbcr(image)[..., 0]).astype(np.uint8) for image in (stored, target))
    similarity = structural_similarity(clean, y, gaussian_weights=True, use_sample_covariance=False)
    expected = (peak_signal_noise_ratio(clean, y), similarity)
    assert measured("restormer-y", output, target) == pytest.approx(expected, abs=1e-5)


def test_instructir_y_truncates_and_exchanges_red_and_blue(output: torch.Tensor, target: np.ndarray) -> None:
    stored = np.floor(as_array(output.clamp(0, 1) * 255)).astype(np.uint8)
    y, clean = (rgb2ycbcr(image[..., ::-1])[..., 0] for image in (stored, target))
    expected = peak_signal_noise_ratio(clean, y, data_range=255)
    assert measured("instructir-y", output, target)[0] == pytest.approx(expected, abs=1e-5)


def test_lol_gtmean_forgives_a_wrong_brightness_and_nothing_else(
    output: torch.Tensor, target: np.ndarray
) -> None:
    dark = 0.5 * to_tensor(target)
    assert measured("lol-gtmean", dark, target)[0] > 100
    assert measured("promptir", dark, target)[0] < 20
    assert measured("lol-gtmean", torch.zeros_like(dark), target)[0] < 20
    clean = to_tensor(target)
    grey = np.array([0.299, 0.587, 0.114])
    clamped = as_array(output.clamp(0, 1))
    ratio = (as_array(clean) @ grey).mean() / (clamped @ grey).mean()
    matched = torch.from_numpy((clamped * ratio).clip(0, 1)).permute(2, 0, 1)[None]
    expected = psnr(matched, clean.double()).item(), ssim_wang(matched, clean.double()).item()
    assert measured("lol-gtmean", output, target) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_clamping_is_the_protocols_choice(protocol) -> None:
    target = torch.ones(1, 3, 16, 16)
    over = protocol.prepare(target + 0.5, target)
    assert (protocol.psnr(over, target) == float("inf")) == (protocol.name != "instructir")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_level_of_a_stored_picture_is_kept(protocol) -> None:
    levels = torch.arange(256.0).div(255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    prepared = protocol.prepare(levels, levels)
    torch.testing.assert_close(prepared, levels, rtol=0, atol=1e-6)
    assert protocol.psnr(prepared, levels) == float("inf") or protocol.match_mean


def test_brightness_is_never_matched_unless_asked_for() -> None:
    assert [name for name, protocol in PROTOCOLS.items() if protocol.match_mean] == ["lol-gtmean"]
    assert next(iter(PROTOCOLS)) == "promptir"

from pathlib import Path

import pytest
import torch
from scipy.ndimage import gaussian_filter

from anyrestore.evaluation import BENCHMARKS, PROTOCOLS
from anyrestore.metrics import psnr


def test_the_reference_values_come_out_to_the_last_digit(cbsd68_root: Path) -> None:
    """CBSD68 at sigma 25, the output being the noisy image blurred by a Gaussian of 1 px."""
    total = dict.fromkeys(["psnr", *PROTOCOLS], 0.0)
    samples = list(BENCHMARKS["cbsd68-sigma25"].samples(cbsd68_root, crop_multiple=16))
    assert len(samples) == 68
    for sample in samples:
        blurred = torch.from_numpy(gaussian_filter(sample.degraded.double().numpy(), sigma=(0, 0, 1, 1)))
        total["psnr"] += psnr(blurred, sample.target.double()).item() / 68
        for name, protocol in PROTOCOLS.items():
            total[name] += protocol.similarity(protocol.prepare(blurred), sample.target.double()) / 68
    assert round(total["psnr"], 4) == 25.9534
    assert {name: round(total[name], 5) for name in PROTOCOLS} == {
        "promptir": 0.69154,
        "moce": 0.68606,
        "instructir": 0.68686,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_clamping_is_the_protocols_choice(protocol) -> None:
    target = torch.ones(1, 3, 16, 16)
    over = protocol.prepare(target + 0.5)
    assert (protocol.psnr(over, target) == float("inf")) == (protocol.name != "instructir")

"""The models that the contract is for."""

from __future__ import annotations

import pytest
from torch import nn

from tiny_models import SMALLEST, make_smallest


@pytest.fixture(params=SMALLEST, scope="module")
def model(request: pytest.FixtureRequest) -> nn.Module:
    return make_smallest(request.param)

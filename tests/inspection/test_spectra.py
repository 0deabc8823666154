"""Singular values and cumulative variance against matrices whose answer is known."""

import numpy as np
import pytest
import torch

from anyrestore.inspection import spectra


def test_a_known_matrix() -> None:
    # Three channels that vary apart from each other, with squares in the ratio 9 : 4 : 1, on other means.
    waves = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).repeat(1, 4)
    features = (torch.tensor([3.0, 2, 1])[:, None] * waves + torch.tensor([5.0, -7, 100])[:, None]).reshape(
        3, 4, 4
    )
    found = spectra.singular_values(features)
    torch.testing.assert_close(found.singular, torch.tensor([12.0, 8, 4]))
    torch.testing.assert_close(found.cumulative, torch.tensor([9 / 14, 13 / 14, 1]))


def test_any_matrix_as_numpy_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "_BAND", 7)  # bands that do not fit
    features = torch.rand(5, 6, 9, generator=torch.Generator().manual_seed(0))
    rows = features.flatten(1).T.double().numpy()
    expected = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    found = spectra.singular_values(features)
    np.testing.assert_allclose(found.singular.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.cumulative.numpy(), np.cumsum(expected**2) / np.sum(expected**2), rtol=1e-5
    )


def test_features_that_do_not_vary() -> None:
    found = spectra.singular_values(torch.ones(3, 2, 2))
    assert found.singular.tolist() == [0, 0, 0]
    assert found.cumulative.tolist() == [1, 1, 1]

"""NMI and ARI where the answer is known."""

from __future__ import annotations

import pytest
import torch

from anyrestore.errors import UsageError
from anyrestore.inspection import clusters
from anyrestore.inspection.clusters import separate

pytest.importorskip("sklearn", reason="clusters need scikit-learn")


def groups(distance: float, each: int = 12, dimensions: int = 5) -> tuple[torch.Tensor, list[str]]:
    """Three clouds of deviation 1, with centres so far apart; the last number never varies."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(3, dimensions) * distance
    vectors = torch.cat([centre + torch.randn(each, dimensions, generator=generator) for centre in centres])
    vectors[:, -1] = 7.0
    return vectors, [name for name in ("rain", "haze", "dark") for _ in range(each)]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_what_is_far_apart_is_found(method: str) -> None:
    found = separate(*groups(30.0), method=method)  # type: ignore[arg-type] # one of the two
    assert (found.nmi, found.ari) == (pytest.approx(1), pytest.approx(1))
    assert found.names == ("rain", "haze", "dark")
    assert found.clusters == found.labels  # numbered as the labels are
    assert found.table() == [[12, 0, 0], [0, 12, 0], [0, 0, 12]]
    assert found.plane.shape == (36, 2)
    assert bool(found.plane.isfinite().all())
    again = separate(*groups(30.0), method=method)  # type: ignore[arg-type] # one of the two
    assert torch.equal(again.plane, found.plane)


def test_what_is_one_cloud_is_not() -> None:
    found = separate(*groups(0.0), method="pca")
    assert abs(found.ari) < 0.15
    assert found.nmi < 0.2


def test_a_known_table() -> None:
    """Two clouds of 4; one of 'a' lies with 'b'. ARI by hand from the table [[3, 1], [0, 4]]."""
    vectors = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2], [9.3], [9.4]]).repeat(1, 2)
    found = separate(vectors, list("aaaabbbb"), method="pca")
    assert found.table() == [[3, 1], [0, 4]]
    # Pairs together in both 3 + 6; in labels 6 + 6; in clusters 3 + 10; of 28. Expected 12 * 13 / 28.
    expected = 12 * 13 / 28
    assert found.ari == pytest.approx((9 - expected) / ((12 + 13) / 2 - expected))


def test_too_little_is_told() -> None:
    with pytest.raises(UsageError, match="at least 2 labels"):
        separate(torch.rand(5, 2), ["a"] * 5)


def test_without_the_package_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(clusters, "import_module", refuse)
    with pytest.raises(UsageError, match=r"anyrestore\[figures\]") as caught:
        separate(*groups(1.0))
    assert caught.value.code == "no_figures"

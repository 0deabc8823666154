"""How far labels show in vectors: k-means clusters against them, and the plane to draw them in.

- NMI, normalised mutual information (by the arithmetic mean of the entropies): 1 for the same partition, 0
  for independent ones; it rises by chance with the number of clusters.
- ARI, adjusted Rand index: 1 for the same partition, 0 on average for chance.

Both are scikit-learn's, as are k-means (10 starts), PCA and t-SNE. Every number of the vectors is first
standardised over the set (mean 0, variance 1; one that does not vary becomes 0), so that no scale decides.
Clusters are found in all numbers, not in the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.errors import UsageError

Method = Literal["tsne", "pca"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """Labels against clusters.

    Attributes:
        names: the labels, each once, in the order in which they first came.
        labels: of every vector, as an index of ``names``.
        clusters: of every vector, 0 to len(names) - 1; numbered so that the cluster's number is that of its
            commonest label where that can be.
        plane: (n 2), where to draw every vector.
        method: how the plane was made.
        nmi: in [0, 1].
        ari: at most 1.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    clusters: tuple[int, ...]
    plane: Float[Tensor, "n 2"]
    method: Method
    nmi: float
    ari: float

    def table(self) -> list[list[int]]:
        """How many vectors of every label (rows) every cluster (columns) has."""
        counts = [[0] * len(self.names) for _ in self.names]
        for label, cluster in zip(self.labels, self.clusters, strict=True):
            counts[label][cluster] += 1
        return counts


def separate(
    vectors: Float[Tensor, "n d"], labels: Sequence[str], *, method: Method = "tsne", seed: int = 0
) -> Separation:
    """Cluster vectors into as many clusters as there are labels, and compare.

    Args:
        vectors: one a row.
        labels: of the rows; at least two different ones.
        method: how the plane is made; t-SNE with a perplexity of 30, less for fewer than 91 vectors.
        seed: of k-means' starts and of t-SNE.

    Raises:
        UsageError: there is nothing to compare, or scikit-learn is not installed (code ``no_figures``).
    """
    names = tuple(dict.fromkeys(labels))
    if len(names) < 2 or len(labels) < 4:
        raise UsageError(
            f"expected at least 4 pictures under at least 2 labels, came {len(labels)} under {len(names)}"
        )
    cluster, decomposition, manifold, metrics, optimise = _libraries()
    spread = vectors.std(dim=0, correction=0)
    # What varies only in the last bits is constant: rounding must not be scaled up to variance 1.
    constant = spread <= 1e-6 * vectors.abs().amax(dim=0)
    standard = ((vectors - vectors.mean(dim=0)) / spread.masked_fill(constant, 1.0)).masked_fill(
        constant, 0.0
    )
    rows = standard.double().numpy()
    known = np.array([names.index(label) for label in labels])
    found = cluster.KMeans(len(names), n_init=10, random_state=seed).fit_predict(rows)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (known, found), 1)
    best_rows, best_columns = optimise.linear_sum_assignment(-counts)
    renamed = {int(column): int(row) for row, column in zip(best_rows, best_columns, strict=True)}
    if method == "pca":
        plane = decomposition.PCA(2, random_state=seed).fit_transform(rows)
    else:
        perplexity = min(30.0, (len(rows) - 1) / 3)
        plane = manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return Separation(
        names=names,
        labels=tuple(int(i) for i in known),
        clusters=tuple(renamed[int(i)] for i in found),
        plane=torch.tensor(plane, dtype=torch.float32),
        method=method,
        nmi=float(metrics.normalized_mutual_info_score(known, found)),
        ari=float(metrics.adjusted_rand_score(known, found)),
    )


def _libraries() -> list[Any]:
    """Untyped: scikit-learn has no stubs, and is there only with the extra."""
    names = ("cluster", "decomposition", "manifold", "metrics")
    try:
        return [*(import_module(f"sklearn.{name}") for name in names), import_module("scipy.optimize")]
    except ImportError:
        raise UsageError(
            'clusters need scikit-learn, which is not installed; install "anyrestore[figures]"',
            code="no_figures",
        ) from None

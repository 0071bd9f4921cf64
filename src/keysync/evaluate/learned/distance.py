"""How far apart two sets of features are. Arrays in, number out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

_CMMD_SIGMA = 10.0
_CMMD_SCALE = 1000.0
_BLOCK = 1024  # rows of the kernel matrix held at once


class Moments:
    """Mean and covariance of a stream of vectors; memory does not grow with their number."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean: Float64[np.ndarray, " dim"] = np.zeros(dim)
        self._spread: Float64[np.ndarray, "dim dim"] = np.zeros((dim, dim))

    def add(self, features: Float[np.ndarray, "n dim"]) -> None:
        """Take in more vectors.

        Source: pairwise update of Chan, Golub and LeVeque 1983, which does not lose digits when the mean is
        large against the spread.
        """
        batch = features.astype(np.float64)
        middle = batch.mean(axis=0)
        step, total = middle - self.mean, self.count + len(batch)
        centred = batch - middle
        self._spread += centred.T @ centred + np.outer(step, step) * (self.count * len(batch) / total)
        self.mean = self.mean + step * (len(batch) / total)
        self.count = total

    @property
    def covariance(self) -> Float64[np.ndarray, "dim dim"]:
        """The unbiased estimate; needs two vectors or more."""
        return np.asarray(self._spread / (self.count - 1))


def frechet_distance(
    mean_a: Float64[np.ndarray, " dim"],
    covariance_a: Float64[np.ndarray, "dim dim"],
    mean_b: Float64[np.ndarray, " dim"],
    covariance_b: Float64[np.ndarray, "dim dim"],
) -> float:
    """Squared Fréchet distance of two Gaussians; 0 if they are equal, lower is closer.

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``. The trace of the root is the sum of the roots of
    the eigenvalues of ``C_a^(1/2) C_b C_a^(1/2)``, which is symmetric: no complex numbers, and singular
    covariances (fewer vectors than dimensions) need no special care.

    Source: Dowson and Landau 1982, equation 16; as FID, Heusel et al. 2017, arXiv:1706.08500.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    traces = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(product.clip(min=0)).sum()
    # Rounding can leave a hair below zero, where no squared distance can be.
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + traces))


def maximum_mean_discrepancy(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"]) -> float:
    """CMMD's distance of two sets of unit vectors: 1000 MMD^2 with a Gaussian kernel of sigma 10; 0 if equal.

    The estimate with the diagonal left in, as in the authors' program: never negative, and exactly 0 for
    a set against itself.

    Source: Jayasumana et al. 2024, arXiv:2401.09603, section 4.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    squared = _mean_kernel(x, x) + _mean_kernel(y, y) - 2 * _mean_kernel(x, y)
    return max(0.0, _CMMD_SCALE * squared)


def _mean_kernel(x: Float64[np.ndarray, "n dim"], y: Float64[np.ndarray, "m dim"]) -> float:
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK]
        squares = (rows**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * rows @ y.T
        total += float(np.exp(-squares / (2 * _CMMD_SIGMA**2)).sum())
    return total / (len(x) * len(y))

"""Principal components: an orthonormal basis that features are reduced to and reconstructed from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

MIN_VARIANCE_SHARE = 1e-6  # of the first component's variance; below it, a component is rounding and is not scaled up
_EQUAL_WITHIN = 1e-6


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal axes, centre and standard deviations of the features.

    Parameters
    ----------
    axes
        Shape (features, d): unit vectors; an axis without variance is zero.
    centre
        Shape (features,): mean.
    scale
        Shape (d,): standard deviation along each axis; 1 for an axis without variance.
    """

    axes: Float[np.ndarray, "features d"]
    centre: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " d"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n features"], weights: Float[np.ndarray, " n"], d: int) -> "Basis":
        """The first d principal components of the features.

        Parameters
        ----------
        features
            Shape (n, features).
        weights
            Shape (n,): weight of each row.
        d
            Number of components; those without variance, or beyond the number of features, are zero.
        """
        centre = weights @ features / weights.sum()
        drawn = weights > 0
        rows = (features[drawn] - centre) * np.sqrt(weights[drawn] / weights.sum())[:, None]
        variances, axes = _components(rows, d)
        varying = variances > MIN_VARIANCE_SHARE * max(variances[0], 0.0)
        axes = np.where(varying, axes / np.where(varying, np.linalg.norm(axes, axis=0), 1.0), 0.0)
        missing = d - len(variances)
        return cls(
            np.pad(signed(axes), ((0, 0), (0, missing))),
            centre,
            np.pad(np.sqrt(np.where(varying, variances, 1.0)), (0, missing), constant_values=1.0),
        )

    @classmethod
    def within(
        cls, features: Float[np.ndarray, "n features"], weights: Float[np.ndarray, " n"], span: Float[np.ndarray, "features m"]
    ) -> "Basis":
        """The principal components of the features projected onto the span of m orthonormal vectors."""
        inner = cls.of(features @ span, weights, span.shape[1])
        return cls(signed(span @ inner.axes), weights @ features / weights.sum(), inner.scale)

    def encode(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n d"]:
        """Latents; on the features that the basis was fitted to, they have unit variance."""
        return np.asarray((features - self.centre) @ self.axes / self.scale)

    def decode(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n features"]:
        """Features reconstructed from latents."""
        return np.asarray((z * self.scale) @ self.axes.T + self.centre)

    def flat(self) -> Float[np.ndarray, " p"]:
        """Axes, centre and standard deviations as one vector, p = d·features + features + d, to be stored like weights."""
        return np.concatenate([self.axes.ravel(), self.centre, self.scale])

    @classmethod
    def from_flat(cls, flat: Float[np.ndarray, " p"], latent_dim: int) -> "Basis":
        """The basis from the vector that `flat` returned.

        Raises
        ------
        ValueError
            If the length fits no number of features.
        """
        features, rest = divmod(len(flat) - latent_dim, latent_dim + 1)
        if rest or features < 1:
            raise ValueError(
                f"{len(flat)} numbers are no basis of {latent_dim} latents; use the latent dimension it was fitted with"
            )
        axes, centre, scale = np.split(flat, [latent_dim * features, (latent_dim + 1) * features])
        return cls(axes.reshape(features, latent_dim), centre, scale)


def signed(axes: Float[np.ndarray, "features d"]) -> Float[np.ndarray, "features d"]:
    """The axes, each signed so that its largest entry is positive (the first of equal ones): a component's sign is arbitrary."""
    size = np.abs(axes)
    # Rounding must not decide between equal entries, which the two types of a consensus member give.
    first = (size >= (1 - _EQUAL_WITHIN) * size.max(axis=0)).argmax(axis=0)
    return axes * np.where(axes[first, np.arange(axes.shape[1])] < 0, -1.0, 1.0)


def _components(rows: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """The d largest eigenvalues of rowsᵀ·rows, largest first, and their eigenvectors, not normalised."""
    few_rows = len(rows) < rows.shape[1]
    product = rows @ rows.T if few_rows else rows.T @ rows
    last = len(product) - 1
    values, vectors = eigh(product, subset_by_index=[max(last - d + 1, 0), last])
    values, vectors = values[::-1], vectors[:, ::-1]
    return values, rows.T @ vectors if few_rows else vectors

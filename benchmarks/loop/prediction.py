"""How well the measured loops predict all others, by the same predictor for every policy."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import cho_solve, cholesky

from agent.recommendation.similarity_kernel import PlaceKernel, standardised

WINDOW_PX = 9
COMPONENTS = 8
SHARES = (0.3, 0.5, 0.7)
PATCH_LENGTHS = (0.5, 1.0, 2.0)
POSITION_LENGTHS_PX = (5.0, 10.0, 20.0)
NOISES = (0.1, 0.3, 1.0)


@dataclass(frozen=True, eq=False)
class Predictor:
    """Gaussian-process regression on patch and position.

    The kernel is the sum of a Matérn 3/2 kernel in each. Share, lengths and noise maximise the marginal likelihood of the
    measured loops over a small grid, so each policy is evaluated with its own parameters.

    Parameters
    ----------
    features
        Shape (n, d): scaled features of the patch around each pixel.
    pixels
        Shape (n, 2): row and column of each pixel.
    """

    features: Float[np.ndarray, "n d"]
    pixels: Float[np.ndarray, "n 2"]

    def r2(
        self,
        measured: Int[np.ndarray, " m"],
        held_out: Int[np.ndarray, " h"],
        values: Float[np.ndarray, "n p"],
        *,
        patch_only: bool = False,
    ) -> Float[np.ndarray, " p"]:
        """R² of each column over the held-out pixels, predicted from the measured ones.

        Parameters
        ----------
        measured, held_out
            Rows of measured and of held-out pixels.
        values
            Shape (n, p): values of all pixels.
        patch_only
            Whether the prediction uses the patch alone, without the position.
        """
        error, variance = self.errors(measured, held_out, values, patch_only=patch_only)
        return np.asarray(1 - error / variance)

    def errors(
        self, measured: Int[np.ndarray, " m"], held_out: Int[np.ndarray, " h"], values: np.ndarray, *, patch_only: bool = False
    ) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Mean squared error and variance of each column over the held-out pixels."""
        truth = values[held_out]
        error = ((truth - self._predict(measured, held_out, values[measured], patch_only)) ** 2).mean(axis=0)
        return error, truth.var(axis=0)

    def fit(
        self, measured: Int[np.ndarray, " m"], values: Float[np.ndarray, "m p"], *, patch_only: bool = False
    ) -> tuple[PlaceKernel, float, Float[np.ndarray, "m p"]]:
        """Kernel and noise with the largest marginal likelihood of the measured loops, and the weights of a prediction."""
        centred = values - values.mean(axis=0)
        best, chosen = -np.inf, None
        for share, patch_length, position_length in _grid(patch_only):
            kernel = PlaceKernel(self.features, self.pixels, share, patch_length, position_length)
            prior = kernel(measured, measured)
            for noise in NOISES:
                root = cholesky(prior + noise * np.eye(len(prior)), lower=True)
                weights = cho_solve((root, True), centred)
                # Likelihood with the scale of the values at its maximum.
                scale = (centred * weights).sum() / centred.size
                likelihood = -0.5 * centred.size * np.log(scale) - centred.shape[1] * np.log(np.diag(root)).sum()
                if likelihood > best:
                    best, chosen = likelihood, (kernel, noise, weights)
        assert chosen is not None
        return chosen

    def _predict(self, measured: np.ndarray, held_out: np.ndarray, values: np.ndarray, patch_only: bool) -> np.ndarray:
        kernel, _, weights = self.fit(measured, values, patch_only=patch_only)
        return np.asarray(kernel(held_out, measured) @ weights + values.mean(axis=0))


def _grid(patch_only: bool) -> list[tuple[float, float, float]]:
    if patch_only:
        return [(1.0, length, 1.0) for length in PATCH_LENGTHS]
    return list(product(SHARES, PATCH_LENGTHS, POSITION_LENGTHS_PX))


def pixel_features(image: Float[np.ndarray, "rows cols"], window_px: int = WINDOW_PX) -> Float[np.ndarray, "n d"]:
    """Scaled principal components of the patch around each pixel, in raster order; the image is mirrored at its border."""
    low, high = np.percentile(image, [1, 99])
    padded = np.pad(((image - low) / (high - low)).clip(0, 1), window_px // 2, mode="reflect")
    patches = sliding_window_view(padded, (window_px, window_px)).reshape(image.size, -1)
    centred = patches - patches.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return standardised(centred @ axes[:, ::-1][:, :COMPONENTS])

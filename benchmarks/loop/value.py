"""How well the measured loops predict the effect of the microstructure on loops everywhere else in the frame."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from agent.recommendation.similarity_kernel import PlaceKernel
from benchmarks.loop.microscope import Sample, Visit
from benchmarks.loop.prediction import pixel_features
from instrument_adapters.scan import Scan
from simulators.physics.dart import DartRecording
from simulators.physics.hysteresis import expected_latents

PARAMETERS = ("coercive_plus_V", "coercive_minus_V")
SHARES = (0.3, 0.6, 0.9)
PATCH_LENGTHS = (0.5, 1.0, 2.0)
POSITION_LENGTHS_PX = (20.0, 60.0)
# Variance of loops at one position relative to the variance of their expectation over the frame: 2 on walls with an η² of 0.35,
# far more elsewhere. Smaller values are excluded, since few and scattered loops would be overfitted.
NOISES = (4.0, 8.0, 16.0, 32.0, 64.0, 256.0)
_LATENTS = (1, 2)  # columns of `expected_latents` that belong to `PARAMETERS`
_HELD_OUT = 500


class Judge:
    """Evaluates loops by Gaussian-process regression on patch and position in the first scan, the same for all policies.

    The kernel is that of `benchmarks.loop.prediction`; share, lengths and noise maximise the marginal likelihood of the measured
    loops. Positions are corrected for drift: a loop belongs to the pixel at which the tip was closest to it. The predicted
    quantity is the true expectation, without noise, at 500 random pixels, minus its mean: parameters of recorded loops have an
    offset of some tenths of a volt, which does not depend on the position.

    Parameters
    ----------
    sample
        Sample whose truth is used.
    scan, recording
        First scan, and its recording with the true positions.
    """

    def __init__(self, sample: Sample, scan: Scan, recording: DartRecording) -> None:
        image = scan.channels["Amplitude1Retrace"].astype(np.float64)
        self._features = pixel_features(image)
        self._pixels = np.argwhere(np.ones(image.shape, bool)).astype(np.float64)
        places = recording.true_xy_m.reshape(-1, 2)
        self._nearest = cKDTree(places)
        self._held_out = np.random.default_rng(sample.config.seed).choice(len(places), _HELD_OUT, replace=False)
        loop = sample.config.spectroscopy.loop
        latents = expected_latents(sample.surface.truth_at(places[self._held_out]), loop)[:, _LATENTS]
        self._expected = latents * [loop.plus_spread_V, loop.minus_spread_V] + [loop.plus_V, loop.minus_V]

    def r2(self, visits: Sequence[Visit]) -> float:
        """Mean R² of the two coercive biases, predicted from the successful loops of `visits`; 0 if fewer than three."""
        good = [one for one in visits if one.values]
        if len(good) < 3:
            return 0.0
        rows = self._nearest.query([one.true_m for one in good])[1]
        predicted = self.predict(rows, np.array([[one.values[name] for name in PARAMETERS] for one in good]))
        error = (predicted - self._expected).var(axis=0)
        return float((1 - error / self._expected.var(axis=0)).mean())

    def predict(self, rows: Int[np.ndarray, " m"], values: Float[np.ndarray, "m p"]) -> Float[np.ndarray, "h p"]:
        """Predicted values at the held-out pixels, from the values at the pixels `rows`."""
        mean, scale = values.mean(axis=0), values.std(axis=0)
        centred = (values - mean) / scale
        best, weights, kernel = -np.inf, centred, None
        for share, patch, position in product(SHARES, PATCH_LENGTHS, POSITION_LENGTHS_PX):
            candidate = PlaceKernel(self._features, self._pixels, share, patch, position)
            variances, axes = np.linalg.eigh(candidate(rows, rows))
            along = axes.T @ centred
            for noise in NOISES:
                total = variances + noise
                power = (along**2 / total[:, None]).sum() / along.size  # scale of the values at its maximum
                likelihood = -0.5 * along.size * np.log(power) - 0.5 * along.shape[1] * np.log(total).sum()
                if likelihood > best:
                    best, weights, kernel = likelihood, axes @ (along / total[:, None]), candidate
        assert kernel is not None
        return np.asarray(mean + scale * (kernel(self._held_out, rows) @ weights))

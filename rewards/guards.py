"""Guards: tests that a candidate must pass to be chosen. A rejected candidate stays in the record, with the reason."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from rewards.base import Mixture, Representation, Score
from rewards.closed_form import smallest_eigenvalue


class GuardSettings(BaseModel):
    """Thresholds of the guards.

    Parameters
    ----------
    collapse_below
        Smallest allowed eigenvalue of the latent covariance; it is 1 for the prior, and near 0 if a direction collapsed.
    elbo_gap_per_px
        Largest allowed gap in held-out ELBO, in nats per pixel, to the best seed of the same configuration; a seed beyond it is
        stuck. On real scans, seeds differ by less than 0.002, and stuck ones by 0.005 to 0.05. With five seeds or more, the gap
        may be at least six times their scatter (`scatter`), since the worst of many seeds lies further off by chance.
    min_points
        Smallest number of points that the density filter must leave.
    component_below
        Smallest allowed eigenvalue of a component's covariance, relative to the covariance of the whole mixture; below it the
        component is degenerate. The fit adds 1e-6 to every eigenvalue, half of the default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collapse_below: float = Field(default=0.25, ge=0)
    elbo_gap_per_px: float = Field(default=0.004, gt=0)
    min_points: int = Field(default=100, ge=10)
    component_below: float = Field(default=2e-6, ge=0, lt=1)


_SEEDS_WITH_SCATTER = 5
_SCATTERS = 6.0
_HALF_NORMAL = 2.5  # standard deviation over the median absolute deviation of a Gaussian's upper half


def guard_seeds(
    representations: Sequence[Representation], survivors: Sequence[int], settings: GuardSettings = GuardSettings()
) -> list[str | None]:
    """Reason to reject each seed of a configuration, or None if it passes.

    Parameters
    ----------
    representations
        The seeds of one configuration (same window, invariance and points). Plain families are not trained, so only the tests of
        the latents apply to them.
    survivors
        Number of points that the density filter leaves in each.
    """
    elbos = np.array([r.elbo_per_px for r in representations])
    finite = elbos[np.isfinite(elbos)]
    best = float(np.max(finite, initial=-np.inf))
    limit = max(settings.elbo_gap_per_px, _SCATTERS * scatter(finite))
    return [_reason(r, n, best, limit, settings) for r, n in zip(representations, survivors, strict=True)]


def scatter(elbos: Float[np.ndarray, " s"]) -> float:
    """Robust standard deviation of the seeds that are not stuck, from the median absolute deviation of the better half.

    It is valid as long as fewer than three quarters are stuck, and 0 with fewer than five seeds. With a scatter of 0.001 nats per
    pixel, the limit of 0.004 alone would reject a healthy seed in 12 % of sets of ten and 33 % of sets of twenty; with this
    scatter, it does so in 4 % and 9 %, and misses 1 % of the seeds that are stuck by 0.01 or more (2,000 simulated sets, a
    quarter of the seeds stuck).
    """
    if len(elbos) < _SEEDS_WITH_SCATTER:
        return 0.0
    better = np.sort(elbos)[len(elbos) // 2 :]
    return float(_HALF_NORMAL * np.median(np.abs(better - np.median(better))))


def guard_mixture(score: Score, n: int, settings: GuardSettings = GuardSettings()) -> str | None:
    """Reason to reject a scored candidate because of its mixture, or None if it passes.

    Parameters
    ----------
    score
        Score of the candidate; without a mixture it passes.
    n
        Number of points to which the mixture was fitted.
    """
    return None if score.mixture is None else degenerate(score.mixture, n, settings)


def degenerate(mixture: Mixture, n: int, settings: GuardSettings = GuardSettings()) -> str | None:
    """Why a component of the mixture is degenerate, or None: the likelihood is unbounded on a point, a line or a plane.

    A component is degenerate if it has fewer than d + 1 points, which any flat covariance fits, or if it is flat: its covariance,
    relative to that of the whole mixture, has an eigenvalue below `settings.component_below`. Neither depends on an affine map of
    the latents. Real types can be very flat: among 42 candidates on a real scan, the PCA of amplitude and phase had valid
    components with eigenvalues of 3e-6. The limit therefore lies just above the floor of the fit.
    """
    d = mixture.means.shape[1]
    points = n * mixture.weights
    if points.min() < d + 1:
        return (
            f"degenerate: component {int(points.argmin())} of {mixture.n_components} rests on {points.min():.1f} points, "
            f"at least {d + 1} are needed in {d} dimensions"
        )
    flattest = np.array([np.linalg.eigvalsh(c)[0] for c in _relative_covariances(mixture)])
    if flattest.min() < settings.component_below:
        return (
            f"degenerate: component {int(flattest.argmin())} of {mixture.n_components} has {flattest.min():.1e} of the total "
            f"variance in its flattest direction, below {settings.component_below:g}"
        )
    return None


def _relative_covariances(mixture: Mixture) -> Float[np.ndarray, "K d d"]:
    """Covariances of the components, in coordinates in which the covariance of the whole mixture is the unit matrix."""
    offset = mixture.means - mixture.weights @ mixture.means
    between = offset[:, :, None] * offset[:, None, :]
    whole = np.einsum("k,kij->ij", mixture.weights, mixture.covariances + between)
    inverse = np.linalg.inv(np.linalg.cholesky(whole))
    return np.asarray(inverse @ mixture.covariances @ inverse.T)


def _reason(
    representation: Representation, survivors: int, best_elbo: float, limit: float, settings: GuardSettings
) -> str | None:
    if representation.trained and not (np.isfinite(representation.elbo_per_px) and np.isfinite(representation.z).all()):
        return "diverged: the training loss is not finite"
    if not np.isfinite(representation.z).all():
        return "not finite: the latents contain values that are not finite numbers"
    narrowest = smallest_eigenvalue(representation.z)
    if narrowest < settings.collapse_below:
        return f"collapsed: latent variance {narrowest:.3f} in the narrowest direction, below {settings.collapse_below}"
    gap = best_elbo - representation.elbo_per_px  # NaN, which is no gap, if nothing was trained
    if gap > limit:
        return f"stuck: held-out ELBO {gap:.4f} nats per pixel below that of the best seed, more than {limit:.2g}"
    if survivors < settings.min_points:
        return f"too few points: {survivors} left by the density filter, at least {settings.min_points} needed"
    return None

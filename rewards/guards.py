"""What is wrong with a representation: reasons to keep it out of the choice. It stays in the record, with the reason."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from rewards.base import Mixture, Representation, Score
from rewards.variance import smallest_eigenvalue


class GuardSettings(BaseModel):
    """When a representation is not trusted.

    Parameters
    ----------
    collapse_below
        Smallest eigenvalue of the latent covariance; the prior's is 1, a collapsed direction's is near 0.
    elbo_gap_per_px
        A seed whose held-out ELBO per pixel is further than this below the best seed of its configuration got stuck. On real
        scans seeds differ by less than 0.002 nats a pixel, the ones that got stuck by 0.005 to 0.05. Of five seeds or more the
        limit is at least six times their own scatter (`scatter`): the more seeds, the further the worst of them lies by chance.
    min_points
        Fewest points left by the density filter.
    component_below
        A mixture's component is degenerate when its covariance, relative to that of the whole mixture, has an eigenvalue below
        this. The fit adds 1e-6 to each, so less than half of this one would be data.
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
    """For each seed of one configuration, the reason to leave it out, or None.

    Parameters
    ----------
    representations
        The seeds of one configuration (same window, invariance and points). A plain family, which is not trained, is held
        to what concerns its latents only.
    survivors
        Points left in each by the density filter.
    """
    elbos = np.array([r.elbo_per_px for r in representations])
    finite = elbos[np.isfinite(elbos)]
    best = float(np.max(finite, initial=-np.inf))
    limit = max(settings.elbo_gap_per_px, _SCATTERS * scatter(finite))
    return [_reason(r, n, best, limit, settings) for r, n in zip(representations, survivors, strict=True)]


def scatter(elbos: Float[np.ndarray, " s"]) -> float:
    """Standard deviation of the seeds that did not get stuck, robustly: from the better half's median absolute deviation.

    So it stands as long as fewer than three quarters got stuck. 0 for fewer than five seeds, which do not say. With a scatter of
    0.001 nats a pixel, a limit of 0.004 alone leaves out a healthy seed in 12 % of sets of ten and 33 % of sets of twenty; this
    one in 4 % and 9 %, and it misses 1 % of seeds that got stuck by 0.01 or more (2,000 simulated sets, a quarter stuck).
    """
    if len(elbos) < _SEEDS_WITH_SCATTER:
        return 0.0
    better = np.sort(elbos)[len(elbos) // 2 :]
    return float(_HALF_NORMAL * np.median(np.abs(better - np.median(better))))


def guard_mixture(score: Score, n: int, settings: GuardSettings = GuardSettings()) -> str | None:
    """The reason not to trust a score for the mixture that it rests on, or None; to be asked once a candidate is judged.

    Parameters
    ----------
    score
        One without a mixture passes.
    n
        On how many points the mixture was fitted.
    """
    return None if score.mixture is None else degenerate(score.mixture, n, settings)


def degenerate(mixture: Mixture, n: int, settings: GuardSettings = GuardSettings()) -> str | None:
    """Why a component of the mixture is no cluster, or None: a likelihood grows without bound on a point, a line or a plane.

    A component is degenerate on fewer than d + 1 points, which any flat covariance fits, or where it is flat: its covariance
    relative to that of the whole mixture has an eigenvalue below `settings.component_below`. Neither depends on an affine map of
    the latents. Real types can be very flat (of 42 candidates on a real scan, the principal components of amplitude and phase had
    healthy components with eigenvalues of 3e-6), so the limit is where the floor of the fit begins and no higher.
    """
    d = mixture.means.shape[1]
    points = n * mixture.weights
    if points.min() < d + 1:
        return (
            f"degenerate: component {int(points.argmin())} of {mixture.n_components} rests on {points.min():.1f} points, "
            f"in {d} dimensions at least {d + 1} are needed"
        )
    flattest = np.array([np.linalg.eigvalsh(c)[0] for c in _relative_covariances(mixture)])
    if flattest.min() < settings.component_below:
        return (
            f"degenerate: component {int(flattest.argmin())} of {mixture.n_components} has {flattest.min():.1e} of the whole's "
            f"variance in its flattest direction, below {settings.component_below:g}"
        )
    return None


def _relative_covariances(mixture: Mixture) -> Float[np.ndarray, "K d d"]:
    """Covariances of the components where the mixture's own, within and between components, is the unit matrix."""
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
        return "not finite: the latents hold values that are not finite numbers"
    narrowest = smallest_eigenvalue(representation.z)
    if narrowest < settings.collapse_below:
        return f"collapsed: latent variance {narrowest:.3f} in the narrowest direction, below {settings.collapse_below}"
    gap = best_elbo - representation.elbo_per_px  # NaN, and so no gap, where nothing was trained
    if gap > limit:
        return f"stuck: held-out ELBO {gap:.4f} nats a pixel below the best seed's, more than {limit:.2g}"
    if survivors < settings.min_points:
        return f"too few points: {survivors} left by the density filter, at least {settings.min_points} needed"
    return None

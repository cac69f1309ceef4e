"""What is wrong with a representation: reasons to keep it out of the choice. It stays in the record, with the reason."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rewards.base import Representation
from rewards.variance import smallest_eigenvalue


class GuardSettings(BaseModel):
    """When a representation is not trusted.

    Parameters
    ----------
    collapse_below
        Smallest eigenvalue of the latent covariance; the prior's is 1, a collapsed direction's is near 0.
    elbo_gap_per_px
        A seed whose held-out ELBO per pixel is further than this below the best seed of its configuration got stuck. On real
        scans seeds differ by less than 0.002 nats a pixel, the ones that got stuck by 0.005 to 0.05.
    min_points
        Fewest points left by the density filter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collapse_below: float = Field(default=0.25, ge=0)
    elbo_gap_per_px: float = Field(default=0.004, gt=0)
    min_points: int = Field(default=100, ge=10)


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
    best = float(np.max(elbos[np.isfinite(elbos)], initial=-np.inf))
    return [_reason(r, n, best, settings) for r, n in zip(representations, survivors, strict=True)]


def _reason(representation: Representation, survivors: int, best_elbo: float, settings: GuardSettings) -> str | None:
    if representation.trained and not (np.isfinite(representation.elbo_per_px) and np.isfinite(representation.z).all()):
        return "diverged: the training loss is not finite"
    if not np.isfinite(representation.z).all():
        return "not finite: the latents hold values that are not finite numbers"
    narrowest = smallest_eigenvalue(representation.z)
    if narrowest < settings.collapse_below:
        return f"collapsed: latent variance {narrowest:.3f} in the narrowest direction, below {settings.collapse_below}"
    gap = best_elbo - representation.elbo_per_px  # NaN, and so no gap, where nothing was trained
    if gap > settings.elbo_gap_per_px:
        return f"stuck: held-out ELBO {gap:.4f} nats a pixel below the best seed's, more than {settings.elbo_gap_per_px}"
    if survivors < settings.min_points:
        return f"too few points: {survivors} left by the density filter, at least {settings.min_points} needed"
    return None

"""Stability: are the same types found again from other points, in another part of the scan, or with another seed?

Each is measured by the adjusted Rand index (ARI; Hubert and Arabie, J. Classif. 2, 193, 1985) of two labellings of the same
points: 1 for identical partitions, 0 for chance agreement.

Stable clusters need not be the true types. Alone, this reward chooses vanilla VAEs, whose clusters are orientations, which are
reproducible. On simulated scans with known types its choice reached an ARI of 0.290, a random configuration 0.335. It is meant to
be combined with other rewards (`rewards.composite`).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import adjusted_rand_score

from rewards.base import Mixture, Representation, Score
from rewards.mixture.em import EMSettings, Whitening, fit_mixture
from rewards.mixture.gmm import gmm

_RESAMPLES = 8
_REFIT_RESTARTS = 3


def pairwise_agreement(labellings: Sequence[Int[np.ndarray, " n"]]) -> float:
    """Mean ARI of all pairs of labellings of the same points, for instance from the seeds of one configuration.

    Raises
    ------
    ValueError
        If there are fewer than two labellings, or their lengths differ.
    """
    if len(labellings) < 2 or len({len(labels) for labels in labellings}) > 1:
        lengths = [len(labels) for labels in labellings]
        raise ValueError(f"labellings have the lengths {lengths}; give at least two, all of the same points")
    return float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(labellings, 2)]))


def refit(z: Float[np.ndarray, "n d"], rows: Int[np.ndarray, " m"], k: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Labels of all points from a mixture of k Gaussians fitted to the points in `rows`, which may be repeated."""
    whitening = Whitening.of(z)
    x = whitening.apply(z)
    return fit_mixture(x[rows], k, rng, EMSettings(restarts=_REFIT_RESTARTS)).mixture.labels(x)


def bootstrap_agreement(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    k: int,
    rng: np.random.Generator,
    resamples: int = _RESAMPLES,
) -> float:
    """Mean ARI of `labels` and the labels from mixtures refitted to bootstrap resamples of the points."""
    n = len(z)
    refitted = [refit(z, rng.integers(n, size=n), k, rng) for _ in range(resamples)]
    return float(np.mean([adjusted_rand_score(labels, other) for other in refitted]))


def halves_agreement(
    z: Float[np.ndarray, "n d"],
    halves: Sequence[Bool[np.ndarray, " n"]],
    k: int,
    rng: np.random.Generator,
) -> float:
    """Mean ARI of the labellings of all points by two mixtures, one fitted to each side of a split; averaged over `halves`.

    Splits with fewer than k points on one side are skipped; 0 if all are.
    """
    scores = []
    for half in halves:
        sides = np.flatnonzero(half), np.flatnonzero(~half)
        if min(len(side) for side in sides) >= k:
            scores.append(adjusted_rand_score(*(refit(z, side, k, rng) for side in sides)))
    return float(np.mean(scores)) if scores else 0.0


def spatial_halves(points_rc: Int[np.ndarray, "n 2"]) -> list[Bool[np.ndarray, " n"]]:
    """Membership of each point in the upper half and in the left half of the scan, divided at the median row and column."""
    return [points_rc[:, axis] < np.median(points_rc[:, axis]) for axis in (0, 1)]


def stability(
    representation: Representation,
    *,
    rng: np.random.Generator,
    criterion: str = "bic_gain",
    components: Sequence[int] = range(1, 11),
    restarts: int = 10,
    resamples: int = _RESAMPLES,
) -> Score:
    """Mean ARI of the clusters that `criterion` prefers and those found in bootstrap resamples of the points.

    A single cluster is always reproduced, so the value for K = 1 is 0, not 1.

    Parameters
    ----------
    representation
        Representation of n points.
    rng
        Random generator of the mixture fits and the resamples.
    criterion, components, restarts
        Options of the mixture (`rewards.mixture.gmm`) whose clusters are tested; refits have its number of components.
    resamples
        Number of bootstrap resamples, at least 1.

    Raises
    ------
    ValueError
        If `resamples` is less than 1.
    """
    fitted = gmm(representation, rng=rng, criterion=criterion, components=components, restarts=restarts)
    assert fitted.mixture is not None
    agreement = reproducibility(representation, fitted.mixture, rng=rng, resamples=resamples)
    return Score(agreement["stability"], dict(fitted.metrics) | agreement, fitted.mixture)


def reproducibility(
    representation: Representation, mixture: Mixture, *, rng: np.random.Generator, resamples: int = _RESAMPLES
) -> dict[str, float]:
    """How well the clusters of `mixture` are reproduced, whichever reward found them.

    Returns
    -------
    dict
        `stability` (bootstrap) and `stability_halves` (upper against lower and left against right half of the scan); 0 for K = 1.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; use 1 or more")
    z, k = representation.z, mixture.n_components
    if k == 1:
        return {"stability": 0.0, "stability_halves": 0.0}
    halves = spatial_halves(representation.points_rc)
    return {
        "stability": bootstrap_agreement(z, mixture.labels(z), k, rng, resamples),
        "stability_halves": halves_agreement(z, halves, k, rng),
    }

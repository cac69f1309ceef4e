"""Stability: would the same types be found again, from other points, in another part of the scan, by another seed?

Each question is answered by the adjusted Rand index (ARI; Hubert and Arabie, J. Classif. 2, 193, 1985) of two labellings of the
same points: 1 when they are the same partition, 0 when no more alike than by chance.

Stable is not true. Alone, this reward picks vanilla VAEs: their clusters are orientations, and orientations are reproducible. On
simulated scans of known types its pick reached an ARI of 0.290 where a random configuration reaches 0.335. It belongs into a
combination with others (`rewards.composite`).
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


def pairwise_agreement(labellings: Sequence[Int[np.ndarray, " n"]]) -> float:
    """Mean ARI of all pairs of labellings of the same points, as of the seeds of one configuration.

    Raises
    ------
    ValueError
        If there are fewer than two, or they are not of equal length.
    """
    if len(labellings) < 2 or len({len(labels) for labels in labellings}) > 1:
        lengths = [len(labels) for labels in labellings]
        raise ValueError(f"agreement needs two labellings or more of the same points, got lengths {lengths}")
    return float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(labellings, 2)]))


def refit(
    z: Float[np.ndarray, "n d"], rows: Int[np.ndarray, " m"], k: int, rng: np.random.Generator, restarts: int = 3
) -> Int[np.ndarray, " n"]:
    """Labels of all points by a mixture of k Gaussians that has seen `rows` only; repeated rows count repeatedly."""
    whitening = Whitening.of(z)
    x = whitening.apply(z)
    return fit_mixture(x[rows], k, rng, EMSettings(restarts=restarts)).mixture.labels(x)


def bootstrap_agreement(
    z: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    k: int,
    rng: np.random.Generator,
    resamples: int = _RESAMPLES,
    restarts: int = 3,
) -> float:
    """Mean ARI of `labels` and those of mixtures refitted to resamples of the points, drawn with replacement."""
    n = len(z)
    again = [refit(z, rng.integers(n, size=n), k, rng, restarts) for _ in range(resamples)]
    return float(np.mean([adjusted_rand_score(labels, other) for other in again]))


def halves_agreement(
    z: Float[np.ndarray, "n d"],
    halves: Sequence[Bool[np.ndarray, " n"]],
    k: int,
    rng: np.random.Generator,
    restarts: int = 3,
) -> float:
    """Mean over `halves` of the ARI of two labellings of all points: one learnt from the half, one from the rest.

    Halves that leave fewer than k points on one side say nothing and are passed over; 0 where all do.
    """
    found = []
    for half in halves:
        sides = np.flatnonzero(half), np.flatnonzero(~half)
        if min(len(side) for side in sides) >= k:
            found.append(adjusted_rand_score(*(refit(z, side, k, rng, restarts) for side in sides)))
    return float(np.mean(found)) if found else 0.0


def spatial_halves(points_rc: Int[np.ndarray, "n 2"]) -> list[Bool[np.ndarray, " n"]]:
    """Upper and left half of the scan: points beyond the median row and column are the others."""
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

    One cluster is reproduced by anything, so K = 1 is worth 0 and not 1.

    Parameters
    ----------
    representation
        With n points.
    rng
        Seeds the mixtures, draws the resamples.
    criterion, components, restarts
        Of the mixture whose clusters are looked at; refits take its K.
    resamples
        Bootstrap resamples, at least 1.

    Raises
    ------
    ValueError
        If there are no resamples.
    """
    fitted = gmm(representation, rng=rng, criterion=criterion, components=components, restarts=restarts)
    assert fitted.mixture is not None
    found = reproducibility(representation, fitted.mixture, rng=rng, resamples=resamples)
    return Score(found["stability"], dict(fitted.metrics) | found, fitted.mixture)


def reproducibility(
    representation: Representation, mixture: Mixture, *, rng: np.random.Generator, resamples: int = _RESAMPLES
) -> dict[str, float]:
    """How well the clusters of `mixture` are found again, whatever reward found them.

    Returns
    -------
    `stability` (bootstrap) and `stability_halves` (mean over upper and lower, left and right halves of the scan); 0 for K = 1.
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

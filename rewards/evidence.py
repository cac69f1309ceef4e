"""Measured results as evidence: how well the clusters of a representation predict them, and the weight of this in the choice.

A good partition predicts the next loop. Each result is predicted from the other results of its cluster (leave-one-out R²), so a
partition gains nothing from more clusters than the results can distinguish. If a cluster holds few results, the prediction
shrinks towards the mean of all other results by the credibility formula (H. Bühlmann, ASTIN Bulletin 4, 199, 1967): n results
have the weight n / (n + κ), κ = (1 - η²) / η², where η² is the share of the variance that clusters are expected to explain.

Each column of values is replaced by its normal scores (B. L. van der Waerden, Indag. Math. 14, 453, 1952). R² then depends
neither on units nor on whether a quantity or its logarithm is reported, and a spike counts no more than any largest value.
Columns that are functions of each other count twice; which parameters make up a result is up to the instrument.

Not to be confused with η² of the results, which grows with the number of clusters, whatever these are. Reasons and measurements:
docs/decisions/0016-results-as-evidence.md.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree
from scipy.special import ndtri

from rewards.base import MeasuredResults, Mixture, Representation, Score
from rewards.mixture.gmm import gmm

EXPECTED_SHARE = 0.15  # η²: 0.2 to 0.35 on real loops, 0.06 to 0.17 on simulated ones
NEAR_PX = 5.0  # the default spacing of key points; R² is constant up to this distance and falls beyond it
_FEWEST_RESULTS = 3


class EvidenceSettings(BaseModel):
    """How measured results influence the choice of the representation.

    Parameters
    ----------
    enabled
        Whether they do. If not, they are only recorded.
    near_px
        Results farther than this from every key point are left out, in pixels.
    fewest_results
        Number of results from which on they count; with fewer, the reward alone decides.
    half_weight_results
        Number of results at which results and reward count equally.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    near_px: float = Field(default=NEAR_PX, ge=0)
    fewest_results: int = Field(default=20, ge=3)
    half_weight_results: float = Field(default=50.0, gt=0)


def evidence_weight(n_results: int, settings: EvidenceSettings) -> float:
    """Weight of the evidence against the reward: n / (n + `half_weight_results`), or 0 with too few results.

    The reliability of a mean of n values grows in this way (C. Spearman and W. Brown, Br. J. Psychol. 3, 271 and 296, 1910).
    """
    if not settings.enabled or n_results < settings.fewest_results:
        return 0.0
    return n_results / (n_results + settings.half_weight_results)


def blended(intrinsic: Float[np.ndarray, " n"], r2: Float[np.ndarray, " n"], weight: float) -> Float[np.ndarray, " n"]:
    """(1 - weight) times the intrinsic rewards plus weight times R², both standardised over the candidates.

    Parameters
    ----------
    intrinsic, r2
        Shape (n,): finite values of all candidates that are compared.
    weight
        Weight of R², from 0 to 1; at 0 the intrinsic rewards are returned unchanged.

    Returns
    -------
    ndarray
        Shape (n,): in standard deviations over the candidates. A quantity that is equal for all candidates counts as 0.

    Raises
    ------
    ValueError
        If the weight is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the evidence is {weight}; give a number between 0 and 1")
    if weight == 0:
        return np.asarray(intrinsic)
    return (1 - weight) * _standardised(intrinsic) + weight * _standardised(r2)


def nearby(results: MeasuredResults, points_rc: Int[np.ndarray, "n 2"], near_px: float = NEAR_PX) -> MeasuredResults:
    """Results with a key point within `near_px`; farther away, the microstructure may be a different one."""
    near = cKDTree(points_rc).query(results.points_rc)[0] <= near_px
    return replace(results, points_rc=results.points_rc[near], values=results.values[near])


def predicted_share(representation: Representation, mixture: Mixture, results: MeasuredResults) -> float:
    """Leave-one-out R² of `results`, each assigned to the clusters of its nearest key point.

    Parameters
    ----------
    representation
        Representation of the key points: preferably all, since the density filter may have removed a measured one.
    mixture
        Mixture whose components are the clusters, in the coordinates of `representation.z`.
    results
        Results close to key points (see `nearby`).
    """
    if not len(results.values):
        return 0.0
    nearest = cKDTree(representation.points_rc).query(results.points_rc)[1]
    return leave_one_out_r2(mixture.responsibilities(representation.z[nearest]), results.values)


def leave_one_out_r2(
    memberships: Float[np.ndarray, "m K"] | Int[np.ndarray, " m"],
    values: Float[np.ndarray, "m p"],
    expected_share: float = EXPECTED_SHARE,
) -> float:
    """Share of the variance of the results that is predicted by the other results of the same clusters; at most 1.

    With y the normal scores, ȳ_i the mean of all results but i, and S_ik, N_ik the sum and the number of the results of cluster
    k without i, the prediction of y_i is Σ_k τ_ik (S_ik + κ ȳ_i) / (N_ik + κ), and R² = 1 - Σ (y_i - prediction)² / Σ (y_i -
    ȳ_i)² over all results and columns. A result that is alone in its cluster is predicted by the mean of all others; a single
    cluster, or one cluster per result, therefore has exactly 0. Random clusters have an expected R² between -1/(4κ) and 0,
    whatever their number.

    Parameters
    ----------
    memberships
        Shape (m, K), rows summing to 1: assignment probabilities τ of each result to each cluster. Or shape (m,): the cluster of
        each result.
    values
        Shape (m, p): finite values of the results.
    expected_share
        η² of the module's introduction, between 0 and 1.

    Returns
    -------
    float
        R²; 0 with fewer than three results, or if no column varies.

    Raises
    ------
    ValueError
        If a number is not finite or `expected_share` is out of range.
    """
    if not 0 < expected_share < 1:
        raise ValueError(f"expected_share is {expected_share}; give a number greater than 0 and less than 1")
    tau = _memberships(memberships, values)
    y = normal_scores(values)
    m = len(y)
    if m < _FEWEST_RESULTS or not y.shape[1]:
        return 0.0
    kappa = (1 - expected_share) / expected_share
    mean_of_others = (y.sum(axis=0) - y) / (m - 1)
    count = tau.sum(axis=0) - tau
    total = tau.T @ y - tau[:, :, None] * y[:, None]
    in_cluster = (total + kappa * mean_of_others[:, None]) / (count + kappa)[:, :, None]
    error = y - np.einsum("mk,mkp->mp", tau, in_cluster)
    return float(1 - (error**2).sum() / ((y - mean_of_others) ** 2).sum())


def normal_scores(values: Float[np.ndarray, "m p"]) -> Float[np.ndarray, "m q"]:
    """Φ⁻¹((rank - 1/2) / m) in each column; equal values share their mean rank, and columns without variation are left out."""
    m = len(values)
    columns = [column for column in values.T if m and (column != column[0]).any()]
    ranks = [sum(np.searchsorted(np.sort(c), c, side) for side in ("left", "right")) / 2 for c in columns]
    return np.asarray(ndtri(np.reshape(ranks, (len(ranks), m)).T / max(m, 1)))


def evidence(
    representation: Representation,
    *,
    rng: np.random.Generator,
    criterion: str = "bic_gain",
    components: Sequence[int] = range(1, 11),
    restarts: int = 10,
    near_px: float = NEAR_PX,
) -> Score:
    """Leave-one-out R² of the measured results, predicted by the clusters that `criterion` prefers; 0 without results.

    As a reward it stands alone, however few the results; by default, reward and results are weighted (`evidence_weight`).

    Parameters
    ----------
    representation
        Representation with its measured results, if any.
    rng
        Random generator of the mixture fits.
    criterion, components, restarts
        Options of the mixture, see `rewards.mixture.gmm`.
    near_px
        Results farther than this from every key point are left out, in pixels. The metric `results_far` counts them.
    """
    fitted = gmm(representation, rng=rng, criterion=criterion, components=components, restarts=restarts)
    assert fitted.mixture is not None
    given = representation.results
    results = None if given is None else nearby(given, representation.points_rc, near_px)
    r2 = 0.0 if results is None else predicted_share(representation, fitted.mixture, results)
    used, far = (0, 0) if given is None or results is None else (len(results.values), len(given.values) - len(results.values))
    metrics = {"R2_results": r2, "results_used": float(used), "results_far": float(far)}
    return Score(r2, dict(fitted.metrics) | metrics, fitted.mixture)


def _standardised(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    spread = np.ptp(values)
    return np.asarray((values - values.mean()) / values.std()) if spread > 0 else np.zeros(len(values))


def _memberships(memberships: np.ndarray, values: np.ndarray) -> Float[np.ndarray, "m K"]:
    if memberships.ndim == 1:
        memberships = (memberships[:, None] == np.unique(memberships)).astype(np.float64)
    if not (np.isfinite(values).all() and np.isfinite(memberships).all()):
        raise ValueError("a value or a membership is not a finite number; leave out such results")
    return memberships

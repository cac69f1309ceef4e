"""Several criteria combined: rank sum, weighted sum, and Pareto front.

All functions take an array of n candidates and m criteria in which higher is better. `criteria_table` makes it from the
candidates' metrics and is the only place that changes signs. A criterion that a candidate lacks is NaN and counts as the
**worst**: no candidate is dropped, and none gains from what it did not report.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from rewards.metrics import bare, higher_is_better

#: Criteria by default. Of single criteria, NMI_rot and rotation_consistency had the highest rank correlations with the agreement
#: with true types on simulated surfaces: 0.78 and 0.58 among VAEs (benchmarks/results/reward_choice.md), 0.77 and 0.85 with plain
#: families (reward_choice_with_families.md). That of bic_gain was -0.33 and 0.55; per dimension, and combined, was not measured.
DEFAULT_CRITERIA = ("NMI_rot", "rotation_consistency", "bic_gain_per_d")


def criteria_table(
    candidates: Sequence[Mapping[str, float | None]], criteria: Sequence[str] = DEFAULT_CRITERIA
) -> Float[np.ndarray, "n m"]:
    """Criteria of each candidate, higher is better; NaN if a candidate has no finite value.

    Parameters
    ----------
    candidates
        Metrics of each candidate by name, as in `Score.metrics`.
    criteria
        Names of metrics. Metrics that are not in `METRICS` need a direction as prefix: "+contrast" or "-contrast".

    Raises
    ------
    UnknownMetricError
        If the direction of a criterion is neither known nor given.
    ValueError
        If no criterion is named, one is named twice, or no candidate has it.
    """
    names = [bare(c) for c in criteria]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"criteria are {list(criteria)}; name at least one, and each only once")
    signs = np.array([1.0 if higher_is_better(c) else -1.0 for c in criteria])
    raw = np.array([[np.nan if (v := c.get(name)) is None else v for name in names] for c in candidates], dtype=np.float64)
    table = np.where(np.isfinite(raw), raw, np.nan).reshape(-1, len(names)) * signs
    missing = [name for name, column in zip(names, table.T, strict=True) if len(candidates) and np.isnan(column).all()]
    if missing:
        raise ValueError(f"no candidate has the metric {', '.join(missing)}; use a reward that reports it")
    return np.asarray(table)


def rank_sum(table: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    """Sum of each candidate's ranks over the criteria, 1 the worst and n the best; ties share their mean rank.

    Invariant to any increasing map of a criterion, so units and outliers do not matter. The candidate with the largest sum is
    never dominated, since a candidate that is at least as good in every criterion and better in one has a larger sum. Ranks
    depend on which other candidates there are.
    """
    return np.asarray(rankdata(_missing_as(table, -np.inf), axis=0).sum(axis=1, dtype=np.float64))


def weighted_sum(table: Float[np.ndarray, "n m"], weights: Sequence[float] | None = None) -> Float[np.ndarray, " n"]:
    """Σ_j w_j (x_ij - mean_j) / std_j: weighted sum of the criteria, standardised over the candidates.

    Units and offsets do not matter, and weights refer to standard deviations. A criterion that is equal for all candidates counts
    as 0, a missing value as one standard deviation below the worst.

    Parameters
    ----------
    table
        Shape (n, m): higher is better, NaN if missing.
    weights
        Shape (m,): weights of 0 or more, by default all 1. Directions are already accounted for in the table.

    Raises
    ------
    ValueError
        If the number of weights is not the number of criteria, or one is negative or not finite.
    """
    w = np.ones(table.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (table.shape[1],) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"weights are {list(w)} for {table.shape[1]} criteria; give one weight of 0 or more for each")
    standardised = np.stack([_standardised(column) for column in table.T], axis=1)
    return np.asarray(standardised @ w)


def dominates(table: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, "n n"]:
    """True at (i, j) where candidate i is at least as good as j in every criterion, and better in one."""
    x = _missing_as(table, -np.inf)
    at_least = (x[:, None] >= x[None]).all(axis=2)
    return np.asarray(at_least & ~at_least.T)


def pareto_ranks(table: Float[np.ndarray, "n m"]) -> Int[np.ndarray, " n"]:
    """0 for the Pareto front, 1 for the front of the rest, and so on (non-dominated sorting; Deb et al. 2002)."""
    beaten_by = dominates(table)
    ranks = np.full(len(table), -1)
    for rank in range(len(table)):
        left = ranks < 0
        if not left.any():
            break
        ranks[left & ~beaten_by[left].any(axis=0)] = rank
    return ranks


def pareto_front(table: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """True for the candidates that no other dominates. Invariant to any increasing map of a criterion."""
    return np.asarray(~dominates(table).any(axis=0))


def _missing_as(table: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.isnan(table), value, table)


def _filled(column: np.ndarray) -> np.ndarray:
    """The column, with missing values set to one standard deviation (or 1) below the worst."""
    known = column[~np.isnan(column)]
    if not len(known):
        return np.zeros(len(column))
    return np.asarray(_missing_as(column, float(known.min() - (known.std() or 1.0))))


def _standardised(column: np.ndarray) -> np.ndarray:
    known = column[~np.isnan(column)]
    centre, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    # The standard deviation of equal numbers is not exactly 0, because of rounding.
    if spread <= 1e-12 * max(abs(centre), 1e-300):
        return np.where(np.isnan(column), -1.0 if len(known) else 0.0, 0.0)
    return np.asarray((_filled(column) - centre) / spread)

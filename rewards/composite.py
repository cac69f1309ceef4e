"""Several criteria at once: rank sums, weighted sums, and the Pareto front.

All functions work on a plain array of n candidates and m criteria in which higher is better; `criteria_table` makes one of the
candidates' metrics and turns the signs, here and nowhere else. A criterion that a candidate lacks is NaN there, and is **worst**:
no candidate is dropped, and none gains by what it did not report.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from rewards.metrics import bare, higher_is_better

#: What followed the truth best on simulated scans (docs/decisions/0018-rewards-library.md says which, and how far).
BEST_KNOWN = ("NMI_rot", "rotation_consistency", "bic_gain_per_d")


def criteria_table(
    candidates: Sequence[Mapping[str, float | None]], criteria: Sequence[str] = BEST_KNOWN
) -> Float[np.ndarray, "n m"]:
    """Each candidate's criteria, higher is better; NaN where a candidate has none, or no finite number.

    Parameters
    ----------
    candidates
        Metrics by name, as in `Score.metrics`.
    criteria
        Names of metrics. Those of the user's own get their direction before the name: "+contrast" or "-contrast".

    Raises
    ------
    UnknownMetricError
        If the direction of a criterion is neither known nor given.
    ValueError
        If no criterion is named, one is named twice, or none of the candidates has it.
    """
    names = [bare(c) for c in criteria]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"criteria are {list(criteria)}; name at least one, each once")
    signs = np.array([1.0 if higher_is_better(c) else -1.0 for c in criteria])
    raw = np.array([[np.nan if (v := c.get(name)) is None else v for name in names] for c in candidates], dtype=np.float64)
    table = np.where(np.isfinite(raw), raw, np.nan).reshape(-1, len(names)) * signs
    absent = [name for name, column in zip(names, table.T, strict=True) if len(candidates) and np.isnan(column).all()]
    if absent:
        raise ValueError(f"no candidate has the metric {', '.join(absent)}; the candidates' reward must report it")
    return np.asarray(table)


def rank_sum(table: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    """Sum over criteria of each candidate's rank, 1 the worst and n the best; ties share their mean rank.

    Unchanged by any increasing map of a criterion, so units and outliers do not matter. What it prefers is never dominated: who
    is at least as good in every criterion and better in one has the larger sum. Ranks do depend on who else stands for election.
    """
    return np.asarray(rankdata(_missing_as(table, -np.inf), axis=0).sum(axis=1, dtype=np.float64))


def weighted_sum(table: Float[np.ndarray, "n m"], weights: Sequence[float] | None = None) -> Float[np.ndarray, " n"]:
    """Σ_j w_j (x_ij - mean_j) / std_j: each criterion standardised by its mean and standard deviation over the candidates.

    So units and offsets do not matter, and weights are in standard deviations. A criterion that is equal for all says nothing
    and counts 0. A missing one counts as one standard deviation below the worst that is there.

    Parameters
    ----------
    table
        Shape (n, m), higher is better, NaN where missing.
    weights
        Shape (m,), none negative: directions are the table's business. All 1 by default.

    Raises
    ------
    ValueError
        If the weights do not fit the criteria, or one is negative or not finite.
    """
    w = np.ones(table.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (table.shape[1],) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"weights are {list(w)} for {table.shape[1]} criteria; give one of 0 or more for each")
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
    """True for the candidates that no other dominates. Unchanged by any increasing map of a criterion."""
    return np.asarray(~dominates(table).any(axis=0))


def _missing_as(table: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.isnan(table), value, table)


def _finite(column: np.ndarray) -> np.ndarray:
    """The column with what is missing one standard deviation (or 1) below the worst that is there."""
    there = column[~np.isnan(column)]
    if not len(there):
        return np.zeros(len(column))
    return np.asarray(_missing_as(column, float(there.min() - (there.std() or 1.0))))


def _standardised(column: np.ndarray) -> np.ndarray:
    there = column[~np.isnan(column)]
    centre, spread = (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)
    # Equal numbers have a spread of rounding only.
    if spread <= 1e-12 * max(abs(centre), 1e-300):
        return np.where(np.isnan(column), -1.0 if len(there) else 0.0, 0.0)
    return np.asarray((_finite(column) - centre) / spread)

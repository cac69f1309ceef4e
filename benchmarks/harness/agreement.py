"""Agreement of clusters with the true types, and confidence intervals of means over few worlds."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

_RESAMPLES = 10_000


def agreement(labels: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Adjusted Rand index `ari`, normalised mutual information `nmi`, and error of the number of clusters, `types_off`.

    `ari` is 0 on average for a random partition, and `nmi` close to 0. Hubert & Arabie, J. Classif. 2 (1985) 193.
    """
    return {
        "ari": adjusted_rand(labels, truth),
        "nmi": float(normalized_mutual_info_score(truth, labels)),
        "types_off": float(abs(len(np.unique(labels)) - len(np.unique(truth)))),
    }


def adjusted_rand(labels: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> float:
    """Adjusted Rand index of two partitions: 1 if they are identical, 0 on average for random ones."""
    return float(adjusted_rand_score(truth, labels))


def majority_types(labels: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> Mapping[int, int]:
    """Cluster -> the most frequent true type of its points."""
    return {int(k): int(np.bincount(truth[labels == k]).argmax()) for k in np.unique(labels)}


def core_purity(labels: Int[np.ndarray, " n"], core: Bool[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> float:
    """Share of the core points whose true type is the majority type of their cluster."""
    majority = majority_types(labels, truth)
    return float(np.mean([majority[int(k)] == t for k, t in zip(labels[core], truth[core], strict=True)]))


def coverage(labels: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> float:
    """Share of the true types that are the majority type of at least one cluster."""
    return len(set(majority_types(labels, truth).values())) / len(np.unique(truth))


def normalised(ari: float, ceiling: float, random: float = 0.0) -> float:
    """(ARI - random) / (ceiling - random); a random partition's ARI is 0 by construction.

    Raises
    ------
    ValueError
        If the ceiling is not larger than `random`.
    """
    if ceiling <= random:
        raise ValueError(f"the ceiling is {ceiling:.3f}, not above {random:.3f} by chance, so nothing can be recovered")
    return (ari - random) / (ceiling - random)


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over worlds; paired if `values` are differences on the same worlds.

    With few worlds it is too narrow: with ten, a nominal 95 % interval contains the true mean in about 90 % of cases.
    """
    rng = np.random.default_rng(0)
    sample = np.asarray(values, dtype=float)
    means = sample[rng.integers(len(sample), size=(_RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)

"""The names that metrics go by, and which way is better: the one place where the paper's signs are turned round.

The paper minimises BIC, AIC, ICL and -ELBO + H and maximises the others.
Whoever combines metrics (`rewards.composite`) asks here.
"""

from types import MappingProxyType

_MAXIMISED = (
    "log_likelihood",
    "ll_whitened",
    "ll_gain",
    "bic_gain",
    "bic_gain_per_d",
    "icl_gain",
    "reconstruction",
    "total_variance",
    "variance_product",
    "smallest_eigenvalue",
    "MI_rot",
    "MI_rot_bic",
    "NMI_rot",
    "rotation_consistency",
    "stability",
    "stability_halves",
    "stability_seeds",
    "topology",
    "R2_results",
)

_MINIMISED = (
    "bic",
    "aic",
    "icl",
    "icl_2",
    "icl_4",
    "bic_whitened",
    "icl_whitened",
    "entropy",
    "neg_elbo",
    "neg_elbo_plus_entropy",
    "overlap",
)

_NEITHER = (
    "K",
    "K_log_likelihood",
    "K_bic",
    "K_aic",
    "K_icl",
    "K_icl_2",
    "K_icl_4",
    "K_effective",
    "K_topology",
    "n",
    "pairs",
    "results_used",
    "results_far",
    "bic_total",
    "aic_total",
    "icl_total",
    "icl_2_total",
    "icl_4_total",
    "log_likelihood_total",
)

#: Metric -> +1 where more is better, -1 where less is, 0 where neither is: counts, and sums over points, which compare nothing.
METRICS = MappingProxyType(dict.fromkeys(_MAXIMISED, 1) | dict.fromkeys(_MINIMISED, -1) | dict.fromkeys(_NEITHER, 0))


class UnknownMetricError(ValueError):
    """Nobody said whether more or less of a metric is better."""


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better: True, or False where the paper minimises it.

    Parameters
    ----------
    metric
        One of `METRICS`, or any name with the direction before it: "+my_metric" is maximised, "-my_metric" minimised.

    Raises
    ------
    UnknownMetricError
        If the direction is neither known nor given.
    """
    if metric[:1] in ("+", "-") and len(metric) > 1:
        return metric[0] == "+"
    if METRICS.get(metric, 0):
        return METRICS[metric] > 0
    what = "has no better direction" if metric in METRICS else "is unknown"
    known = ", ".join(name for name, sign in METRICS.items() if sign)
    raise UnknownMetricError(
        f"metric '{metric}' {what}; use one of {known}, or say which way is better: '+{metric}' for more, '-{metric}' for less"
    )


def bare(metric: str) -> str:
    """The name of a metric without the direction that may stand before it."""
    return metric[1:] if metric[:1] in ("+", "-") else metric

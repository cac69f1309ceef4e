"""Names of the metrics, and whether each is maximised or minimised: the only place that knows the signs of the paper.

The paper minimises BIC, AIC, ICL and -ELBO + H and maximises the others. `rewards.composite` combines metrics accordingly.
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
    "icl_gain_bic",
    "MI_rot",
    "MI_rot_bic",
    "NMI_rot",
    "MI_wall",
    "MI_wall_bic",
    "NMI_wall",
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
    "wall_pairs",
    "results_used",
    "results_far",
    "bic_total",
    "aic_total",
    "icl_total",
    "icl_2_total",
    "icl_4_total",
    "log_likelihood_total",
)

#: Metric -> +1 if higher is better, -1 if lower is better, 0 for counts and sums over points, which compare nothing.
METRICS = MappingProxyType(dict.fromkeys(_MAXIMISED, 1) | dict.fromkeys(_MINIMISED, -1) | dict.fromkeys(_NEITHER, 0))


class UnknownMetricError(ValueError):
    """It is not known whether a metric is to be maximised or minimised."""


def higher_is_better(metric: str) -> bool:
    """Whether a metric is maximised (True) or minimised (False).

    Parameters
    ----------
    metric
        One of `METRICS`, or any name with a direction as prefix: "+my_metric" is maximised, "-my_metric" minimised.

    Raises
    ------
    UnknownMetricError
        If the direction is neither known nor given.
    """
    if metric[:1] in ("+", "-") and len(metric) > 1:
        return metric[0] == "+"
    if METRICS.get(metric, 0):
        return METRICS[metric] > 0
    problem = "cannot be compared" if metric in METRICS else "is unknown"
    known = ", ".join(name for name, sign in METRICS.items() if sign)
    raise UnknownMetricError(
        f"metric '{metric}' {problem}; use one of {known}, or add a direction: '+{metric}' to maximise, '-{metric}' to minimise"
    )


def bare(metric: str) -> str:
    """Name of a metric without its direction prefix, if it has one."""
    return metric[1:] if metric[:1] in ("+", "-") else metric

"""Gaussian-mixture rewards: log-likelihood, BIC, AIC, ICL, ICL/2 and ICL/4 of the paper, and their gain over one Gaussian.

With L the maximised likelihood, n the points, k the free parameters and tau the assignment probabilities:

- BIC = -2 log L + k log n (eq. 3); AIC = -2 log L + 2k (eq. 4).
- ICL = BIC + E with E = -Σ tau log tau >= 0 (eq. 5, whose H is Σ tau log tau; the textbook ICL is BIC + 2E).
- ICL/2 = BIC/2 + E and ICL/4 = BIC/4 + E: the entropy weighs more.

All are minimised, so `value` is their negative, per point. Across windows they follow the size of the latent cloud (on real
scans the likelihood correlates by -0.99 with the log of the variance product) and so reward shrinking. The *gains* do not:
`icl_gain` = (ICL of one Gaussian - smallest ICL over K) / n, and likewise `bic_gain` and `ll_gain`. They are unchanged by any
affine map of the latent space, and 0 says that one Gaussian explains it best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from rewards.base import Mixture, Representation, Score
from rewards.em import EMSettings, Whitening, fit_mixture
from rewards.variance import smallest_eigenvalue, total_variance, variance_product

CRITERIA = ("log_likelihood", "bic", "aic", "icl", "icl_2", "icl_4", "ll_gain", "bic_gain", "icl_gain")


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """The mixture of one K, with the paper's criteria; all but K are per point, in nats, in the coordinates of z."""

    K: int
    mixture: Mixture
    log_likelihood: float
    bic: float
    aic: float
    entropy: float

    @property
    def icl(self) -> float:
        """Eq. 5, per point."""
        return self.bic + self.entropy

    @property
    def icl_2(self) -> float:
        """ICL with the BIC term halved, per point."""
        return self.bic / 2 + self.entropy

    @property
    def icl_4(self) -> float:
        """ICL with a quarter of the BIC term, per point."""
        return self.bic / 4 + self.entropy


def free_parameters(n_components: int, d: int) -> int:
    """K of eqs. 3 and 4: weights, means and full covariances."""
    return n_components - 1 + n_components * d + n_components * d * (d + 1) // 2


def fit_grid(
    z: Float[np.ndarray, "n d"],
    rng: np.random.Generator,
    components: Sequence[int] = range(1, 11),
    settings: EMSettings = EMSettings(),
) -> list[MixtureFit]:
    """A mixture for each K, fitted in whitened coordinates and reported in those of `z`.

    Parameters
    ----------
    z
        Shape (n, d).
    rng
        Seeds the restarts.
    components
        The K to try; those that leave fewer than two points a free parameter are not tried (K = 1 always is).
    """
    n, d = z.shape
    whitening = Whitening.of(z)
    x = whitening.apply(z)
    fits = []
    for K in components:
        k = free_parameters(K, d)
        if K > 1 and n < 2 * k:
            continue
        fit = fit_mixture(x, K, rng, settings)
        tau = fit.mixture.responsibilities(x)
        fits.append(_criteria(n, d, whitening.undo(fit.mixture), fit.log_likelihood - whitening.log_volume, tau))
    return fits


def describe(z: Float[np.ndarray, "n d"], mixture: Mixture) -> MixtureFit:
    """The criteria of a mixture that was not fitted here, on `z`."""
    joint = mixture.log_joint(z)
    largest = joint.max(axis=1, keepdims=True)
    likelihood = float((largest[:, 0] + np.log(np.exp(joint - largest).sum(axis=1))).mean())
    n, d = z.shape
    return _criteria(n, d, mixture, likelihood, mixture.responsibilities(z))


def _criteria(n: int, d: int, mixture: Mixture, log_likelihood: float, tau: Float[np.ndarray, "n K"]) -> MixtureFit:
    k = free_parameters(mixture.n_components, d)
    return MixtureFit(
        K=mixture.n_components,
        mixture=mixture,
        log_likelihood=log_likelihood,
        bic=-2 * log_likelihood + k * np.log(n) / n,
        aic=-2 * log_likelihood + 2 * k / n,
        entropy=float(-(tau * np.log(np.clip(tau, 1e-300, None))).sum() / n),
    )


def gmm(
    representation: Representation,
    *,
    rng: np.random.Generator,
    criterion: str = "icl_gain",
    components: Sequence[int] = range(1, 11),
    restarts: int = 10,
    max_iterations: int = 500,
) -> Score:
    """The representation judged by `criterion`; all other criteria stand in the metrics.

    Types that the representation brings with it are taken as its mixture; the gains measure them against one Gaussian.

    Parameters
    ----------
    representation
        With n points in d latent dimensions.
    criterion
        One of `CRITERIA`.
    components
        The numbers of components to try; 1 must be among them for a gain.
    restarts, max_iterations
        Of EM, for each K.

    Raises
    ------
    ValueError
        If the criterion is unknown, or a gain is asked for without K = 1.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"mixture criterion '{criterion}' is unknown; use one of {', '.join(CRITERIA)}")
    settings = EMSettings(restarts=restarts, max_iterations=max_iterations)
    given = representation.types
    fits = fit_grid(representation.z, rng, components if given is None else [1], settings)
    single = next((f for f in fits if f.K == 1), None)
    if single is None:
        raise ValueError(f"components must hold 1, got {list(components)}; a gain is measured against one Gaussian")
    if given is not None:
        fits = [describe(representation.z, given)]
    best = {name: _best(fits, name) for name in ("log_likelihood", "bic", "aic", "icl", "icl_2", "icl_4")}
    gains = {
        "ll_gain": best["log_likelihood"].log_likelihood - single.log_likelihood,
        "bic_gain": single.bic - best["bic"].bic,
        "icl_gain": single.icl - best["icl"].icl,
    }
    chosen = best[{"ll_gain": "log_likelihood", "bic_gain": "bic", "icl_gain": "icl"}.get(criterion, criterion)]
    metrics = {name: float(getattr(fit, name)) for name, fit in best.items()} | gains
    metrics |= {f"K_{name}": float(fit.K) for name, fit in best.items()}
    metrics |= {"K": float(chosen.K), "entropy": chosen.entropy, "n": float(len(representation.z))}
    metrics |= {
        "reconstruction": representation.reconstruction_per_px,
        "total_variance": total_variance(representation.z),
        "variance_product": variance_product(representation.z),
        "smallest_eigenvalue": smallest_eigenvalue(representation.z),
    }
    value = gains[criterion] if criterion in gains else _value(chosen, criterion)
    return Score(float(value), metrics, chosen.mixture)


def _best(fits: Sequence[MixtureFit], criterion: str) -> MixtureFit:
    return max(fits, key=lambda fit: _value(fit, criterion))


def _value(fit: MixtureFit, criterion: str) -> float:
    raw = float(getattr(fit, criterion))
    return raw if criterion == "log_likelihood" else -raw


#: The mixture rewards by their short names.
MIXTURE_REWARDS: dict[str, Callable[..., Score]] = {name: partial(gmm, criterion=name) for name in CRITERIA}

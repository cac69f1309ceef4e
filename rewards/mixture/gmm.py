"""Gaussian-mixture rewards: log-likelihood, BIC, AIC, ICL, ICL/2 and ICL/4 of the paper, and their gain over one Gaussian.

With L the maximised likelihood, N the points, k the free parameters and tau the assignment probabilities:

- BIC = -2 log L + k log N (eq. 3); AIC = -2 log L + 2k (eq. 4).
- ICL = BIC + E with E = -Σ tau log tau >= 0 (eq. 5, whose H is Σ tau log tau; the textbook ICL is BIC + 2E).
- ICL/2 = BIC/2 + E and ICL/4 = BIC/4 + E: the entropy weighs more. ICL/2 is half the textbook's ICL.

All of these but the log-likelihood are minimised, so `value` is their negative. **Every criterion here is per point**: `bic` is
the paper's BIC/N, `icl` is ICL/N, `log_likelihood` is log L / N. The paper's sums over all points are also reported
(`bic_total`, ...).

Across windows, the raw criteria follow the size of the latent cloud (on real scans the correlation of the likelihood with the
log of the variance product is -0.99) and so reward a small cloud. The *gains* do not: `icl_gain` = (ICL of one Gaussian -
smallest ICL over K) / N, and likewise `bic_gain` and `ll_gain`. They are invariant to affine maps of the latent space, and 0
means that a single Gaussian describes it best. `bic_gain_per_d` is the gain per latent dimension d, which compares spaces of
different d.

The same criteria of whitened latents (`ll_whitened`, `bic_whitened`, `icl_whitened`) add nothing at equal d and N: the whitened
log-likelihood of one Gaussian is -(d/2)(1 + log 2π) for every scan, so they are the gains up to a constant.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from rewards.base import Mixture, Representation, Score
from rewards.closed_form import smallest_eigenvalue, total_variance, variance_product
from rewards.metrics import higher_is_better
from rewards.mixture.em import EMSettings, Whitening, fit_mixture

#: Criteria of the paper; each is minimised or maximised over K separately.
PAPER = ("log_likelihood", "bic", "aic", "icl", "icl_2", "icl_4")
_DERIVED = {
    "ll_gain": "log_likelihood",
    "bic_gain": "bic",
    "bic_gain_per_d": "bic",
    "icl_gain": "icl",
    "ll_whitened": "log_likelihood",
    "bic_whitened": "bic",
    "icl_whitened": "icl",
}
CRITERIA = (*PAPER, *_DERIVED)


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """Mixture of K Gaussians with the criteria of the paper, all per point, in nats, and in the coordinates of z."""

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
    """Number of free parameters (K of eqs. 3 and 4): weights, means and full covariances."""
    return n_components - 1 + n_components * d + n_components * d * (d + 1) // 2


def fit_grid(
    z: Float[np.ndarray, "n d"],
    rng: np.random.Generator,
    components: Sequence[int] = range(1, 11),
    settings: EMSettings = EMSettings(),
) -> list[MixtureFit]:
    """One mixture for each K, fitted in whitened coordinates and returned in those of `z`.

    Parameters
    ----------
    z
        Shape (n, d): latents of n points.
    rng
        Random generator of the restarts.
    components
        Numbers of components K. A K above 1 with fewer than two points per free parameter is skipped.
    settings
        Settings of EM.
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
    """Criteria of a given mixture for the points `z`."""
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
    least_components: int = 1,
    restarts: int = 10,
    max_iterations: int = 500,
) -> Score:
    """Value of `criterion` for the representation; the metrics contain all other criteria.

    One call fits one mixture for each K and computes every criterion, so several criteria can be read from one score.

    If the representation has given types, these are its mixture, and the gains compare them with one Gaussian.

    Parameters
    ----------
    representation
        Representation of n points in d latent dimensions.
    rng
        Random generator of the restarts.
    criterion
        One of `CRITERIA`.
    components
        Numbers of components K to try, including 1, with which gains compare.
    least_components
        Smallest K that may be chosen; in the paper, K starts at 2.
    restarts, max_iterations
        Initialisations and largest number of EM steps for each K.

    Raises
    ------
    ValueError
        If the criterion is unknown, K = 1 is not among the components, or no K reaches `least_components`.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"mixture criterion '{criterion}' is unknown; use one of {', '.join(CRITERIA)}")
    fits, single = mixtures(representation, rng, components, EMSettings(restarts=restarts, max_iterations=max_iterations))
    fits = [fit for fit in fits if least_components <= fit.K]
    if not fits:
        raise ValueError(f"least_components is {least_components}, but no mixture of so many components was fitted; use fewer")
    chosen = _best(fits, _DERIVED.get(criterion, criterion))
    metrics = report(representation, fits, single, chosen)
    raw = metrics[criterion]
    return Score(raw if higher_is_better(criterion) else -raw, metrics, chosen.mixture)


def mixtures(
    representation: Representation, rng: np.random.Generator, components: Sequence[int], settings: EMSettings
) -> tuple[list[MixtureFit], MixtureFit]:
    """(mixtures to choose from: one for each K, or the given types of the representation; the fit of a single Gaussian).

    Raises
    ------
    ValueError
        If K = 1 is not among the components.
    """
    z, given = representation.z, representation.types
    fits = fit_grid(z, rng, components if given is None else [1], settings)
    single = next((f for f in fits if f.K == 1), None)
    if single is None:
        raise ValueError(f"components are {list(components)}; include 1, since gains are relative to one Gaussian")
    return (fits if given is None else [describe(z, given)]), single


def report(
    representation: Representation, fits: Sequence[MixtureFit], single: MixtureFit, chosen: MixtureFit
) -> dict[str, float]:
    """Metrics: all criteria, each at its best K, and variances of the latents; "K" and "entropy" are those of `chosen`."""
    z = representation.z
    best = {name: _best(fits, name) for name in PAPER}
    metrics = {name: float(getattr(fit, name)) for name, fit in best.items()}
    metrics |= _relative(metrics, single, z)
    metrics |= {f"{name}_total": len(z) * metrics[name] for name in PAPER}
    metrics |= {f"K_{name}": float(fit.K) for name, fit in best.items()}
    metrics |= {"K": float(chosen.K), "entropy": chosen.entropy, "n": float(len(z))}
    metrics |= {
        "reconstruction": representation.reconstruction_per_px,
        "total_variance": total_variance(z),
        "variance_product": variance_product(z),
        "smallest_eigenvalue": smallest_eigenvalue(z),
    }
    return metrics


def _relative(best: Mapping[str, float], single: MixtureFit, z: Float[np.ndarray, "n d"]) -> dict[str, float]:
    """Gains over one Gaussian, and criteria of whitened latents; whitening adds its log-volume to a log-density."""
    volume = Whitening.of(z).log_volume
    return {
        "ll_gain": best["log_likelihood"] - single.log_likelihood,
        "bic_gain": single.bic - best["bic"],
        "bic_gain_per_d": (single.bic - best["bic"]) / z.shape[1],
        "icl_gain": single.icl - best["icl"],
        "ll_whitened": best["log_likelihood"] + volume,
        "bic_whitened": best["bic"] - 2 * volume,
        "icl_whitened": best["icl"] - 2 * volume,
    }


def _best(fits: Sequence[MixtureFit], criterion: str) -> MixtureFit:
    sign = 1 if higher_is_better(criterion) else -1
    return max(fits, key=lambda fit: sign * float(getattr(fit, criterion)))


#: Mixture rewards by short name.
MIXTURE_REWARDS: dict[str, Callable[..., Score]] = {name: partial(gmm, criterion=name) for name in CRITERIA}

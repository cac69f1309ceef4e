"""Bayesian Gaussian mixture of the latent space, fitted by variational inference in Pyro: the paper's -ELBO, H and -ELBO + H.

The mixture has more components than needed, and the Dirichlet prior on the weights leaves the superfluous ones empty. Priors and
settings are those of the paper's Methods; its main text gives others (concentration 0.01, means Normal(-5, 5)), which can be
set. In prototypes, the fit had not converged after the paper's 500 steps (14 effective components on a real scan, 8 after 3,000
steps), and an overlap penalty of 0.1 had no measurable effect.

This is the only module that imports Pyro. It changes neither Pyro's global parameter store nor PyTorch's global generator.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.optim import ClippedAdam
from torch import Tensor

from rewards.base import Mixture, Representation, Score
from rewards.threads import one_thread

_ELBO_DRAWS = 10
_BOX = 5.0  # half width of the uniform prior of the means, or scale of the normal one


class BayesianMixtureSettings(BaseModel):
    """Priors and settings of the fit.

    Parameters
    ----------
    components
        Largest number of components K.
    concentration
        α of the Dirichlet(α/K) prior on the weights.
    mean_prior
        "uniform": Uniform(-5, 5) in each dimension; "normal": Normal(-5, 5), as in the main text of the paper.
    scale
        Scale of the HalfNormal prior on each standard deviation; narrow clusters are preferred.
    eta
        Concentration of the LKJ prior on the correlations; a large value prefers round clusters.
    overlap_weight
        Weight λ of the penalty on the Bhattacharyya coefficients of all pairs of components.
    steps, learning_rate
        Number of steps and learning rate of ClippedAdam.
    effective_share
        A component is effective if its weight exceeds this share of the largest weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    components: int = Field(default=20, ge=1)
    concentration: float = Field(default=0.1, gt=0)
    mean_prior: Literal["uniform", "normal"] = "uniform"
    scale: float = Field(default=0.05, gt=0)
    eta: float = Field(default=20.0, gt=0)
    overlap_weight: float = Field(default=0.1, ge=0)
    steps: int = Field(default=500, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0)
    effective_share: float = Field(default=0.2, gt=0, lt=1)


class _Model:
    """Generative model: weights, means, scales and correlations of the components, and the points."""

    def __init__(self, settings: BayesianMixtureSettings, d: int, overlap_weight: float) -> None:
        self._s, self._d, self._overlap_weight = settings, d, overlap_weight

    def __call__(self, z: Tensor) -> None:
        s, d = self._s, self._d
        weights = pyro.sample("weights", dist.Dirichlet(torch.full((s.components,), s.concentration / s.components)))
        with pyro.plate("components", s.components):
            means = pyro.sample("means", self._mean_prior())
            scales = pyro.sample("scales", dist.HalfNormal(torch.full((d,), s.scale)).to_event(1))
            correlation = pyro.sample("correlation", dist.LKJCholesky(d, s.eta)) if d > 1 else torch.ones(s.components, 1, 1)
        factor = scales[..., None] * correlation
        if self._overlap_weight > 0:
            pyro.factor("overlap", -self._overlap_weight * total_overlap(means, factor))
        with pyro.plate("points", len(z)):
            pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(weights), _normal(means, factor)), obs=z)

    def _mean_prior(self) -> Any:
        edge = torch.full((self._d,), _BOX)
        prior = dist.Uniform(-edge, edge) if self._s.mean_prior == "uniform" else dist.Normal(-edge, edge)
        return prior.to_event(1)


def total_overlap(means: Float[Tensor, "K d"], factors: Float[Tensor, "K d d"]) -> Float[Tensor, ""]:
    """Sum of the Bhattacharyya coefficients of all pairs of Gaussians; `factors` are the Cholesky factors of the covariances.

    BC = exp(-D), D = (1/8) Δᵀ A⁻¹ Δ + (1/2) ln(det A / sqrt(det S_i det S_j)), with A the mean of the two covariances.
    """
    covariances = factors @ factors.mT
    middle = torch.linalg.cholesky((covariances[:, None] + covariances[None]) / 2)
    gap = torch.linalg.solve_triangular(middle, (means[:, None] - means[None])[..., None], upper=False)[..., 0]
    log_det = 2 * torch.log(torch.diagonal(factors, dim1=-2, dim2=-1)).sum(-1)
    log_det_middle = 2 * torch.log(torch.diagonal(middle, dim1=-2, dim2=-1)).sum(-1)
    distance = (gap**2).sum(-1) / 8 + (log_det_middle - (log_det[:, None] + log_det[None]) / 2) / 2
    return torch.triu(torch.exp(-distance), diagonal=1).sum()


@one_thread()
def bgmm(
    representation: Representation,
    *,
    rng: np.random.Generator,
    settings: BayesianMixtureSettings | Mapping[str, Any] = BayesianMixtureSettings(),
) -> Score:
    """ELBO - H per point: the negative of the paper's -ELBO + H, so that higher is better.

    Parameters
    ----------
    representation
        Representation of n points in d dimensions. The paper fits all points, not only those that the density filter keeps.
    rng
        Random generator from which the fit is seeded.
    settings
        Priors and settings of the fit, or a mapping of its fields, as in a configuration.

    Returns
    -------
    Score
        Its mixture consists of the effective components. Its metrics are `neg_elbo`, `entropy` (of the assignments to all
        components) and `neg_elbo_plus_entropy`, each per point in nats, `overlap` and `K_effective`.
    """
    chosen = BayesianMixtureSettings.model_validate(settings)
    z = torch.tensor(representation.z, dtype=torch.float32)
    n, d = z.shape
    with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        model = _Model(chosen, d, chosen.overlap_weight)
        guide = AutoDiagonalNormal(model)
        svi = SVI(model, guide, ClippedAdam({"lr": chosen.learning_rate}), Trace_ELBO())
        for _ in range(chosen.steps):
            svi.step(z)
        plain = SVI(_Model(chosen, d, 0.0), guide, ClippedAdam({}), Trace_ELBO())
        neg_elbo = float(np.mean([plain.evaluate_loss(z) for _ in range(_ELBO_DRAWS)])) / n
        with torch.no_grad():
            fitted = {name: value.detach() for name, value in guide.median(z).items()}
    weights, means = fitted["weights"], fitted["means"]
    correlation = fitted.get("correlation", torch.ones(chosen.components, 1, 1))
    factors = fitted["scales"][..., None] * correlation
    log_joint = torch.log(weights + 1e-30) + _normal(means, factors).log_prob(z[:, None])
    tau = torch.softmax(log_joint, dim=-1)
    entropy = float(-(tau * torch.log(tau + 1e-30)).sum()) / n
    kept = weights > chosen.effective_share * weights.max()
    share = weights[kept].double()
    covariances = (factors @ factors.mT)[kept].double()
    mixture = Mixture((share / share.sum()).numpy(), means[kept].double().numpy(), covariances.numpy())
    metrics = {
        "neg_elbo": neg_elbo,
        "entropy": entropy,
        "neg_elbo_plus_entropy": neg_elbo + entropy,
        "overlap": float(total_overlap(means, factors)),
        "K_effective": float(kept.sum()),
    }
    return Score(-(neg_elbo + entropy), metrics, mixture)


def _normal(means: Tensor, factors: Tensor) -> Any:
    return dist.MultivariateNormal(means, scale_tril=factors)

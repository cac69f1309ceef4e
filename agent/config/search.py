"""Candidates of a search, [search], warm starts, [warm], and the density filter before mixtures are fitted, [filter]."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from agent.config.base import OneOrMore, Section, without_repeats

Window = Annotated[int, Field(ge=3, le=63)]


Invariance = Literal["v", "r", "t", "s", "rt", "rs", "ts", "rts"]


class SearchSection(Section):
    """Which candidates are compared, and how computing time is spent on them.

    Parameters
    ----------
    windows_px
        Patch sizes to compare: sides of the windows in pixels.
    families
        Kinds of representation: "vae"; plain families, which need no training: "polar" (rotation-averaged), "coherent" (the part
        of it that is constant along walls), "coherent_multi" (the same over all windows; both are left out where no walls are
        known), "pca", "kmeans", "multi" (polar over all windows) and "amplitude" (mean and spread of the amplitude in the window,
        at most two latents); and "consensus" (of all trusted VAEs).
    invariances
        Invariances of the VAEs: "v" for none, or letters for rotation, translation and scale ("r", "rt", ...; the paper's t-VAE
        is "rt").
    seeds
        Number of models trained for each configuration; for a plain family, number of bootstrap resamples.
    latent_dims
        Numbers of structural latents of the VAEs to compare.
    plain_latent_dim
        Number of latents of a plain family.
    betas
        KL weights to compare, relative to the default of window²/400 per channel.
    decoder
        "warp", or "exact": pyroVED's network evaluated at every pixel, 10 to 100 times more expensive.
    sampled_px
        Number of pixels that the exact decoder draws from each patch in each step; 0 uses all.
    likelihood
        Likelihood of a pixel.
    rungs
        Shares of `train.steps` after which seeds and configurations with a low held-out ELBO are dropped.
    drop_elbo_per_px
        Largest gap in held-out ELBO per pixel, in nats, to the best seed of a configuration, and of a configuration to the best
        one with the same window, channels, key points and β; beyond it seeds and configurations are dropped at a rung.
    most_points
        Largest number of key points on which candidates are judged, spread evenly over the scan; the chosen candidate is applied
        to all.
    verify
        Number of configurations of the tie set that are also trained with the exact decoder, for comparison.
    deadline_s
        Time limit of a search in seconds; the decision is then based on the last complete rung. Unlimited by default.
    longest_s
        Time in seconds after which the service aborts a search that has not ended, for example because a user-defined reward
        hangs; the answer is then that the scan cannot be resolved.
    workers
        Number of worker processes; 0 trains in the calling process. The decision does not depend on it.
    dask
        Address of a Dask scheduler, such as tcp://127.0.0.1:8786; `workers` is then ignored. The decision does not depend on it.
    """

    windows_px: tuple[Window, ...] = Field(default=(11, 15, 21), min_length=1)
    families: tuple[
        Literal["vae", "polar", "coherent", "coherent_multi", "pca", "kmeans", "multi", "amplitude", "consensus"], ...
    ] = Field(default=("vae", "polar", "coherent", "coherent_multi"), min_length=1)
    invariances: tuple[Invariance, ...] = Field(default=("v", "r", "rt"), min_length=1)
    seeds: int = Field(default=3, ge=1, le=100)
    latent_dims: Annotated[tuple[Annotated[int, Field(ge=1, le=10)], ...], OneOrMore, Field(min_length=1)] = (2,)
    plain_latent_dim: int = Field(default=6, ge=1, le=9)
    betas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], OneOrMore, Field(min_length=1)] = (1.0,)
    decoder: Literal["warp", "exact"] = "warp"
    sampled_px: int = Field(default=0, ge=0)
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    rungs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25,)
    drop_elbo_per_px: float = Field(default=0.02, gt=0)
    most_points: int = Field(default=4096, ge=200)
    verify: int = Field(default=0, ge=0, le=100)
    deadline_s: float | None = Field(default=None, gt=0)
    longest_s: float = Field(default=3600.0, gt=0)
    workers: int = Field(default=2, ge=0, le=256)
    dask: str | None = None

    @field_validator("windows_px", "families", "invariances", "latent_dims", "betas")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return without_repeats(value)

    @field_validator("families")
    @classmethod
    def _members(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "consensus" in value and "vae" not in value:
            raise ValueError("a consensus is built from VAEs; add 'vae'")
        return value

    @field_validator("sampled_px")
    @classmethod
    def _fits_into_a_patch(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("decoder") == "warp":
            raise ValueError("only the exact decoder samples pixels; set decoder = 'exact', or omit sampled_px")
        smallest = min(info.data.get("windows_px", (0,)))
        if value > smallest**2:
            raise ValueError(f"a patch of the smallest window, {smallest} px, has only {smallest**2} pixels")
        return value


class WarmSection(Section):
    """Warm starts: how the search on the next scan of a sample starts from the models of the last decision.

    Parameters
    ----------
    enabled
        Whether searches may start warm.
    share
        Optimiser steps of each model in a warm start, as a share of `train.steps`.
    rate
        Learning rate of a warm start, as a share of `train.learning_rate`.
    sigmas
        Largest distance from the best configuration on the last scan, in standard errors, at which a configuration is tried
        again before the next cold start.
    least
        Number of best VAE configurations that are tried again whatever their distance from the best.
    gap_per_px
        Largest gap in held-out ELBO per pixel, in nats, to a control model trained from random weights; beyond it the search
        starts cold.
    cold_every
        Number of scans after which the search starts cold in any case.
    """

    enabled: bool = True
    share: float = Field(default=0.2, gt=0, le=1)
    rate: float = Field(default=0.25, gt=0, le=1)
    sigmas: float = Field(default=4.0, ge=0)
    least: int = Field(default=3, ge=0)
    gap_per_px: float = Field(default=0.002, gt=0)
    cold_every: int = Field(default=10, ge=1)


class FilterSection(Section):
    """Density filter: removes key points in sparse regions of the latent space before mixtures are fitted.

    Parameters
    ----------
    relative_density
        Smallest density, relative to the largest, at which a point is kept; 0 keeps all. Applies to one or two latents.
    bandwidth
        Bandwidth of the Gaussian kernel of the density estimate, in latent units.
    closeness
        Smallest nearest-neighbour density, relative to the largest and raised to the power 2/d, at which a point is kept if there
        are more than two latents; 0 keeps all.
    """

    relative_density: float = Field(default=0.05, ge=0, le=1)
    bandwidth: float = Field(default=0.05, gt=0)
    closeness: float = Field(default=0.0, ge=0, le=1)

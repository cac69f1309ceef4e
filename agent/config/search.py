"""Which candidates are tried, how the next search starts, and what is left out before mixtures: [search], [warm], [filter]."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from agent.config.base import OneOrMore, Section, without_repeats

Window = Annotated[int, Field(ge=3, le=63)]


Invariance = Literal["v", "r", "t", "s", "rt", "rs", "ts", "rts"]


class SearchSection(Section):
    """Which candidates are tried, and how the time is spent on them.

    Parameters
    ----------
    windows_px
        Sides of the patches.
    families
        "vae", and plain ones that need no training: "polar" (rotation-averaged), "pca", "kmeans", "multi" (polar, all windows
        together), "amplitude" (mean and spread of the window's amplitude, at most two latents); and "consensus", of all trusted
        VAEs.
    invariances
        Of the VAEs: "v" for none, or rotation, translation and scale as letters ("r", "rt", ...; the paper's t-VAE is "rt").
    seeds
        Models trained of each configuration; of a plain family, resamples of the patches that its basis is fitted to.
    latent_dims
        Structural latents of a VAE; several are candidates side by side.
    plain_latent_dim
        Latents of a plain family.
    betas
        KL weights relative to the default, window²/400 a channel; several are candidates side by side.
    decoder
        "warp", or "exact": pyroVED's network for every pixel, one or two orders of magnitude dearer.
    sampled_px
        Of the exact decoder, pixels drawn of each patch in each step; 0 takes all.
    likelihood
        Of a pixel.
    rungs
        Shares of `train.steps` after which seeds and configurations that fail by their held-out ELBO are dropped.
    drop_elbo_per_px
        A configuration whose held-out ELBO per pixel is further than this below the best one of the same window, channels,
        key points and β is dropped at a rung.
    most_points
        Candidates are judged on at most so many key points, spread evenly over the scan; the chosen one is applied to all.
    verify
        Of the configurations that tie, so many are trained with the exact decoder as well, and compared.
    deadline_s
        Seconds after which the decision of the last complete rung is used; none by default.
    longest_s
        Seconds after which the service gives a search up, whatever hangs: its processes are ended, and the answer is that the
        scan cannot be resolved.
    workers
        Processes; 0 trains in the calling process. The decision does not depend on it.
    dask
        Address of a Dask scheduler, such as tcp://127.0.0.1:8786; then `workers` is not used. The decision does not depend on it.
    """

    windows_px: tuple[Window, ...] = Field(default=(7, 11, 15, 21), min_length=1)
    families: tuple[Literal["vae", "polar", "pca", "kmeans", "multi", "amplitude", "consensus"], ...] = Field(
        default=("vae", "polar"), min_length=1
    )
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
            raise ValueError("a consensus is one of VAEs: add 'vae'")
        return value

    @field_validator("sampled_px")
    @classmethod
    def _of_a_patch(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("decoder") == "warp":
            raise ValueError("only the exact decoder samples pixels: set decoder = 'exact', or leave it out")
        smallest = min(info.data.get("windows_px", (0,)))
        if value > smallest**2:
            raise ValueError(f"a patch of the smallest window, {smallest} px, has {smallest**2} pixels only")
        return value


class WarmSection(Section):
    """How the search on the next scan of a sample starts from the last one's models.

    Parameters
    ----------
    enabled
        Whether it does.
    share, rate
        Of `train.steps` and of `train.learning_rate`, spent on each model.
    sigmas
        Configurations that were further than this below the best on the last scan are not tried again before the next cold
        start.
    least
        So many VAE configurations, the best first, are tried again however far below they were.
    gap_per_px
        When a control, one model of the best VAE configuration trained from nothing, has a held-out ELBO per pixel this far
        above that of the warm ones, the search starts cold.
    cold_every
        At the latest, every so many scans the search starts cold.
    """

    enabled: bool = True
    share: float = Field(default=0.2, gt=0, le=1)
    rate: float = Field(default=0.25, gt=0, le=1)
    sigmas: float = Field(default=4.0, ge=0)
    least: int = Field(default=3, ge=0)
    gap_per_px: float = Field(default=0.002, gt=0)
    cold_every: int = Field(default=10, ge=1)


class FilterSection(Section):
    """Density filter of the latent space, before mixtures are fitted.

    Parameters
    ----------
    relative_density
        Points of a lower density, relative to the densest, are left out; 0 keeps all.
    bandwidth
        Of the Gaussian kernel, in latent units.
    closeness
        Of more than two latents, points of a lower nearest-neighbour density to the power 2/d are left out instead; 0 keeps all.
    """

    relative_density: float = Field(default=0.05, ge=0, le=1)
    bandwidth: float = Field(default=0.05, gt=0)
    closeness: float = Field(default=0.0, ge=0, le=1)

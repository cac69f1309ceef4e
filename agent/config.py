"""One TOML file, one seed: every choice that the agent makes beforehand, with its default."""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from agent.workflow.budget import TrainSettings
from agent.workflow.errors import AgentError
from rewards.guards import GuardSettings

Window = Annotated[int, Field(ge=3, le=63)]


class ConfigError(AgentError, ValueError):
    """The configuration file is missing, is not TOML, or holds a value that is not allowed."""


class Section(BaseModel):
    """Base of all parts of the configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScanSection(Section):
    """How a scan becomes an image and key points.

    Parameters
    ----------
    low_percentile, high_percentile
        Of the image, become 0 and 1.
    spacing_px
        Smallest distance between two key points.
    channels
        What patches are cut from: the channel alone ("amplitude"), with the quadratures of amplitude and phase ("vector"), with
        the topography ("height"); "auto" is "vector" where the scan holds the channel's phase, else "amplitude", and the
        VAEs are given the channel alone, since training on three takes twice as long.
    """

    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    high_percentile: float = Field(default=95.0, gt=50, le=100)
    spacing_px: float = Field(default=5.0, ge=1)
    channels: Literal["auto", "amplitude", "vector", "height"] = "auto"


class SearchSection(Section):
    """Which candidates are tried.

    Parameters
    ----------
    windows_px
        Sides of the patches.
    families
        "vae", and plain ones that need no training: "polar" (rotation-averaged), "pca", "multi" (polar, all windows together).
    invariances
        Of the VAEs: "v", "r", "t", "rt" (the paper's t-VAE is "rt").
    seeds
        Models trained of each window and invariance; of a plain family, resamples of the patches that its basis is fitted to.
    latent_dim
        Structural latents of a VAE.
    plain_latent_dim
        Latents of a plain family.
    beta
        KL weight relative to its default, window²/400.
    workers
        Processes; 0 trains in the calling process. The decision does not depend on it.
    dask
        Address of a Dask scheduler, such as tcp://127.0.0.1:8786; then `workers` is not used. Nor does it change the decision.
    """

    windows_px: tuple[Window, ...] = Field(default=(7, 11, 15, 21), min_length=1)
    families: tuple[Literal["vae", "polar", "pca", "multi"], ...] = Field(default=("vae", "polar"), min_length=1)
    invariances: tuple[Literal["v", "r", "t", "rt"], ...] = Field(default=("v", "r", "rt"), min_length=1)
    seeds: int = Field(default=3, ge=1, le=100)
    latent_dim: int = Field(default=2, ge=1, le=10)
    plain_latent_dim: int = Field(default=6, ge=1, le=9)
    beta: float = Field(default=1.0, gt=0)
    workers: int = Field(default=2, ge=0, le=256)
    dask: str | None = None

    @field_validator("windows_px", "families", "invariances")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("holds a value twice")
        return value


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

    relative_density: float = Field(default=0.2, ge=0, le=1)
    bandwidth: float = Field(default=0.05, gt=0)
    closeness: float = Field(default=0.0, ge=0, le=1)


class RecommendSection(Section):
    """Which core points are recommended.

    Parameters
    ----------
    core_fraction
        Share of each cluster, nearest to its centre, that counts as core.
    points_per_cluster
        Most points recommended for one cluster.
    spacing_m
        Smallest distance between two recommended points, and from points measured before, in metres.
    """

    core_fraction: float = Field(default=0.25, gt=0, le=1)
    points_per_cluster: int = Field(default=5, ge=1)
    spacing_m: float = Field(default=100e-9, ge=0)


class ServiceSection(Section):
    """How the service listens.

    Parameters
    ----------
    bind
        Where instruments connect; loopback only, until keys are supported.
    telemetry
        Where progress is published (lossy, for display only); empty: nowhere.
    heartbeat_s
        Interval of heartbeats in seconds.
    """

    bind: str = "tcp://127.0.0.1:5555"
    telemetry: str = "tcp://127.0.0.1:5556"
    heartbeat_s: float = Field(default=5.0, gt=0)


class Config(Section):
    """Everything the agent may be told.

    Parameters
    ----------
    seed
        Of all randomness.
    channel
        Which channel to analyse; by default the PFM amplitude, found by name.
    reward, keypoints
        A short name, or `module:function` of your own (importable, or beside the configuration file).
    reward_options, keypoints_options
        Keyword arguments given to them.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)
    channel: str | None = None
    reward: str = "spatial"
    reward_options: dict[str, Any] = {}
    keypoints: str = "canny_walls"
    keypoints_options: dict[str, Any] = {}
    scan: ScanSection = ScanSection()
    search: SearchSection = SearchSection()
    train: TrainSettings = TrainSettings()
    filter: FilterSection = FilterSection()
    guards: GuardSettings = GuardSettings()
    recommend: RecommendSection = RecommendSection()
    service: ServiceSection = ServiceSection()

    _directory: Path | None = PrivateAttr(default=None)

    def on_dask(self, address: str | None) -> "Config":
        """The same, with its candidates trained at another address of Dask's, unless that is None."""
        if address is None:
            return self
        return self.model_copy(update={"search": self.search.model_copy(update={"dask": address})})

    @property
    def directory(self) -> Path | None:
        """Where the file lies: the user's own modules are looked for there."""
        return self._directory


def load_config(path: Path | None, **overrides: Any) -> Config:
    """The configuration in a TOML file (or the defaults), with top-level `overrides` that are not None put on top.

    Raises
    ------
    ConfigError
        With one sentence that names the key, what it holds and what is allowed.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad may put a byte-order mark in front
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"the configuration {path} is not TOML: {error}") from error
    overrides = {key: value for key, value in overrides.items() if value is not None}
    try:
        config = Config.model_validate(raw | overrides)
        _check_finite(config.model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(_sentence(first, path if first["loc"][0] not in overrides else None)) from error
    config._directory = path.resolve().parent if path is not None else None
    return config


def _sentence(error: ErrorDetails, path: Path | None) -> str:
    loc, source = error["loc"], f" in {path}" if path is not None else ""
    key = f"'{'.'.join(str(part) for part in loc)}'{source}"
    if error["type"] == "extra_forbidden":
        return f"{key} is unknown; the allowed keys are {', '.join(_keys_beside(loc))}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_type":
        message = f"it must be a table, [{'.'.join(str(part) for part in loc)}]"
    return f"{key} is {error['input']!r}: {message}"


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = Config
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _check_finite(value: Any, key: str = "") -> None:
    """Refuse what JSON cannot say: the history records the configuration."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"'{key}' is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in inner:
        _check_finite(part, f"{key}.{name}".lstrip("."))

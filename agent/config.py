"""One TOML file, one seed: every choice that the agent makes beforehand, with its default."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.config_file import TomlFile, validated
from agent.drift_settings import DriftSettings
from agent.ordering.settings import RecommendSettings
from agent.retention_settings import RetentionSettings
from agent.rule import RuleSettings
from agent.safety_settings import ApprovalSettings, SafetySettings
from agent.schedule_settings import ScheduleSettings
from agent.workflow.budget import TrainSettings
from agent.workflow.order import in_order
from agent.workflow.quality_settings import QualitySettings
from rewards.evidence import EvidenceSettings
from rewards.guards import GuardSettings

Window = Annotated[int, Field(ge=3, le=63)]
Invariance = Literal["v", "r", "t", "s", "rt", "rs", "ts", "rts"]
Channels = Literal["auto", "amplitude", "vector", "height"]

#: A list that a single value may stand for.
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str | int | float) else value)


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
        VAEs are given the channel alone, since training on three takes twice as long. Several are candidates side by side.
    """

    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    high_percentile: float = Field(default=95.0, gt=50, le=100)
    spacing_px: float = Field(default=5.0, ge=1)
    channels: Annotated[tuple[Channels, ...], OneOrMore, Field(min_length=1)] = ("auto",)

    @field_validator("channels")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "auto" in value and len(value) > 1:
            raise ValueError("'auto' stands alone; name the modes to compare, such as ['amplitude', 'vector']")
        return _without_repeats(value)


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
        return _without_repeats(value)

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


def _without_repeats(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) != len(value):
        raise ValueError("holds a value twice")
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


class ServiceSection(Section):
    """How the service listens.

    Parameters
    ----------
    bind
        Where instruments connect; without keys, on loopback only.
    key, allowed
        The agent's secret key (a file of `vaestar keygen`), and the folder with the public keys of those who may connect; both or
        none. Paths count from the configuration file's folder.
    messages_per_s
        Of one instrument, on average; what comes faster for a while is left unanswered, so that it is sent again.
    telemetry
        Where progress is published (lossy, for display only); empty: nowhere.
    heartbeat_s
        Interval of heartbeats in seconds.
    http
        HOST:PORT on loopback where health, metrics and a person's words are taken; port 0: any; empty: nowhere.
    silence_s
        An instrument of which nothing is heard for so many seconds is recorded as lost.
    """

    bind: str = "tcp://127.0.0.1:5555"
    telemetry: str = "tcp://127.0.0.1:5556"
    heartbeat_s: float = Field(default=5.0, gt=0)
    http: str = "127.0.0.1:5557"
    key: str = ""
    allowed: str = ""
    messages_per_s: float = Field(default=50.0, gt=0)
    silence_s: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _key_with_list(self) -> "ServiceSection":
        if bool(self.key) != bool(self.allowed):
            raise ValueError("'key' and 'allowed' belong together: a key without a list would let everybody in; give both")
        return self


#: Sections on which no decision depends: they are no part of the question that a decision answers, nor of its id.
OPERATIONAL = ("service", "schedule", "safety", "approval", "retention")

#: What `preset = "paper"` puts in place of the defaults: its candidates, its reward, one seed, the largest value wins.
PAPER: Mapping[str, Any] = {
    "reward": "icl",
    "reward_options": {"least_components": 2},
    "scan": {"channels": ["amplitude"]},
    "search": {"windows_px": list(range(3, 21)), "families": ["vae"], "invariances": ["v", "r", "rt"], "seeds": 1},
    "rule": {"pick": "best", "least_information": 0.0, "groups": False},
    "evidence": {"enabled": False},
    "recommend": {"policy": "equal", "purity": 0.0},
}


class Config(Section):
    """Everything the agent may be told.

    Parameters
    ----------
    preset
        "paper": what the paper does, in place of the defaults (`PAPER`); keys that are given go before it.
    seed
        Of all randomness.
    channel
        Which channel to analyse; by default the PFM amplitude, found by name.
    reward, keypoints
        A short name, or `module:function` of your own (importable, or beside the configuration file). Several key-point
        methods are candidates side by side.
    reward_options, keypoints_options
        Keyword arguments given to them; with several key-point methods, a table for each, under its name.
    """

    preset: Literal["paper"] | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    channel: str | None = None
    reward: str = "spatial"
    reward_options: Annotated[dict[str, Any], AfterValidator(in_order)] = {}
    keypoints: Annotated[tuple[str, ...], OneOrMore, Field(min_length=1)] = ("canny_walls",)
    keypoints_options: Annotated[dict[str, Any], AfterValidator(in_order)] = {}
    scan: ScanSection = ScanSection()
    quality: QualitySettings = QualitySettings()
    search: SearchSection = SearchSection()
    warm: WarmSection = WarmSection()
    train: TrainSettings = TrainSettings()
    filter: FilterSection = FilterSection()
    guards: GuardSettings = GuardSettings()
    rule: RuleSettings = RuleSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    recommend: RecommendSettings = RecommendSettings()
    drift: DriftSettings = DriftSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    safety: SafetySettings = SafetySettings()
    approval: ApprovalSettings = ApprovalSettings()
    service: ServiceSection = ServiceSection()
    retention: RetentionSettings = RetentionSettings()

    _directory: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("preset") != "paper":
            return raw
        # Options belong to the paper's reward and not to one that is given.
        return _over({k: v for k, v in PAPER.items() if k != "reward_options" or "reward" not in raw}, raw)

    @field_validator("keypoints")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _without_repeats(value)

    @field_validator("keypoints_options")
    @classmethod
    def _of_a_method(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        methods = info.data.get("keypoints", ())
        if len(methods) > 1:
            for name, options in value.items():
                if name not in methods or not isinstance(options, dict):
                    raise ValueError(f"with several key-point methods, give a table for each: {', '.join(methods)}")
        return value

    def options_of(self, keypoints: str) -> dict[str, Any]:
        """Keyword arguments of one key-point method."""
        return self.keypoints_options if len(self.keypoints) == 1 else self.keypoints_options.get(keypoints, {})

    def with_search(self, **given: Any) -> "Config":
        """The same configuration with those of the [search] values that are not None put in place.

        Raises
        ------
        ConfigError
            If a value is not allowed.
        """
        return self._with("search", given)

    def with_service(self, **given: Any) -> "Config":
        """The same for the [service] values."""
        return self._with("service", given)

    def _with(self, name: str, given: Mapping[str, Any]) -> "Config":
        section: Section = getattr(self, name)
        given = {key: value for key, value in given.items() if value is not None}
        section = getattr(validated(Config, TomlFile(), {name: section.model_dump() | given}), name)
        changed = self.model_copy(update={name: section})
        changed._directory = self._directory
        return changed

    def beside(self, directory: Path | None) -> "Config":
        """The same configuration as if its file lay in `directory`."""
        changed = self.model_copy()
        changed._directory = directory
        return changed

    @property
    def directory(self) -> Path | None:
        """Where the file lies: the user's own modules are looked for there."""
        return self._directory


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, and the defaults where there are none; tables are merged."""
    merged = dict(defaults) | dict(given)
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(given.get(key), Mapping):
            merged[key] = _over(value, given[key])
    return merged


def load_config(path: Path | None, **overrides: Any) -> Config:
    """The configuration in a TOML file (or the defaults), with top-level `overrides` that are not None put on top.

    Raises
    ------
    ConfigError
        With a line for each value that is wrong: its line in the file, what it is, and what is allowed.
    """
    file = TomlFile() if path is None else TomlFile.read(path)
    config = validated(Config, file, {key: value for key, value in overrides.items() if value is not None})
    config._directory = path.resolve().parent if path is not None else None
    return config

"""The configuration of the agent: one TOML file with one seed, and a default for every key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.config.base import OneOrMore, Section, in_order, without_repeats
from agent.config.decision_rule import RuleSettings
from agent.config.drift import DriftSettings
from agent.config.quality import QualitySettings
from agent.config.recommendation import RecommendSettings
from agent.config.retention import RetentionSettings
from agent.config.safety import ApprovalSettings, SafetySettings
from agent.config.scan import ScanSection, WallSection
from agent.config.search import FilterSection, SearchSection, WarmSection
from agent.config.service import ScheduleSettings, ServiceSection
from agent.config.toml_file import TomlFile, validated
from agent.config.training import TrainSettings
from rewards.evidence import EvidenceSettings
from rewards.guards import GuardSettings

#: Sections that affect no decision; they do not enter the decision id, and changing them does not prevent a warm start.
OPERATIONAL = ("service", "schedule", "safety", "approval", "retention")

#: Defaults under `preset = "paper"`: the candidates and reward of the paper, one seed, and the largest reward wins.
PAPER: Mapping[str, Any] = {
    "reward": "icl",
    "reward_options": {"least_components": 2},
    "keypoints": ["canny_walls"],
    "scan": {"channels": ["amplitude"]},
    "search": {"windows_px": list(range(3, 21)), "families": ["vae"], "invariances": ["v", "r", "rt"], "seeds": 1},
    "rule": {"pick": "best", "least_information": 0.0, "groups": False},
    "evidence": {"enabled": False},
    "recommend": {"policy": "equal", "purity": 0.0},
}


class Config(Section):
    """The whole configuration of the agent.

    Parameters
    ----------
    preset
        "paper": the settings of the paper in place of the defaults (`PAPER`); other keys of the file take precedence.
    seed
        Seed of all random draws.
    channel
        Name of the channel to analyse; by default the PFM amplitude, found by its name.
    reward
        Short name of a reward, or `module:function` for your own, importable or in a file next to the configuration file.
    reward_options
        Keyword arguments of the reward.
    keypoints
        Short names of key-point methods ("auto": "walls" if the scan contains the phase of the channel and enough walls, else
        "canny_walls"), or `module:function` for your own; several are compared as candidates.
    keypoints_options
        Keyword arguments of the key-point method; with several methods, one table for each, under its name.
    """

    preset: Literal["paper"] | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    channel: str | None = None
    reward: str = "spatial"
    reward_options: Annotated[dict[str, Any], AfterValidator(in_order)] = Field(default_factory=dict)
    keypoints: Annotated[tuple[str, ...], OneOrMore, Field(min_length=1)] = ("auto",)
    keypoints_options: Annotated[dict[str, Any], AfterValidator(in_order)] = Field(default_factory=dict)
    scan: ScanSection = ScanSection()
    walls: WallSection = WallSection()
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
        # The options belong to the reward of the paper, not to another one from the file.
        return _merged({k: v for k, v in PAPER.items() if k != "reward_options" or "reward" not in raw}, raw)

    @field_validator("keypoints")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "auto" in value and len(value) > 1:
            raise ValueError("'auto' cannot be combined with other methods; name those to compare, such as ['walls', 'grid']")
        return without_repeats(value)

    @field_validator("keypoints_options")
    @classmethod
    def _options_by_method(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        methods = info.data.get("keypoints", ())
        if len(methods) > 1:
            for name, options in value.items():
                if name not in methods or not isinstance(options, dict):
                    raise ValueError(f"with several key-point methods, give one table for each: {', '.join(methods)}")
        return value

    def keypoint_options(self, method: str) -> dict[str, Any]:
        """Keyword arguments of one key-point method."""
        return self.keypoints_options if len(self.keypoints) == 1 else self.keypoints_options.get(method, {})

    def with_search(self, **values: Any) -> "Config":
        """A copy with these values in [search]; None leaves a value as it is.

        Raises
        ------
        ConfigError
            If a value is not allowed.
        """
        return self._with("search", values)

    def with_service(self, **values: Any) -> "Config":
        """A copy with these values in [service]; None leaves a value as it is.

        Raises
        ------
        ConfigError
            If a value is not allowed.
        """
        return self._with("service", values)

    def _with(self, name: str, values: Mapping[str, Any]) -> "Config":
        section: Section = getattr(self, name)
        values = {key: value for key, value in values.items() if value is not None}
        section = getattr(validated(Config, TomlFile(), {name: section.model_dump() | values}), name)
        changed = self.model_copy(update={name: section})
        changed._directory = self._directory
        return changed

    def with_directory(self, directory: Path | None) -> "Config":
        """A copy that looks for user-defined modules in `directory`."""
        changed = self.model_copy()
        changed._directory = directory
        return changed

    @property
    def modules_directory(self) -> Path | None:
        """The same folder for worker processes: None as well if no module of the user is named, so that none is ever found."""
        names = (self.reward, *self.keypoints)
        return self._directory if any(":" in name for name in names) else None

    @property
    def directory(self) -> Path | None:
        """Folder of the configuration file, in which user-defined modules are looked for; None if there is no file."""
        return self._directory


def _merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with those that are missing taken from the defaults, in nested tables as well."""
    merged = dict(defaults) | dict(values)
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(values.get(key), Mapping):
            merged[key] = _merged(default, values[key])
    return merged


def load_config(path: Path | None, **overrides: Any) -> Config:
    """Read the configuration from a TOML file.

    Parameters
    ----------
    path
        Path of the TOML file; None for the defaults.
    overrides
        Top-level values that replace those of the file, except where they are None.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds invalid values; the message has one line for each, with its line in the file.
    """
    file = TomlFile() if path is None else TomlFile.read(path)
    config = validated(Config, file, {key: value for key, value in overrides.items() if value is not None})
    config._directory = path.resolve().parent if path is not None else None
    return config

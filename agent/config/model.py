"""One TOML file, one seed: every choice that the agent makes beforehand, with its default."""

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
from agent.config.scan import ScanSection
from agent.config.schedule import ScheduleSettings
from agent.config.search import FilterSection, SearchSection, WarmSection
from agent.config.service import ServiceSection
from agent.config.toml_file import TomlFile, validated
from agent.config.training import TrainSettings
from rewards.evidence import EvidenceSettings
from rewards.guards import GuardSettings

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
    reward_options: Annotated[dict[str, Any], AfterValidator(in_order)] = Field(default_factory=dict)
    keypoints: Annotated[tuple[str, ...], OneOrMore, Field(min_length=1)] = ("canny_walls",)
    keypoints_options: Annotated[dict[str, Any], AfterValidator(in_order)] = Field(default_factory=dict)
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
        return without_repeats(value)

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

"""What a search takes over from the last decision on the same sample: which configurations to try again, and their weights.

Nothing is taken over when the question was put differently (another configuration of the agent or other versions of what it is
made of), when the last decision found nothing, or when too many scans have passed since a search started from nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config import OPERATIONAL, Config
from agent.decision import ConfigurationRecord, Decision, DecisionRecord, versions
from agent.workflow.kinds import GEOMETRIC_LATENTS

WEIGHTS = "weights:"  # what names of arrays of a decision begin with that hold a candidate's weights


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Where a search begins.

    Parameters
    ----------
    decision_id
        The decision that it goes on from.
    order
        Names of the VAE configurations to try again, the best of the last scan first.
    weights
        Candidate id -> its weights.
    scans
        How many scans in a row have gone on from one another, this one included.
    """

    decision_id: str
    order: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    scans: int


def warm_start(previous: Decision | None, config: Config) -> WarmStart | str:
    """Where to begin after `previous`, or the reason to begin from nothing."""
    if previous is None:
        return "no earlier decision on this sample"
    record = previous.record
    reason = _why_not(record, config)
    if reason is not None:
        return reason
    order = tuple(c.name for c in worth_trying(record.configurations, config))
    weights = {name.removeprefix(WEIGHTS): array for name, array in previous.arrays.items() if name.startswith(WEIGHTS)}
    usable = tuple(name for name in order if any(candidate.rpartition("-s")[0] == name for candidate in weights))
    return WarmStart(record.decision_id, usable, weights, record.warm_scans + 1)


def worth_trying(configurations: list[ConfigurationRecord], config: Config) -> list[ConfigurationRecord]:
    """Of the compared VAE configurations, best first, those that the next search should try again."""
    vaes = [c for c in configurations if c.invariance in GEOMETRIC_LATENTS]
    near = [c for c in vaes if c.sigmas_below_best is not None and c.sigmas_below_best <= config.warm.sigmas]
    return vaes[: max(len(near), config.warm.least)]


def _why_not(record: DecisionRecord, config: Config) -> str | None:
    if not config.warm.enabled:
        return "warm starts are switched off"
    if record.chosen is None:
        return "the last decision on this sample found nothing"
    if record.warm_scans + 1 >= config.warm.cold_every:
        return f"every {config.warm.cold_every} scans the search starts from nothing"
    if _question(record.config) != _question(config.model_dump(mode="json")):
        return "the configuration has changed since the last decision on this sample"
    if record.versions != versions():
        return "versions have changed since the last decision on this sample"
    return None


def _question(config: Mapping[str, Any]) -> str:
    """What of a configuration decides what is trained."""
    asked = {key: value for key, value in config.items() if key not in (*OPERATIONAL, "recommend")}
    asked["search"] = {k: v for k, v in asked["search"].items() if k not in ("workers", "dask", "deadline_s")}
    return json.dumps(asked, sort_keys=True)

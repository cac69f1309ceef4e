"""What a search takes over from the last decision on the same sample: which configurations to try again, and their weights.

Nothing is taken over when the question was put differently (another configuration of the agent or other versions of what it is
made of), when the last decision found nothing, or when too many scans have passed since a search started from nothing.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.model import OPERATIONAL, Config
from agent.schema.decision import ConfigurationRecord, Decision, DecisionRecord, versions
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import seeds_of

WEIGHTS = "weights:"  # what names of arrays of a decision begin with that hold a candidate's weights

NOT_IN_DECISION_ID = ("workers", "dask", "deadline_s", "longest_s")  # of [search]: what a decision does not depend on


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
    deep
        Whether that decision was a deeper search on a scan that had been decided on before.
    complete
        Whether seeds that have no weights are trained from nothing beside the others; else they are left out.
    """

    decision_id: str
    order: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    scans: int
    deep: bool = False
    complete: bool = False


def warm_start(previous: Decision | None, config: Config) -> WarmStart | str:
    """Where to begin after `previous`, or the reason to begin from nothing."""
    if previous is None:
        return "no earlier decision on this sample"
    record = previous.record
    reason = _why_not(record, config)
    if reason is not None:
        return reason
    order, weights = _found(previous, config)
    deep = _question(record.config) != _question(config.model_dump(mode="json"))
    if deep:
        weights = _best_of(record, order, weights, config)
    return WarmStart(record.decision_id, order, weights, record.warm_scans + 1, deep=deep)


def deepened(config: Config) -> Config:
    """The configuration of a search for which there is more time."""
    schedule = config.schedule
    search = config.search.model_copy(update={"seeds": max(schedule.deep_seeds, config.search.seeds)})
    train = config.train.model_copy(update={"steps": round(schedule.deep_steps_factor * config.train.steps)})
    return config.model_copy(update={"search": search, "train": train})


def deep_start(decision: Decision, config: Config) -> WarmStart:
    """Where a deeper search on the scan of `decision` begins: with its weights, and more seeds beside them."""
    order, weights = _found(decision, config)
    return WarmStart(decision.record.decision_id, order, weights, decision.record.warm_scans, complete=True)


def _found(decision: Decision, config: Config) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the configurations worth trying again that have weights, best first, and all weights by candidate."""
    order = tuple(c.name for c in worth_trying(decision.record.configurations, config))
    weights = {name.removeprefix(WEIGHTS): array for name, array in decision.arrays.items() if name.startswith(WEIGHTS)}
    return tuple(name for name in order if any(_configuration(candidate) == name for candidate in weights)), weights


def _best_of(
    record: DecisionRecord, order: tuple[str, ...], weights: Mapping[str, np.ndarray], config: Config
) -> dict[str, np.ndarray]:
    """Of each configuration's models in a deeper search, as many as there are seeds, the best by held-out ELBO first."""
    elbos = {c.candidate_id: -math.inf if c.elbo_per_px is None else c.elbo_per_px for c in record.candidates}
    out: dict[str, np.ndarray] = {}
    for name in order:
        models = sorted((m for m in weights if _configuration(m) == name), key=lambda m: -elbos[m])
        out |= {f"{name}-s{seed}": weights[m] for seed, m in zip(seeds_of(config), models, strict=False)}
    return out


def _configuration(candidate_id: str) -> str:
    return candidate_id.rpartition("-s")[0]


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
    if _question(record.config) not in (_question(c.model_dump(mode="json")) for c in (config, deepened(config))):
        return "the configuration has changed since the last decision on this sample"
    if record.versions != versions():
        return "versions have changed since the last decision on this sample"
    return None


def _question(config: Mapping[str, Any]) -> str:
    """What of a configuration decides what is trained."""
    asked = {key: value for key, value in config.items() if key not in (*OPERATIONAL, "recommend")}
    asked["search"] = {k: v for k, v in asked["search"].items() if k not in NOT_IN_DECISION_ID}
    return json.dumps(asked, sort_keys=True)

"""Warm start: configurations to try again after the last decision on the same sample, and their weights.

A search starts cold if the configuration or software versions have changed, if the last decision found nothing, or if too many
scans have passed since the last cold start.
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

WEIGHTS = "weights:"  # prefix of the names of a decision's arrays that hold the weights of candidates

NOT_IN_DECISION_ID = ("workers", "dask", "deadline_s", "longest_s")  # keys of [search] on which a decision does not depend


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Weights from which a search starts.

    Parameters
    ----------
    decision_id
        Id of the decision that the weights belong to.
    order
        Names of the VAE configurations to try again, the best on the last scan first.
    weights
        Weights by candidate id.
    scans
        Number of consecutive warm starts, this one included.
    deep
        Whether that decision is a deepened one.
    complete
        Whether seeds without weights are trained from random weights; otherwise they are left out.
    """

    decision_id: str
    order: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    scans: int
    deep: bool = False
    complete: bool = False


def warm_start(previous: Decision | None, config: Config) -> WarmStart | str:
    """The weights of `previous` to start from, or the reason for a cold start."""
    if previous is None:
        return "no earlier decision on this sample"
    record = previous.record
    reason = _reason_for_cold_start(record, config)
    if reason is not None:
        return reason
    order, weights = _reusable(previous, config)
    deep = _training_choices(record.config) != _training_choices(config.model_dump(mode="json"))
    if deep:
        weights = _best_seeds(record, order, weights, config)
    return WarmStart(record.decision_id, order, weights, record.warm_scans + 1, deep=deep)


def deepened(config: Config) -> Config:
    """The configuration of a deeper search, with more seeds and steps."""
    schedule = config.schedule
    search = config.search.model_copy(update={"seeds": max(schedule.deep_seeds, config.search.seeds)})
    train = config.train.model_copy(update={"steps": round(schedule.deep_steps_factor * config.train.steps)})
    return config.model_copy(update={"search": search, "train": train})


def deep_start(decision: Decision, config: Config) -> WarmStart:
    """Warm start of a deeper search on a decided scan: weights of `decision`, and random ones for further seeds."""
    order, weights = _reusable(decision, config)
    return WarmStart(decision.record.decision_id, order, weights, decision.record.warm_scans, complete=True)


def _reusable(decision: Decision, config: Config) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the configurations to try again that have weights, best first, and all weights by candidate id."""
    order = tuple(c.name for c in worth_trying(decision.record.configurations, config))
    weights = {name.removeprefix(WEIGHTS): array for name, array in decision.arrays.items() if name.startswith(WEIGHTS)}
    return tuple(name for name in order if any(_configuration(candidate) == name for candidate in weights)), weights


def _best_seeds(
    record: DecisionRecord, order: tuple[str, ...], weights: Mapping[str, np.ndarray], config: Config
) -> dict[str, np.ndarray]:
    """Weights of a deeper search's models with the best held-out ELBO, as many for each configuration as a search has seeds."""
    elbos = {c.candidate_id: -math.inf if c.elbo_per_px is None else c.elbo_per_px for c in record.candidates}
    out: dict[str, np.ndarray] = {}
    for name in order:
        models = sorted((m for m in weights if _configuration(m) == name), key=lambda m: -elbos[m])
        out |= {f"{name}-s{seed}": weights[m] for seed, m in zip(seeds_of(config), models, strict=False)}
    return out


def _configuration(candidate_id: str) -> str:
    return candidate_id.rpartition("-s")[0]


def worth_trying(configurations: list[ConfigurationRecord], config: Config) -> list[ConfigurationRecord]:
    """VAE configurations that the next search should try again, best first."""
    vaes = [c for c in configurations if c.invariance in GEOMETRIC_LATENTS]
    near = [c for c in vaes if c.sigmas_below_best is not None and c.sigmas_below_best <= config.warm.sigmas]
    return vaes[: max(len(near), config.warm.least)]


def _reason_for_cold_start(record: DecisionRecord, config: Config) -> str | None:
    # `agent.history.retention` tells these reasons from those of a control model by how they begin (see `agent.search.search`).
    if not config.warm.enabled:
        return "warm starts are switched off (warm.enabled)"
    if record.chosen is None:
        return "the last decision on this sample found nothing"
    if record.warm_scans + 1 >= config.warm.cold_every:
        return f"a cold start is due every {config.warm.cold_every} scans (warm.cold_every)"
    if _training_choices(record.config) not in (_training_choices(c.model_dump(mode="json")) for c in (config, deepened(config))):
        return "the configuration has changed since the last decision on this sample"
    if record.versions != versions():
        return "software versions have changed since the last decision on this sample"
    return None


def _training_choices(config: Mapping[str, Any]) -> str:
    """The part of a configuration that determines which models are trained, as JSON."""
    choices = {key: value for key, value in config.items() if key not in (*OPERATIONAL, "recommend", "walls")}
    choices["scan"] = {"rules": 1} | dict(choices["scan"])  # records without a version are older than the second one
    choices["search"] = {k: v for k, v in choices["search"].items() if k not in NOT_IN_DECISION_ID}
    return json.dumps(choices, sort_keys=True)

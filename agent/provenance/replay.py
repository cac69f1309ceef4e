"""A recorded decision made again from the history alone, and held against what was recorded."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.model import OPERATIONAL
from agent.decision.agent import Agent
from agent.errors import AgentError, SearchCancelledError
from agent.history.array_store import digest_of
from agent.history.event_log import Event, History
from agent.provenance.recorded_inputs import RecordedInputs
from agent.schema.decision import Decision, versions
from agent.search.task_runner import Progress, silent
from agent.search.warm_start import NOT_IN_DECISION_ID
from agent.workers.base import Workers
from instrument_adapters.errors import AdapterError
from instrument_adapters.protocol.messages import Limits

_NAMES = ("candidate_id", "request_id", "configuration", "cluster", "name")  # what entries of lists go by
_MISSING = "nothing"
# Sentences for people: a later version may word them differently. That there is one, or none, is compared.
_PROSE = re.compile(
    r"explanation|cold_because|drift\.why_none|faults\..+|quality\.problems\..+\.sentence|candidates\..+\.guarded_out"
)


@dataclass(frozen=True)
class Difference:
    """One value that is not the recorded one.

    Parameters
    ----------
    where
        Such as "candidates.pca-w5-s0.metrics.icl", or "array z".
    recorded, recomputed
        Both, as they would be shown.
    size
        Relative to the larger of two numbers; of arrays, the largest difference relative to the largest value; 1 for what is no
        number.
    """

    where: str
    recorded: str
    recomputed: str
    size: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """A decision and its recomputation.

    Parameters
    ----------
    differences
        The largest first; empty if both are the same, bit for bit.
    values, arrays
        How many were compared.
    versions
        Name -> (then, now), of what has changed since.
    remarks
        What could not be compared, and why.
    """

    differences: tuple[Difference, ...]
    values: int
    arrays: int
    versions: Mapping[str, tuple[str, str]]
    remarks: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether everything that can be compared is the same."""
        return not self.differences


def recompute(question: RecordedInputs, workers: Workers, progress: Progress = silent) -> Decision:
    """The decision that today's code makes on the same question.

    A search that a deadline ended is ended after the same rung.
    """
    agent = Agent(question.config, workers)
    ended = _Ended(question.ended_after)
    try:
        return agent.on_scan(
            question.scan,
            question.limits,
            question.measured_xy,
            measured_s=question.measured_s,
            results=question.results,
            previous=question.previous,
            earlier=question.earlier,
            start=question.start,
            progress=progress,
            out_of_time=ended.now if question.ended_after is not None else None,
            on_rung=ended.reached if question.ended_after is not None else None,
        )
    except SearchCancelledError:
        raise
    except (AdapterError, AgentError) as error:
        return agent.unresolved(question.scan, str(error))


class _Ended:
    """A deadline that passes when a rung is complete, in place of one by the clock."""

    def __init__(self, rungs: tuple[str, ...] | None) -> None:
        self._passed = rungs == ()
        self._rungs = rungs

    def reached(self, decision: Decision) -> None:
        self._passed = self._passed or tuple(decision.record.rungs) == self._rungs

    def now(self) -> bool:
        return self._passed


def compared(history: History, event: Event, question: RecordedInputs, again: Decision) -> Comparison:
    """The recorded decision held against `again`."""
    recorded, now = dict(event.body["decision"]), again.record.model_dump(mode="json")
    incomparable = _incomparable(recorded, now, question)
    remarks = list(incomparable)
    changed = {
        name: (recorded["versions"].get(name, _MISSING), version)
        for name, version in versions().items()
        if recorded["versions"].get(name) != version
    }
    ids = recorded["decision_id"], now["decision_id"]
    now = _renamed(now, ids[1], ids[0])  # so that a new name is one difference, and all others show
    for record in (recorded, now):
        for name in ("config", "versions", "schema_version"):
            record.pop(name, None)
    then, today = dict(_leaves(recorded)), dict(_leaves(now))
    known = {name: value for name, value in today.items() if name in then or not _grown(name, recorded)}
    reworded = [path for path in then if _reworded(path, then[path], known.get(path))]
    if reworded:
        remarks.append(f"sentences are not compared: this version words {', '.join(reworded)} differently")
    known |= {path: then[path] for path in reworded}
    differences = [*_values(then, known), *_arrays(history, event, again)]
    if ids[0] != ids[1] and not incomparable:
        differences.append(Difference("decision_id", *ids))
    differences.sort(key=lambda d: (-d.size, not d.where.startswith("array ")))
    return Comparison(tuple(differences), len(then), len(event.arrays), changed, tuple(remarks))


def _incomparable(recorded: Mapping[str, Any], now: Mapping[str, Any], question: RecordedInputs) -> list[str]:
    """Why ids cannot be equal: they are made of the configuration and the limits, which may have had fewer entries."""
    grown = sorted(_paths(now["config"]) - _paths(recorded["config"]) - {f"search.{name}" for name in NOT_IN_DECISION_ID})
    grown = [path for path in grown if path.split(".")[0] not in OPERATIONAL]
    told = question.limits.model_fields_set or set(Limits.model_fields)
    grown += sorted(f"limits.{name}" for name in Limits.model_fields if name not in told)
    if not grown:
        return []
    return [f"ids are not compared: since then {', '.join(grown[:4])}{' and others' if len(grown) > 4 else ''} came in"]


def _grown(path: str, recorded: Mapping[str, Any]) -> bool:
    """Whether a field did not exist in the version that recorded the decision."""
    return path.split(".")[0] not in recorded


def _paths(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict) or not value:
        return {path}
    return set().union(*(_paths(inner, f"{path}.{key}".lstrip(".")) for key, inner in value.items()))


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_renamed(v, old, new) for v in value]
    return {k: _renamed(v, old, new) for k, v in value.items()} if isinstance(value, dict) else value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path -> value of all that is neither a list nor an object; entries of lists go by their names, where they have some."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            name = next((inner[n] for n in _NAMES if n in inner), i) if isinstance(inner, dict) else i
            yield from _leaves(inner, f"{path}.{name}")
    else:
        yield path, value


def _values(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for path in [*then, *(p for p in now if p not in then)]:
        a, b = then.get(path, _MISSING), now.get(path, _MISSING)
        if a != b or type(a) is not type(b):
            yield Difference(path, str(a), str(b), _size(a, b))


def _reworded(path: str, then: Any, now: Any) -> bool:
    """Whether both are sentences, and only their words differ."""
    both = isinstance(then, str) and isinstance(now, str) and bool(then) and bool(now)
    return both and then != now and _PROSE.fullmatch(path) is not None


def _size(a: Any, b: Any) -> float:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    if not numbers:
        return 1.0
    return float(abs(a - b) / max(abs(a), abs(b), 1e-300))


def _arrays(history: History, event: Event, again: Decision) -> Iterator[Difference]:
    """Arrays are the same where their digests are, also those that are not kept any more."""
    for name in dict.fromkeys([*event.arrays, *again.arrays]):
        then, now = event.arrays.get(name), again.arrays.get(name)
        if now is None or then is None:
            there, here = (_MISSING if v is None else "there" for v in (then, now))
            yield Difference(f"array {name}", there, here)
        elif digest_of(now) != then:
            yield _array_difference(f"array {name}", history, then, now)


def _array_difference(where: str, history: History, digest: str, now: np.ndarray) -> Difference:
    if not history.arrays.path(digest).exists():
        return Difference(where, f"{digest[:12]} (not kept)", digest_of(now)[:12])
    then = history.arrays.get(digest)
    if then.shape != now.shape or then.dtype != now.dtype:
        return Difference(where, f"{then.shape} {then.dtype}", f"{now.shape} {now.dtype}")
    gap = np.abs(then.astype(np.float64) - now.astype(np.float64))
    scale = max(float(np.nanmax(np.abs(then), initial=0.0)), 1e-300)
    largest, count = float(np.nanmax(gap, initial=0.0)), int((then != now).sum())
    return Difference(where, digest[:12], f"{count} of {then.size} values differ, by {largest:.3g} at most", largest / scale)

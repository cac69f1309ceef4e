"""Repeating a recorded decision from the history alone, and comparing the two."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.model import OPERATIONAL
from agent.decision.agent import Agent
from agent.decision.inputs import SearchControl
from agent.errors import AgentError, SearchCancelledError
from agent.history.array_store import digest_of
from agent.history.event_log import Event, History
from agent.preprocessing.keypoints import AUTO, WALLS
from agent.provenance.recorded_inputs import RecordedInputs
from agent.schema.decision import Decision, versions
from agent.search.task_runner import Progress, no_progress
from agent.search.warm_start import NOT_IN_DECISION_ID
from agent.workers.base import Workers
from instrument_adapters.errors import AdapterError
from instrument_adapters.protocol.messages import Limits

_NAMES = ("candidate_id", "request_id", "configuration", "cluster", "name")  # keys that identify the entries of a list
_MISSING = "nothing"
# Sentences for people: a later version may word them differently. Only their presence is compared.
_PROSE = re.compile(
    r"explanation|cold_because|drift\.why_none|faults\..+|quality\.problems\..+\.sentence|candidates\..+\.guarded_out"
)


@dataclass(frozen=True)
class Difference:
    """One value that differs from the recorded one.

    Parameters
    ----------
    where
        Path of the value, such as "candidates.pca-w5-s0.metrics.icl", or "array z".
    recorded, recomputed
        Both values as text.
    size
        Relative difference: of numbers, relative to the larger one; of arrays, the largest difference relative to the largest
        value; 1 for anything else.
    """

    where: str
    recorded: str
    recomputed: str
    size: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Result of comparing a decision with its recomputation.

    Parameters
    ----------
    differences
        Differences, the largest first; empty if both are identical bit for bit.
    values, arrays
        Numbers of values and arrays compared.
    versions
        Name -> (then, now) of each package whose version has changed.
    remarks
        What could not be compared and why, one sentence each.
    """

    differences: tuple[Difference, ...]
    values: int
    arrays: int
    versions: Mapping[str, tuple[str, str]]
    remarks: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether everything that can be compared is identical."""
        return not self.differences


def recompute(recorded_inputs: RecordedInputs, workers: Workers, progress: Progress = no_progress) -> Decision:
    """The decision that the present code makes from the same inputs.

    A search that a deadline ended is stopped after the same rung.
    """
    agent = Agent(recorded_inputs.config, workers)
    control = SearchControl(progress=progress)
    if recorded_inputs.ended_after is not None:
        deadline = _RungDeadline(recorded_inputs.ended_after)
        control = SearchControl(progress=progress, out_of_time=deadline.passed, on_rung=deadline.reached)
    try:
        return agent.decide(recorded_inputs.inputs, control)
    except SearchCancelledError:
        raise
    except (AdapterError, AgentError) as error:
        return agent.unresolved(recorded_inputs.inputs.scan, str(error))


class _RungDeadline:
    """A deadline that passes when the given rungs are complete, whatever the clock says."""

    def __init__(self, rungs: tuple[str, ...]) -> None:
        self._passed = rungs == ()
        self._rungs = rungs

    def reached(self, decision: Decision) -> None:
        self._passed = self._passed or tuple(decision.record.rungs) == self._rungs

    def passed(self) -> bool:
        return self._passed


def compare(history: History, event: Event, recorded_inputs: RecordedInputs, again: Decision) -> Comparison:
    """Compare the recorded decision with the recomputed one.

    Parameters
    ----------
    history
        History that holds the decision.
    event
        Event of the decision.
    recorded_inputs
        Reconstructed inputs of the decision.
    again
        The recomputed decision.
    """
    recorded, now = dict(event.body["decision"]), again.record.model_dump(mode="json")
    incomparable = _why_ids_differ(recorded, now, recorded_inputs)
    remarks = list(incomparable)
    changed = {
        name: (recorded["versions"].get(name, _MISSING), version)
        for name, version in versions().items()
        if recorded["versions"].get(name) != version
    }
    ids = recorded["decision_id"], now["decision_id"]
    now = _renamed(now, ids[1], ids[0])  # a different id counts as one difference and must not hide the others
    for record in (recorded, now):
        for name in ("config", "versions", "schema_version"):
            record.pop(name, None)
    then, today = dict(_leaves(recorded)), dict(_leaves(now))
    comparable = {name: v for name, v in today.items() if name in then or not (v is None or _added_later(name, recorded))}
    reworded = [path for path in then if _reworded(path, then[path], comparable.get(path))]
    if reworded:
        remarks.append(f"sentences are not compared: this version words {', '.join(reworded)} differently")
    comparable |= {path: then[path] for path in reworded}
    differences = [*_values(then, comparable), *_arrays(history, event, again)]
    if ids[0] != ids[1] and not incomparable:
        differences.append(Difference("decision_id", *ids))
    differences.sort(key=lambda d: (-d.size, not d.where.startswith("array ")))
    return Comparison(tuple(differences), len(then), len(event.arrays), changed, tuple(remarks))


def _why_ids_differ(recorded: Mapping[str, Any], now: Mapping[str, Any], recorded_inputs: RecordedInputs) -> list[str]:
    """Why ids cannot be equal: they depend on configuration and limits, to which a newer version may have added entries."""
    added = sorted(
        _paths(now["config"]) - _paths(recorded["config"]) - {f"search.{name}" for name in NOT_IN_DECISION_ID} - {"scan.rules"}
    )
    unused = (
        *OPERATIONAL,
        *(() if {AUTO, WALLS} & set(recorded_inputs.config.keypoints) else ("walls",)),
    )  # nothing depends on them
    added = [path for path in added if path.split(".")[0] not in unused]
    reported = recorded_inputs.inputs.limits.model_fields_set or set(Limits.model_fields)
    added += sorted(f"limits.{name}" for name in Limits.model_fields if name not in reported)
    if not added:
        return []
    return [f"ids are not compared: {', '.join(added[:4])}{' and others' if len(added) > 4 else ''} were added since"]


def _added_later(path: str, recorded: Mapping[str, Any]) -> bool:
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
    """(path, value) of all values that are neither lists nor objects; list entries are named by their id if they have one."""
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
    """Whether both are sentences that only differ in wording."""
    both = isinstance(then, str) and isinstance(now, str) and bool(then) and bool(now)
    return both and then != now and _PROSE.fullmatch(path) is not None


def _size(a: Any, b: Any) -> float:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    if not numbers:
        return 1.0
    return float(abs(a - b) / max(abs(a), abs(b), 1e-300))


def _arrays(history: History, event: Event, again: Decision) -> Iterator[Difference]:
    """Compare arrays by digest, which works for released arrays, too."""
    for name in dict.fromkeys([*event.arrays, *again.arrays]):
        then, now = event.arrays.get(name), again.arrays.get(name)
        if now is None or then is None:
            recorded, recomputed = (_MISSING if v is None else "present" for v in (then, now))
            yield Difference(f"array {name}", recorded, recomputed)
        elif digest_of(now) != then:
            yield _array_difference(f"array {name}", history, then, now)


def _array_difference(where: str, history: History, digest: str, now: np.ndarray) -> Difference:
    if not history.arrays.path(digest).exists():
        return Difference(where, f"{digest[:12]} (released)", digest_of(now)[:12])
    then = history.arrays.get(digest)
    if then.shape != now.shape or then.dtype != now.dtype:
        return Difference(where, f"{then.shape} {then.dtype}", f"{now.shape} {now.dtype}")
    difference = np.abs(then.astype(np.float64) - now.astype(np.float64))
    scale = max(float(np.nanmax(np.abs(then), initial=0.0)), 1e-300)
    largest, count = float(np.nanmax(difference, initial=0.0)), int((then != now).sum())
    return Difference(where, digest[:12], f"{count} of {then.size} values differ, by {largest:.3g} at most", largest / scale)

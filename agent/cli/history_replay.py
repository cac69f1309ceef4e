"""`vaestar history replay`: decisions computed again from the history alone and compared with the record."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.lookup import find_events, open_history, reading_history
from agent.provenance.recorded_inputs import DECISION_KINDS, RecordedInputs, recorded_inputs
from agent.provenance.replay import Comparison, compare, recompute
from agent.reporting.terminal import print_line, search_progress
from agent.schema.decision_basis import machine
from agent.workers.factory import workers_for
from instrument_adapters.command_line.output import write_json

_ALTERED = "the recorded inputs or the program were altered"
_MAX_DIFFERENCES = 12


def replay(run: Path | None, identifier: str | None, *, beside: Path | None, workers: int | None, as_json: bool) -> bool:
    """Compute decisions again, print what differs, and return whether all are the same.

    Parameters
    ----------
    run
        Run directory.
    identifier
        Id of a decision or a scan (all decisions on it), or number of an event; None: every decision of the run.
    beside
        Folder that is searched for the user's own modules.
    workers
        Number of worker processes; by default that of the recorded decision.
    as_json
        Whether to print one JSON object per decision instead of sentences.
    """
    with open_history(run) as history:
        with reading_history(history):
            events = _decisions(history, identifier)
        same = [_replay(history, event, beside, workers, as_json) for event in events]
    if len(same) > 1 and not as_json:
        print_line(f"{len(same)} decisions: {sum(same)} identical, {len(same) - sum(same)} different")
    return all(same)


def _decisions(history: History, identifier: str | None) -> list[Event]:
    if identifier is None:
        every = (e for kind in DECISION_KINDS for e in history.events(kind=kind))
        found = sorted(every, key=lambda e: e.seq)
    else:
        found = [e for e in find_events(history, identifier) if e.kind in DECISION_KINDS]
    if not found:
        what = "no decision" if identifier is None else f"no decision of '{identifier}'"
        raise HistoryError(f"there is {what} in {history.run_directory}; `vaestar history list --kind decision_made` lists them")
    return found


def _replay(history: History, event: Event, beside: Path | None, workers: int | None, as_json: bool) -> bool:
    started = time.monotonic()
    with reading_history(history):  # not around what is printed: an error of printing is none of the history
        inputs = recorded_inputs(history, event, beside)
        count = inputs.config.search.workers if workers is None else workers
        with workers_for(count, inputs.config.modules_directory) as pool, search_progress() as progress:
            recomputed = recompute(inputs, pool, progress)
        found = compare(history, event, inputs, recomputed)
    if as_json:
        write_json(_as_json(event, inputs, found), indent=None)
    else:
        for line in _lines(event, inputs, found, time.monotonic() - started):
            print_line(line)
    return found.same


def _lines(event: Event, inputs: RecordedInputs, found: Comparison, seconds: float) -> Iterator[str]:
    basis = ", ".join(f"{name} (event {seq})" for name, seq in inputs.source_events.items())
    yield f"{event.subject}, event {event.seq}: computed again in {seconds:.1f} s from {basis}"
    if not inputs.basis_recorded:
        yield "  recorded by an older version without its inputs; they were derived from the earlier events"
    for remark in found.remarks:
        yield f"  {remark}"
    counted = f"{found.values} values and {found.arrays} arrays"
    if found.same:
        yield f"  identical, bit for bit: {counted}"
        return
    yield f"  different: {len(found.differences)} of {counted} differ"
    for d in found.differences[:_MAX_DIFFERENCES]:
        size = f"  (relative {d.size:.1e})" if d.size < 1 else ""
        yield f"    {d.where}: {_short(d.recorded)} -> {_short(d.recomputed)}{size}"
    if len(found.differences) > _MAX_DIFFERENCES:
        yield f"    and {len(found.differences) - _MAX_DIFFERENCES} smaller differences"
    yield f"  {_cause(inputs, found)}"


def _cause(inputs: RecordedInputs, found: Comparison) -> str:
    changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in found.versions.items())
    if changed:
        return f"cause: the versions have changed since: {changed}"
    if not inputs.basis.machine:
        unknown = f"the machine of the decision was not recorded (this is {machine()})"
        return f"the versions are the same; {unknown}. If more than the last bits differ, {_ALTERED}"
    if inputs.basis.machine not in ("", machine()):
        other = f"the decision was made on another machine ({inputs.basis.machine}; this is {machine()})"
        return f"the versions are the same; {other}. If more than the last bits differ, {_ALTERED}"
    return f"versions and machine are the same: {_ALTERED}"


def _as_json(event: Event, inputs: RecordedInputs, found: Comparison) -> dict[str, Any]:
    return {
        "decision_id": event.subject,
        "event": event.seq,
        "same": found.same,
        "rests_on": inputs.source_events,
        "noted": inputs.basis_recorded,
        "values": found.values,
        "arrays": found.arrays,
        "versions_changed": {name: list(pair) for name, pair in found.versions.items()},
        "machine": {"then": inputs.basis.machine, "now": machine()},
        "remarks": list(found.remarks),
        "differences": [asdict(d) for d in found.differences],
    }


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."

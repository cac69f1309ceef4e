"""`vaestar history replay`: decisions made again from the history alone."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.lookup import find, legible, opened
from agent.provenance.recorded_inputs import DECISIONS, RecordedInputs, question_behind
from agent.provenance.replay import Comparison, compared, recompute
from agent.reporting.terminal import say, search_progress
from agent.schema.decision_basis import machine
from agent.workers.factory import workers_for

_ALTERED = "what the decision rests on, or the program, was altered"
_SHOWN = 12


def replay(run: Path | None, identifier: str | None, *, beside: Path | None, workers: int | None, as_json: bool) -> bool:
    """Whether the decisions that are meant come out the same again; says so, and shows what differs.

    Parameters
    ----------
    run
        Run directory.
    identifier
        A decision, a scan (all decisions on it), or the number of an event; None: every decision of the run.
    beside
        Where modules of the user's own are looked for.
    workers
        Processes; by default as many as the decision was made with.
    as_json
        One JSON object for each decision in place of sentences.
    """
    with opened(run) as history, legible(history):
        chosen = _decisions(history, identifier)
        outcomes = [_replayed(history, event, beside, workers, as_json) for event in chosen]
    if len(outcomes) > 1 and not as_json:
        say(f"{len(outcomes)} decisions, {sum(outcomes)} the same, {len(outcomes) - sum(outcomes)} not")
    return all(outcomes)


def _decisions(history: History, identifier: str | None) -> list[Event]:
    if identifier is None:
        every = (e for kind in DECISIONS for e in history.events(kind=kind))
        found = sorted(every, key=lambda e: e.seq)
    else:
        found = [e for e in find(history, identifier) if e.kind in DECISIONS]
    if not found:
        what = "no decision" if identifier is None else f"no decision that '{identifier}' stands for"
        raise HistoryError(f"there is {what} in {history.run_directory}; `vaestar history list --kind decision_made` shows them")
    return found


def _replayed(history: History, event: Event, beside: Path | None, workers: int | None, as_json: bool) -> bool:
    started = time.monotonic()
    question = question_behind(history, event, beside)
    count = question.config.search.workers if workers is None else workers
    with workers_for(count, question.config.directory) as pool, search_progress() as progress:
        again = recompute(question, pool, progress)
    found = compared(history, event, question, again)
    if as_json:
        sys.stdout.write(json.dumps(_told(event, question, found)) + "\n")
    else:
        for line in _lines(event, question, found, time.monotonic() - started):
            say(line)
    return found.same


def _lines(event: Event, question: RecordedInputs, found: Comparison, seconds: float) -> Iterator[str]:
    rests = ", ".join(f"{name} (event {seq})" for name, seq in question.rests_on.items())
    yield f"{event.subject}, event {event.seq}: decided again in {seconds:.1f} s, from {rests}"
    if not question.noted:
        yield "  an older version did not note what was known at the time; it was worked out from the events before"
    for remark in found.remarks:
        yield f"  {remark}"
    counted = f"{found.values} values and {found.arrays} arrays"
    if found.same:
        yield f"  the same, bit for bit: {counted}"
        return
    yield f"  not the same: {len(found.differences)} of {counted} differ"
    for d in found.differences[:_SHOWN]:
        size = f"  (relative {d.size:.1e})" if d.size < 1 else ""
        yield f"    {d.where}: {_short(d.recorded)} -> {_short(d.recomputed)}{size}"
    if len(found.differences) > _SHOWN:
        yield f"    and {len(found.differences) - _SHOWN} smaller ones"
    yield f"  {_cause(question, found)}"


def _cause(question: RecordedInputs, found: Comparison) -> str:
    changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in found.versions.items())
    if changed:
        return f"versions have changed since: {changed}"
    if not question.asked.machine:
        unknown = f"which machine it was decided on was not recorded (this is {machine()})"
        return f"versions are the same; {unknown}. If more than last bits differ, {_ALTERED}"
    if question.asked.machine not in ("", machine()):
        other = f"it was decided on another machine ({question.asked.machine}; this is {machine()})"
        return f"versions are the same; {other}. If more than last bits differ, {_ALTERED}"
    return f"versions and machine are the same: {_ALTERED}"


def _told(event: Event, question: RecordedInputs, found: Comparison) -> dict[str, Any]:
    return {
        "decision_id": event.subject,
        "event": event.seq,
        "same": found.same,
        "rests_on": question.rests_on,
        "noted": question.noted,
        "values": found.values,
        "arrays": found.arrays,
        "versions_changed": {name: list(pair) for name, pair in found.versions.items()},
        "machine": {"then": question.asked.machine, "now": machine()},
        "remarks": list(found.remarks),
        "differences": [asdict(d) for d in found.differences],
    }


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[:most]}..."

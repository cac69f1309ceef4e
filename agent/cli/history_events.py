"""`vaestar history list, show, verify, head`: reading a run's events."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.filters import Part, stream
from agent.history.head import Head
from agent.history.lookup import find, opened
from agent.history.readers import decision_in
from agent.reporting.terminal import OUT, cluster_table, counting, say
from agent.schema import event_kinds as kinds
from agent.schema.model_kinds import label

_POLL_S = 0.5


def list_events(run: Path | None, part: Part, last: int | None = None) -> None:
    """Print one line an event."""
    with opened(run) as history:
        say(str(history.run_directory))
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("#", "time (UTC)", "event", "of", "what"):
            table.add_column(heading, overflow="fold" if heading in ("of", "what") else "ellipsis", no_wrap=heading == "event")
        for event in stream(history, part, last=last):
            table.add_row(*(escape(cell) for cell in _cells(event)))
        if not table.rows and str(part):
            raise HistoryError(_nothing(history, part))
        OUT.print(table)


def follow(run: Path | None, part: Part, last: int | None = None, wait: Callable[[], None] = lambda: time.sleep(_POLL_S)) -> None:
    """Print the newest events, a line each, and then every further one when it comes, until interrupted."""
    with opened(run) as history:
        seen = 0
        for event in stream(history, part, last=10 if last is None else last):
            say("  ".join(_cells(event)))
            seen = event.seq
        seen = max(seen, history.head.seq)
        while True:
            for event in stream(history, part, after=seen):
                say("  ".join(_cells(event)))
            seen = max(seen, history.head.seq)
            wait()


def show(run: Path | None, identifier: str) -> None:
    """Print everything that is known about an id: its events, and a decision in words."""
    with opened(run) as history:
        released = history.released()
        for event in find(history, identifier):
            heading = f"#{event.seq} {event.kind} {event.subject}  {event.recorded_at.isoformat()}"
            OUT.print(heading, style="bold", markup=False, highlight=False)
            if event.kind == kinds.DECISION_MADE:
                _show_decision(history, event)
            else:
                OUT.print_json(json.dumps(_brief(event.body)))
            for name, digest in event.arrays.items():
                if digest in released:
                    say(f"  array {name}: released, {digest[:12]}")
                    continue
                array = history.arrays.get(digest)
                say(f"  array {name}: {array.shape} {array.dtype}, {digest[:12]}")


def verify(run: Path | None, noted: str | None = None) -> bool:
    """True if the history is as it was written; otherwise its faults are printed.

    Parameters
    ----------
    run
        Run directory.
    noted
        A head that was noted down earlier (`print_head`): the history must still hold it.
    """
    head = None if noted is None else Head.parse(noted)
    with opened(run) as history:
        with counting("events") as progress:
            verdict = history.inspect(head, progress)
        for fault in verdict.faults:
            say(fault)
        for remark in verdict.remarks:
            say(f"({remark})")
        say(f"{verdict.events} events, {len(verdict.faults)} faults in {history.run_directory}")
    return not verdict.faults


def print_head(run: Path | None) -> None:
    """Print number and hash of the newest event, to be noted down elsewhere."""
    with opened(run) as history:
        say(str(history.head))


def _cells(event: Event) -> tuple[str, ...]:
    return str(event.seq), f"{event.recorded_at:%Y-%m-%d %H:%M:%S}", event.kind, event.subject, _summary(event)


def _nothing(history: History, part: Part) -> str:
    sentence = f"no event of {part} in {history.run_directory}"
    if part.kind is None:
        return sentence
    known = sorted({e.kind for e in history.events()})
    return f"{sentence}; it holds {', '.join(known) or 'nothing yet'}"


def _show_decision(history: History, event: Event) -> None:
    record = decision_in(history, event).record
    say(record.explanation)
    if record.clusters:
        OUT.print(cluster_table(record))
    table = Table(title="configurations, best first", title_justify="left")
    for heading in ("kind", "window (px)", "reward", "spread", "seeds", "types", "σ below best", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for c in record.configurations:
        spread, below = ("-" if v is None else f"{v:.3f}" for v in (c.std, c.sigmas_below_best))
        row = (
            label(c.invariance, c.variant),
            str(c.window_px),
            f"{c.mean:.3f}",
            spread,
            str(c.seeds),
            str(c.types),
            below,
            "tie" if c.in_tie_set else "",
        )
        table.add_row(*row)
    if record.configurations:
        OUT.print(table)
    for candidate in record.candidates:
        if candidate.guarded_out:
            say(f"  left out: {candidate.candidate_id}: {candidate.guarded_out}")


def _brief(body: dict[str, Any]) -> dict[str, Any]:
    """The body without long lists."""
    return {key: f"{len(value)} entries" if isinstance(value, list) and len(value) > 20 else value for key, value in body.items()}


def _summary(event: Event) -> str:
    try:
        return _summary_of(event.kind, event.body)
    except (LookupError, TypeError, AttributeError):
        return "altered; see `vaestar history verify`"


def _summary_of(kind: str, body: dict[str, Any]) -> str:
    if kind == kinds.SCAN_RECEIVED:
        frame = body["header"]["frame"]
        return f"{frame['rows']} x {frame['cols']} px, {len(body['header']['channels'])} channels, from {body['instrument_id']}"
    if kind == kinds.CANDIDATES_SCORED:
        out = sum(1 for c in body["candidates"] if c["guarded_out"])
        return f"{len(body['candidates'])} candidates, {out} left out"
    if kind == kinds.DECISION_MADE:
        decision = body["decision"]
        return f"{decision['outcome']}: {decision['chosen'] or '-'}, {len(decision['requests'])} places, {body['seconds']:.1f} s"
    if kind == kinds.RESULT_RECEIVED:
        return f"cluster {body['cluster']}: {body['status']} {body['reason']}".strip()
    return str(body.get("reason") or body.get("model") or "")

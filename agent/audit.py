"""`vaestar history`: reading a run's events."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agent import ledger as kinds
from agent.archive import decision_in
from agent.history import Event, History, HistoryError
from agent.runs import run_directory
from agent.terminal import OUT, cluster_table
from agent.workflow.kinds import label


def list_events(run: Path | None, kind: str | None) -> None:
    """Print one line an event."""
    with History(run_directory(run), read_only=True) as history:
        table = Table(title=escape(str(history.run_directory)), title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("#", "time (UTC)", "event", "of", "what"):
            table.add_column(heading, overflow="fold" if heading in ("of", "what") else "ellipsis", no_wrap=heading == "event")
        for event in history.events(kind=kind):
            time = f"{event.recorded_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(str(event.seq), time, escape(event.kind), escape(event.subject), escape(_summary(event)))
        if kind is not None and not table.rows:
            known = sorted({e.kind for e in history.events()})
            raise HistoryError(
                f"no event of kind '{kind}' in {history.run_directory}; it holds {', '.join(known) or 'nothing yet'}"
            )
        OUT.print(table)


def show(run: Path | None, identifier: str) -> None:
    """Print everything that is known about an id: its events, and a decision in words."""
    with History(run_directory(run), read_only=True) as history:
        found = _find(history, identifier)
        for event in found:
            heading = f"#{event.seq} {event.kind} {event.subject}  {event.recorded_at.isoformat()}"
            OUT.print(heading, style="bold", markup=False, highlight=False)
            if event.kind == kinds.DECISION_MADE:
                _show_decision(history, event)
            else:
                OUT.print_json(json.dumps(_brief(event.body)))
            for name, digest in event.arrays.items():
                array = history.arrays.get(digest)
                _print(f"  array {name}: {array.shape} {array.dtype}, {digest[:12]}")


def export_json(run: Path | None) -> None:
    """Print all events as JSON lines."""
    with History(run_directory(run), read_only=True) as history:
        for event in history.events():
            line = {
                "seq": event.seq,
                "recorded_at": event.recorded_at.isoformat(),
                "kind": event.kind,
                "subject": event.subject,
                "body": event.body,
                "arrays": event.arrays,
                "hash": event.hash,
            }
            sys.stdout.write(json.dumps(line) + "\n")


def verify(run: Path | None) -> bool:
    """True if the history is as it was written; otherwise its faults are printed."""
    with History(run_directory(run), read_only=True) as history:
        faults = history.verify()
        for fault in faults:
            _print(fault)
        _print(f"{len(history)} events, {len(faults)} faults in {history.run_directory}")
    return not faults


def _print(sentence: str) -> None:
    """One line, as it stands, however long."""
    OUT.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _find(history: History, identifier: str) -> list[Event]:
    events = list(history.events())
    found = [e for e in events if identifier in _names(e)] or [e for e in events if str(e.seq) == identifier]
    found = found or [e for e in events if e.subject.startswith(identifier)]
    if not found:
        raise HistoryError(f"'{identifier}' is not in {history.run_directory}; `vaestar history list` shows what is")
    return found


def _names(event: Event) -> list[str]:
    """The ids of all that an event is about: its subject, its scan, and the requests that it makes."""
    requests = event.body.get("decision", {}).get("requests", ())
    return [event.subject, event.body.get("scan_id", event.subject), *(r["request_id"] for r in requests)]


def _show_decision(history: History, event: Event) -> None:
    record = decision_in(history, event).record
    _print(record.explanation)
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
            _print(f"  left out: {candidate.candidate_id}: {candidate.guarded_out}")


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

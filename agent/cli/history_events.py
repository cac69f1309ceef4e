"""`vaestar history list, show, verify, head, retain`: the events and arrays of a run."""

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from agent.config.retention import RetentionSettings
from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.history.head import Head
from agent.history.lookup import find_events, open_history, reading_history
from agent.history.readers import decision_in, reading_event
from agent.history.retention import ReleasePlan, plan_release, release
from agent.history.run_directory import named_or_newest
from agent.reporting.terminal import OUT, cluster_table, print_line, progress_bar
from agent.schema import event_kinds as kinds
from agent.schema.model_kinds import label
from agent.schema.wording import result_remark
from instrument_adapters.command_line.output import write_line
from instrument_adapters.plain_text import visible

_POLL_S = 0.5
_HEADINGS = ("#", "time (UTC)", "event", "of", "what")


def list_events(run: Path | None, event_filter: EventFilter, last: int | None = None) -> None:
    """Print one line for each event that passes the filter; a line is never broken, so that it can be searched and cut."""
    with open_history(run) as history:
        rows = [_cells(event) for event in filtered_events(history, event_filter, last=last, outlines=True)]
        if not rows and str(event_filter):
            raise HistoryError(_no_events(history, event_filter))
        write_line(str(history.run_directory))
        for line in _in_columns([_HEADINGS, *rows]):
            write_line(line)


def follow(
    run: Path | None, event_filter: EventFilter, last: int | None = None, wait: Callable[[], None] = lambda: time.sleep(_POLL_S)
) -> None:
    """Print the newest events, one line each, then every new one until interrupted."""
    with open_history(run) as history:
        seen = 0
        for event in filtered_events(history, event_filter, last=10 if last is None else last, outlines=True):
            print_line("  ".join(_cells(event)))
            seen = event.seq
        seen = max(seen, history.head.seq)
        while True:
            for event in filtered_events(history, event_filter, after=seen, outlines=True):
                print_line("  ".join(_cells(event)))
            seen = max(seen, history.head.seq)
            wait()


def show(run: Path | None, identifier: str) -> None:
    """Print all events of an id; of a decision, its explanation and tables."""
    with open_history(run) as history:
        released = history.released()
        for event in find_events(history, identifier):
            heading = f"#{event.seq} {event.kind} {event.subject}  {event.recorded_at.isoformat()}"
            OUT.print(visible(heading), style="bold", soft_wrap=True)
            if event.kind == kinds.DECISION_MADE:
                _show_decision(history, event)
            else:
                OUT.print_json(json.dumps(_brief(event.body)))
            for name, digest in event.arrays.items():
                if digest in released:
                    print_line(f"  array {name}: released, {digest[:12]}")
                    continue
                array = history.arrays.get(digest)
                print_line(f"  array {name}: {array.shape} {array.dtype}, {digest[:12]}")


def verify(run: Path | None, noted: str | None = None) -> bool:
    """Check the history and print its faults; return whether there are none.

    Parameters
    ----------
    run
        Run directory.
    noted
        Head that `print_head` printed earlier, SEQ:HASH; the history must still contain it.
    """
    head = None if noted is None else Head.parse(noted)
    with open_history(run) as history:
        with progress_bar("events") as progress:
            report = history.inspect(head, progress)
        for fault in report.faults:
            print_line(fault)
        for remark in report.remarks:
            print_line(f"({remark})")
        print_line(f"{report.events} events, {len(report.faults)} faults in {history.run_directory}")
    return not report.faults


def print_head(run: Path | None) -> None:
    """Print sequence number and hash of the newest event."""
    with open_history(run) as history:
        print_line(str(history.head))


def _cells(event: Event) -> tuple[str, ...]:
    cells = str(event.seq), event.recorded_at.isoformat(" ", "seconds")[:19], event.kind, event.subject, _summary(event)
    return tuple(map(visible, cells))


def _in_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """One line for each row, with its cells below each other; the last one may have any length."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    line = "  ".join([*(f"{{:{width}}}" for width in widths[:-1]), "{}"])
    for row in rows:
        yield line.format(*row).rstrip()


def _no_events(history: History, event_filter: EventFilter) -> str:
    message = f"no event of {event_filter} in {history.run_directory}"
    if event_filter.kind is None:
        return message
    known = sorted({e.kind for e in history.events(outlines=True)})
    return f"{message}; its kinds of events are {', '.join(known) or 'none yet'}"


def _show_decision(history: History, event: Event) -> None:
    record = decision_in(history, event).record
    print_line(record.explanation)
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
            print_line(f"  rejected: {candidate.candidate_id}: {candidate.guarded_out}")


def _brief(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with long lists replaced by their lengths."""
    return {key: f"{len(value)} entries" if isinstance(value, list) and len(value) > 20 else value for key, value in body.items()}


def _summary(event: Event) -> str:
    try:
        return _summary_of(event.kind, event.body)
    except (LookupError, TypeError, AttributeError):
        return "altered event; see `vaestar history verify`"


def _summary_of(kind: str, body: dict[str, Any]) -> str:
    if kind == kinds.SCAN_RECEIVED:
        frame = body["header"]["frame"]
        return f"{frame['rows']} x {frame['cols']} px, {len(body['header']['channels'])} channels, from {body['instrument_id']}"
    if kind == kinds.CANDIDATES_SCORED:
        rejected = sum(1 for c in body["candidates"] if c["guarded_out"])
        return f"{len(body['candidates'])} candidates, {rejected} rejected"
    if kind == kinds.DECISION_MADE:
        decision = body["decision"]
        return f"{decision['outcome']}: {decision['chosen'] or '-'}, {len(decision['requests'])} points, {body['seconds']:.1f} s"
    if kind == kinds.RESULT_RECEIVED:
        return f"cluster {body['cluster']}: {body['status']} {result_remark(body)}".strip()
    return str(body.get("reason") or body.get("model") or "")


def retain_arrays(run: Path | None, config: Path | None, *, dry_run: bool) -> None:
    """Release the arrays that the retention settings allow, recording it first; with `dry_run` only list them.

    Parameters
    ----------
    run
        Run directory; unless `dry_run`, no agent may be using it.
    config
        Configuration file with the section [retention]; by default the settings of the run's last agent.
    dry_run
        Whether only to list the arrays.
    """
    from agent.config.model import load_config  # takes half a second, which the other commands need not wait

    now = datetime.now(UTC)
    directory = named_or_newest(run)
    History(directory, read_only=True).close()  # refuses a folder without a history, where opening it to write would begin one
    with History(directory, read_only=dry_run) as history, reading_history(history):
        settings = _retention_settings(history) if config is None else load_config(config).retention
        plan = plan_release(history, settings, now)
        for line in _plan_lines(history, plan):
            print_line(line)
        if not dry_run:
            event = release(history, plan, functools.partial(history.record, at=now))
            print_line("nothing was released" if event is None else f"released, event {event.seq}: {event.body['bytes']} bytes")


def _retention_settings(history: History) -> RetentionSettings:
    for started in history.events(kind=kinds.RUN_STARTED, last=1):
        with reading_event(started):
            return RetentionSettings.model_validate(started.body["config"].get("retention", {}))
    return RetentionSettings()


def _plan_lines(history: History, plan: ReleasePlan) -> list[str]:
    lines = [f"event {g.seq}: {g.name}, {g.digest[:12]}" for g in plan.released]
    lines += [f"file without an event: {path.name}" for path in plan.orphans]
    size = sum(p.stat().st_size for p in {history.arrays.path(g.digest) for g in plan.released} | set(plan.orphans))
    return [
        *lines,
        f"{len(plan.released)} arrays and {len(plan.orphans)} stray files can be released, {size} bytes ({plan.settings})",
    ]

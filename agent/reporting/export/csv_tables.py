"""Export as CSV tables: events, decisions, candidates, requests with results, and loops. Column names contain units."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events, scan_of_event
from agent.history.lookup import entries
from agent.history.readers import reading_event
from agent.reporting.export.rows import MeasurementRow, decisions_only, measurements
from instrument_adapters.plain_text import as_cell

Row = Mapping[str, Any]
_CANDIDATE_COLUMNS = (
    "candidate_id",
    "window_px",
    "invariance",
    "variant",
    "keypoints",
    "channels",
    "seed",
    "latent_dim",
    "beta",
    "steps",
    "points",
    "survivors",
    "elbo_per_px",
    "reconstruction_per_px",
    "value",
    "guarded_out",
)
_REQUEST_COLUMNS = ("request_id", "x_m", "y_m", "row", "col", "cluster", "rank", "core_distance")


def write_tables(history: History, event_filter: EventFilter, folder: Path) -> str:
    """Write the five tables into a folder; returns a summary of their size."""
    counts = [
        _write_table(folder / "events.csv", _events(history, event_filter)),
        _write_table(folder / "decisions.csv", _decisions(history, event_filter)),
        _write_table(
            folder / "candidates.csv", _candidates(history, event_filter), _column_names(_candidates(history, event_filter))
        ),
        _write_table(
            folder / "requests_and_results.csv", _measured(history, event_filter), _column_names(_measured(history, event_filter))
        ),
        _write_table(folder / "loops.csv", _loops(history, event_filter), _column_names(_loops(history, event_filter))),
    ]
    return f"5 tables with {sum(counts)} rows"


def _write_table(path: Path, rows: Iterable[Row], columns: Sequence[str] | None = None) -> int:
    """Write rows to a CSV file and return their number; by default the columns are the keys of the first row."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for row in rows:
            columns = columns or list(row)
            if not count:
                table.writerow([as_cell(name) for name in columns])
            table.writerow([as_cell(row.get(name)) for name in columns])
            count += 1
        if not count and columns:
            table.writerow([as_cell(name) for name in columns])
    return count


def _column_names(rows: Iterable[Row]) -> list[str]:
    """Keys that any of the rows has, in the order of their first appearance."""
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(row)
    return list(names)


def _events(history: History, event_filter: EventFilter) -> Iterator[Row]:
    for e in filtered_events(history, event_filter):
        yield {
            "seq": e.seq,
            "recorded_at_utc": e.recorded_at.isoformat(),
            "kind": e.kind,
            "subject": e.subject,
            "instrument_id": e.body.get("instrument_id"),
            "scan_id": scan_of_event(e),
            "by": e.body.get("by"),
            "reason": e.body.get("reason"),
            "hash": e.hash,
        }


def _decisions(history: History, event_filter: EventFilter) -> Iterator[Row]:
    for e in filtered_events(history, decisions_only(event_filter)):
        with reading_event(e):
            yield _decision(e, e.body["decision"])


def _decision(e: Event, d: Mapping[str, Any]) -> Row:
    chosen: Mapping[str, Any] = next((c for c in entries(d, "candidates") if c["candidate_id"] == d["chosen"]), {})
    return {
        "seq": e.seq,
        "recorded_at_utc": e.recorded_at.isoformat(),
        "decision_id": d["decision_id"],
        "instrument_id": e.body["instrument_id"],
        "sample_id": d["sample_id"],
        "scan_id": d["scan_id"],
        "outcome": d["outcome"],
        "chosen": d["chosen"],
        "window_px": chosen.get("window_px"),
        "invariance": chosen.get("invariance"),
        "types": len(d["clusters"]),
        "places": len(d["requests"]),
        "candidates": len(d["candidates"]),
        "left_out": sum(1 for c in d["candidates"] if c["guarded_out"]),
        "keypoints_used": d["keypoints_used"],
        "points_measured_before": d["points_measured_before"],
        "results_used": d.get("results_used"),
        "warm_from": d.get("warm_from"),
        "drift_nm_per_min": d.get("drift", {}).get("nm_per_min"),
        "took_s": e.body["seconds"],
        "explanation": d["explanation"],
    }


def _candidates(history: History, event_filter: EventFilter) -> Iterator[Row]:
    for e in filtered_events(history, decisions_only(event_filter)):
        d = e.body["decision"]
        for c in entries(d, "candidates"):
            head = {"decision_id": d["decision_id"], "scan_id": d["scan_id"], "chosen": int(c["candidate_id"] == d["chosen"])}
            yield head | {name: c.get(name) for name in _CANDIDATE_COLUMNS} | {f"metric_{n}": v for n, v in c["metrics"].items()}


def _measured(history: History, event_filter: EventFilter) -> Iterator[Row]:
    return (_measurement(m) for m in measurements(history, event_filter))


def _measurement(m: MeasurementRow) -> Row:
    body: Mapping[str, Any] = m.result.body if m.result else {}
    decision = m.decision.body["decision"]
    row = {"decision_id": decision["decision_id"], "scan_id": decision["scan_id"], "sample_id": decision["sample_id"]}
    row |= {"instrument_id": m.decision.body["instrument_id"]} | {name: m.request[name] for name in _REQUEST_COLUMNS}
    row |= {"fate": m.fate, "status": body.get("status"), "reason": body.get("reason"), "measured_at": body.get("measured_at")}
    row |= {"measured_x_m": body.get("x_m"), "measured_y_m": body.get("y_m")}
    return row | dict(body.get("parameters", {}))


def _loops(history: History, event_filter: EventFilter) -> Iterator[Row]:
    for m in measurements(history, event_filter):
        if m.result is None or not m.result.arrays:
            continue
        arrays = {name: history.arrays.get(digest).ravel() for name, digest in m.result.arrays.items()}
        for step in range(max(len(a) for a in arrays.values())):
            values = {name: float(a[step]) for name, a in arrays.items() if step < len(a)}
            yield {
                "request_id": m.request["request_id"],
                "instrument_id": m.decision.body["instrument_id"],
                "step": step,
            } | values

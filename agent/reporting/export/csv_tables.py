"""A history as tables: events, decisions, candidates, requests with their results, loops; columns carry their units."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import Part, scan_of_event, stream
from agent.history.lookup import entries
from agent.history.readers import trusted
from agent.reporting.export.rows import Measurement, decisions_of, measurements

Row = Mapping[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_CANDIDATE = (
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
_REQUEST = ("request_id", "x_m", "y_m", "row", "col", "cluster", "rank", "core_distance")


def write_tables(history: History, part: Part, folder: Path) -> str:
    """Write the five tables into a folder; says how much."""
    counts = [
        _table(folder / "events.csv", _events(history, part)),
        _table(folder / "decisions.csv", _decisions(history, part)),
        _table(folder / "candidates.csv", _candidates(history, part), _names(_candidates(history, part))),
        _table(folder / "requests_and_results.csv", _measured(history, part), _names(_measured(history, part))),
        _table(folder / "loops.csv", _loops(history, part), _names(_loops(history, part))),
    ]
    return f"5 tables with {sum(counts)} rows"


def _table(path: Path, rows: Iterable[Row], columns: Sequence[str] | None = None) -> int:
    """Write rows; the columns are those of the first one if they are not given. Returns how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for row in rows:
            columns = columns or list(row)
            if not count:
                table.writerow(columns)
            table.writerow([_cell(row.get(name)) for name in columns])
            count += 1
        if not count and columns:
            table.writerow(columns)
    return count


def _names(rows: Iterable[Row]) -> list[str]:
    """All columns that any row has, in the order in which they come."""
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(row)
    return list(found)


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers read back as they were."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _events(history: History, part: Part) -> Iterator[Row]:
    for e in stream(history, part):
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


def _decisions(history: History, part: Part) -> Iterator[Row]:
    for e in stream(history, decisions_of(part)):
        with trusted(e):
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


def _candidates(history: History, part: Part) -> Iterator[Row]:
    for e in stream(history, decisions_of(part)):
        d = e.body["decision"]
        for c in entries(d, "candidates"):
            head = {"decision_id": d["decision_id"], "scan_id": d["scan_id"], "chosen": int(c["candidate_id"] == d["chosen"])}
            yield head | {name: c.get(name) for name in _CANDIDATE} | {f"metric_{n}": v for n, v in c["metrics"].items()}


def _measured(history: History, part: Part) -> Iterator[Row]:
    return (_measurement(m) for m in measurements(history, part))


def _measurement(m: Measurement) -> Row:
    body: Mapping[str, Any] = m.result.body if m.result else {}
    decision = m.decision.body["decision"]
    row = {"decision_id": decision["decision_id"], "scan_id": decision["scan_id"], "sample_id": decision["sample_id"]}
    row |= {"instrument_id": m.decision.body["instrument_id"]} | {name: m.request[name] for name in _REQUEST}
    row |= {"fate": m.fate, "status": body.get("status"), "reason": body.get("reason"), "measured_at": body.get("measured_at")}
    row |= {"measured_x_m": body.get("x_m"), "measured_y_m": body.get("y_m")}
    return row | dict(body.get("parameters", {}))


def _loops(history: History, part: Part) -> Iterator[Row]:
    for m in measurements(history, part):
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

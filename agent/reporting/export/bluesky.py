"""Export as bluesky documents: one bluesky run for each scan, with streams "scan", "decision" and "measurement".

Each line is `["start", {...}]`, `["descriptor", {...}]`, `["event", {...}]` or `["stop", {...}]`, as suitcase-jsonl writes them.
The uids are derived from the history, so the same history gives the same documents. event-model validates every document. Images
are not copied: the event names the `.npy` file in the run directory.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.reporting.export.rows import MeasurementRow, decisions_only, measurements, scans_only
from agent.schema.decision import versions

_UID_NAMESPACE = uuid.UUID("6a1f0d6e-5d6f-5f0c-9a56-0c5a3c1f7b1e")
_DECISION_KEYS = ("decision_id", "outcome", "explanation", "keypoints_used", "points_measured_before")


def documents(history: History, event_filter: EventFilter) -> Iterator[str]:
    """The documents, one JSON line each.

    Raises
    ------
    HistoryError
        If `event-model` is not installed.
    """
    try:
        import event_model
    except ModuleNotFoundError as error:
        raise HistoryError(
            f"bluesky documents need '{error.name}', which is not installed; install it with: pip install 'vaestar[bluesky]'"
        ) from error
    for event in filtered_events(history, scans_only(event_filter)):
        for name, document in _Run(event_model, history, event).documents():
            yield json.dumps([name, document])


class _Run:
    """The bluesky run of one scan."""

    def __init__(self, event_model: Any, history: History, scan: Event) -> None:
        self._history, self._scan = history, scan
        self._about = EventFilter(instrument=scan.body["instrument_id"], scan=scan.subject)
        frame = scan.body["header"]["frame"]
        self._bundle = event_model.compose_run(
            uid=_uid(scan, "start"),
            time=scan.recorded_at.timestamp(),
            metadata={
                "scan_id": scan.seq,
                "plan_name": "vaestar",
                "scan_name": scan.subject,
                "instrument_id": scan.body["instrument_id"],
                "sample": scan.body["sample_id"],
                "frame": frame,
                "channels": [c["name"] for c in scan.body["header"]["channels"]],
                "versions": versions(),
                "history_hash": scan.hash,
            },
        )

    def documents(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(name, document) in order: start, the streams, stop."""
        yield "start", self._bundle.start_doc
        image = self._history.arrays.path(self._scan.arrays["channels"]).relative_to(self._history.run_directory)
        yield from self._stream("scan", [(self._scan, {"scan_name": self._scan.subject, "channels_npy": image.as_posix()}, {})])
        last = self._scan
        made = list(filtered_events(self._history, decisions_only(self._about)))
        yield from self._stream("decision", [(e, _decision(e), {}) for e in made])
        last = made[-1] if made else last
        for i, group in enumerate(self._measurement_groups()):
            yield from self._stream("measurement" if i == 0 else f"measurement_{i + 1}", group)
            last = max((e for e, _, _ in group), key=lambda e: e.seq)
        why = "" if made else "no decision was made on this scan"
        stop = self._bundle.compose_stop
        yield "stop", stop(uid=_uid(self._scan, "stop"), time=last.recorded_at.timestamp(), exit_status="success", reason=why)

    def _measurement_groups(self) -> list[list[tuple[Event, dict[str, Any], dict[str, list[int]]]]]:
        """Results grouped by their keys and shapes, because all events of a stream must have the same."""
        groups: dict[tuple[str, ...], list[tuple[Event, dict[str, Any], dict[str, list[int]]]]] = {}
        for m in measurements(self._history, self._about):
            if m.result is not None:
                data, shapes = self._measurement(m, m.result)
                groups.setdefault((*data, str(shapes)), []).append((m.result, data, shapes))
        return list(groups.values())

    def _measurement(self, m: MeasurementRow, result: Event) -> tuple[dict[str, Any], dict[str, list[int]]]:
        body = result.body
        data = {"request_id": result.subject, "decision_id": m.decision.subject, "cluster": body["cluster"]}
        data |= {"status": body["status"], "reason": body["reason"]}
        data |= {name: body[name] for name in ("x_m", "y_m") if body.get(name) is not None}
        data |= dict(body.get("parameters", {}))
        arrays = {name: self._history.arrays.get(digest) for name, digest in result.arrays.items()}
        return data | {name: a.tolist() for name, a in arrays.items()}, {name: list(a.shape) for name, a in arrays.items()}

    def _stream(
        self, name: str, events: list[tuple[Event, dict[str, Any], dict[str, list[int]]]]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not events:
            return
        first, data, shapes = events[0]
        keys = {key: _key(key, value, shapes.get(key, [])) for key, value in data.items()}
        descriptor = self._bundle.compose_descriptor(
            name, keys, uid=_uid(self._scan, f"descriptor {name}"), time=first.recorded_at.timestamp()
        )
        yield "descriptor", descriptor.descriptor_doc
        for event, values, _ in events:
            time = event.recorded_at.timestamp()
            stamps = dict.fromkeys(values, _measured_s(event) or time)
            yield "event", descriptor.compose_event(values, stamps, uid=_uid(event, f"event {name}"), time=time)


def _decision(event: Event) -> dict[str, Any]:
    record = event.body["decision"]
    return {name: record[name] for name in _DECISION_KEYS} | {"chosen": record["chosen"] or "", "places": len(record["requests"])}


def _key(name: str, value: Any, shape: list[int]) -> dict[str, Any]:
    """Data key of a value: type, shape, and the unit at the end of its name."""
    kind = "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"
    unit = name.rpartition("_")[2] if kind != "string" and "_" in name else ""
    return {"source": f"vaestar:{name}", "dtype": kind, "shape": shape} | ({"units": unit} if unit else {})


def _measured_s(event: Event) -> float | None:
    at = event.body.get("measured_at")
    return None if at is None else datetime.fromisoformat(at).timestamp()


def _uid(event: Event, what: str) -> str:
    return str(uuid.uuid5(_UID_NAMESPACE, f"{event.hash} {what}"))

"""Export as NSID HDF5 files, one for each scan with its decisions and loops.

`Measurement_000` holds the scan in the layout of pyNSID, which `instrument_adapters.formats.nsid` reads:
`Channel_N/Channel_N/Channel_N` of shape (fast x, slow y), with the axes `x` and `y` beside it and the instrument's note in
`original_metadata`. If there are loops, `Measurement_001` holds one channel for each of their arrays, of shape (points, steps);
its group `places` holds request, time and position of each loop. `Decision_000` and so on hold the decisions on the scan: the
record as JSON, and the arrays.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.history.readers import decision_in, scan_in
from agent.reporting.export.rows import MeasurementRow, decisions_only, measurements, scans_only
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)  # epoch of `Seconds` in the note
# pyNSID accepts data sets with all of these attributes; the version is the one whose layout is followed.
_PYNSID_ATTRIBUTES = {"main_data_name": "generic", "modality": "generic", "source": "vaestar", "pyNSID_version": "0.0.7.2"}


def write_scans(history: History, event_filter: EventFilter, folder: Path) -> str:
    """Write one file for each selected scan into a folder; returns a summary such as "3 scans"."""
    scans = list(filtered_events(history, scans_only(event_filter)))
    several_instruments = len({e.body["instrument_id"] for e in scans}) > 1
    for event in scans:
        owner = event.body["instrument_id"]
        name = f"{owner}-{event.subject}" if several_instruments else event.subject
        about = EventFilter(instrument=owner, scan=event.subject)
        with h5py.File(folder / f"{name}.h5", "w") as file:
            write_scan(file, scan_in(history, event), event)
            _write_loops(file, history, [m for m in measurements(history, about) if m.result and m.result.arrays])
            for i, made in enumerate(filtered_events(history, decisions_only(about))):
                _write_decision(file.create_group(f"Decision_{i:03d}"), history, made)
    return f"{len(scans)} scans"


def write_scan(file: h5py.File, scan: Scan, event: Event | None = None) -> None:
    """Write the channels of a scan as `Measurement_000`."""
    measurement = file.create_group("Measurement_000")
    facts: dict[str, str | int] = {"scan_id": scan.scan_id, "sample_id": scan.sample_id}
    if event is not None:
        facts |= {"instrument_id": event.body["instrument_id"], "event": event.seq, "event_hash": event.hash}
    for name, time in (("started_at", scan.started_at), ("finished_at", scan.finished_at)):
        facts |= {} if time is None else {name: time.isoformat()}
    measurement.attrs.update(facts)
    note = _note(scan)
    for i, (name, image) in enumerate(scan.channels.items()):
        data = _channel(measurement, i, image.T, name, scan.units.get(name, ""), "IMAGE")
        for dim, (axis, length_m) in enumerate((("x", scan.frame.size_fast_m), ("y", scan.frame.size_slow_m))):
            values = np.linspace(0.0, length_m, data.shape[dim])
            _scale(data, dim, axis, values, "m", "SPATIAL")
        data.parent.create_group("original_metadata", track_order=True).attrs.update(note)


def _note(scan: Scan) -> dict[str, str | float]:
    """The instrument's note, with frame and times taken from the scan."""
    return dict(scan.metadata) | _geometry(scan.frame) | _times(scan)


def _geometry(frame: Frame) -> dict[str, str | float]:
    sizes: dict[str, str | float] = {"FastScanSize": frame.size_fast_m, "SlowScanSize": frame.size_slow_m}
    return sizes | {"XOffset": frame.x_offset_m, "YOffset": frame.y_offset_m, "ScanAngle": math.degrees(frame.angle_rad)}


def _times(scan: Scan) -> dict[str, str | float]:
    if scan.finished_at is None:
        return {}
    times: dict[str, str | float] = {"Seconds": (scan.finished_at.astimezone(UTC) - _EPOCH).total_seconds()}
    if scan.started_at is not None and scan.started_at < scan.finished_at:
        times |= {"ScanRate": scan.frame.rows / (scan.finished_at - scan.started_at).total_seconds()}
    return times


def _write_loops(file: h5py.File, history: History, measured: Sequence[MeasurementRow]) -> None:
    """Write loops as `Measurement_001`; shorter ones are padded with NaN."""
    if not measured:
        return
    measurement = file.create_group("Measurement_001")
    curves = [{n: history.arrays.get(d).ravel() for n, d in m.result.arrays.items()} for m in measured if m.result]
    _write_places(measurement.create_group("places"), measured)
    names = list(dict.fromkeys(name for curve in curves for name in curve))
    longest = max(len(a) for curve in curves for a in curve.values())
    for i, name in enumerate(names):
        stacked = np.full((len(curves), longest), np.nan)
        for row, curve in zip(stacked, curves, strict=True):
            values = curve.get(name, np.empty(0))
            row[: len(values)] = values
        unit = name.rpartition("_")[2] if "_" in name else ""
        data = _channel(measurement, i, stacked, name, unit, "POINT_CLOUD")
        _scale(data, 0, "point", np.arange(len(curves), dtype=np.float64), "generic", "POINT_CLOUD")
        _scale(data, 1, "step", np.arange(longest, dtype=np.float64), "generic", "SPECTRAL")


def _write_places(group: h5py.Group, measured: Sequence[MeasurementRow]) -> None:
    """Write request, time, position and parameters of each loop."""
    results = [m.result for m in measured if m.result]
    text = h5py.string_dtype()
    group.create_dataset("request_id", data=[r.subject for r in results], dtype=text)
    group.create_dataset("measured_at", data=[str(r.body.get("measured_at") or "") for r in results], dtype=text)
    group.create_dataset("cluster", data=np.array([r.body["cluster"] for r in results], dtype=np.int64))
    for name in ("x_m", "y_m"):
        group.create_dataset(name, data=np.array([r.body.get(name) for r in results], dtype=np.float64))
    for name in sorted({n for r in results for n in r.body.get("parameters", {})}):
        values = [r.body["parameters"].get(name, math.nan) for r in results]
        group.create_dataset(f"parameters/{name}", data=np.array(values, dtype=np.float64))


def _write_decision(group: h5py.Group, history: History, event: Event) -> None:
    decision = decision_in(history, event)
    facts: Mapping[str, Any] = {"outcome": decision.record.outcome, "explanation": decision.record.explanation}
    group.attrs.update({"decision_id": event.subject, "event": event.seq, "event_hash": event.hash} | dict(facts))
    group.create_dataset("record", data=json.dumps(event.body["decision"]), dtype=h5py.string_dtype())
    for name, array in decision.arrays.items():
        group.create_dataset(f"arrays/{name}", data=array)


def _channel(measurement: h5py.Group, i: int, values: np.ndarray, quantity: str, unit: str, kind: str) -> h5py.Dataset:
    name = f"Channel_{i}"
    data = measurement.create_group(f"{name}/{name}").create_dataset(name, data=values)
    data.attrs.update(_PYNSID_ATTRIBUTES | {"quantity": quantity, "units": unit, "data_type": kind})
    return data


def _scale(data: h5py.Dataset, dim: int, name: str, values: np.ndarray, unit: str, kind: str) -> None:
    """Write an axis beside its data and attach it as an HDF5 dimension scale with the attributes that sidpy expects."""
    scale = data.parent.create_dataset(name, data=values)
    scale.attrs.update({"name": name, "quantity": name, "units": unit, "dimension_type": kind})
    scale.make_scale(name)
    data.dims[dim].label = name
    data.dims[dim].attach_scale(scale)

"""Drift of the tip relative to the sample, estimated by registering consecutive scans, and the correction of targets for it.

The stage goes to the commanded position, but the sample has drifted: true position = commanded position + d(t). A feature at
the true position X appears at X - d(t), where t is the time at which its line was recorded. If features shift by s from one scan
to the next, d has therefore changed by -s. Between scans d is interpolated linearly, and after the last scan it is extrapolated
at the last speed. Only differences of d matter.

Two uses: a target chosen in a scan is commanded at its pixel's position plus d(when recorded) - d(when measured), and an earlier
measurement is looked up where this scan shows its spot. Creep and changes of the drift are followed one scan late.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from agent.config.drift import DriftSettings
from agent.preprocessing.registration import MIN_SIDE_PX, ScanPair
from agent.schema.decision import DriftRecord
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan

_MAX_KNOTS = 50
_S_PER_MIN = 60.0


@dataclass(frozen=True)
class DriftTrack:
    """Displacement d(t), as far as it is known.

    Parameters
    ----------
    knots
        (time in seconds, d along x, d along y in metres) in the middle of each scan.
    agreement
        Correlation of the last two scans after registration; None if there is one scan only.
    why_none
        Reason why the drift is unknown; empty if it is known.
    """

    knots: tuple[tuple[float, float, float], ...] = ()
    agreement: float | None = None
    why_none: str = "this is the first scan of this place"

    @property
    def known(self) -> bool:
        """Whether the drift is known, which takes two scans."""
        return len(self.knots) > 1

    @property
    def speed_m_per_min(self) -> float:
        """Speed between the last two scans, in metres per minute; 0 if the drift is unknown."""
        return math.hypot(*self._velocity_m_per_s()) * _S_PER_MIN

    def displacement_m(self, at_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
        """Displacement d in metres at POSIX times in seconds: constant before the first scan, extrapolated after the last one."""
        if not self.known:
            return np.zeros((len(at_s), 2))
        knots = np.array(self.knots)
        d = np.stack([np.interp(at_s, knots[:, 0], knots[:, i]) for i in (1, 2)], axis=1)
        beyond = np.maximum(at_s - knots[-1, 0], 0.0)
        return np.asarray(d + beyond[:, None] * np.array(self._velocity_m_per_s()))

    def record(self) -> DriftRecord:
        """The track as it is recorded in a decision."""
        return DriftRecord(
            knots=[list(knot) for knot in self.knots],
            agreement=self.agreement,
            nm_per_min=self.speed_m_per_min * 1e9 if self.known else None,
            why_none="" if self.known else self.why_none,
        )

    def _velocity_m_per_s(self) -> tuple[float, float]:
        if not self.known:
            return 0.0, 0.0
        (t0, x0, y0), (t1, x1, y1) = self.knots[-2:]
        return (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0)


def update_track(record: DriftRecord | None, pair: ScanPair, settings: DriftSettings) -> DriftTrack:
    """The drift up to the new scan of `pair`.

    Parameters
    ----------
    record
        Drift record of the last decision on the sample, which ends at the earlier scan.
    pair
        The new scan and the scan of that decision.
    settings
        Thresholds below or above which a registration is not trusted.
    """
    scan, earlier = pair.scan, pair.earlier
    now_s = mid_scan_s(scan)
    if not settings.enabled or now_s is None:
        return DriftTrack(why_none="drift correction is disabled" if now_s is not None else "the scan has no recording time")
    start = DriftTrack(((now_s, 0.0, 0.0),))
    then_s = None if earlier is None else mid_scan_s(earlier)
    if earlier is None or then_s is None or pair.channel not in earlier.channels:
        return start
    if earlier.frame != scan.frame:
        return _restarted(start, "the frame differs from that of the last scan")
    if not 0 < now_s - then_s <= settings.longest_gap_s:
        return _restarted(start, "the last scan is too old")
    rows, cols = scan.frame.rows, scan.frame.cols
    if min(rows, cols) < MIN_SIDE_PX:
        return _restarted(
            start, f"scans of {rows} x {cols} px are too small to be compared; at least {MIN_SIDE_PX} px a side are needed"
        )
    found = pair.registration
    if found is None or found.agreement < settings.least_agreement:
        return _restarted(start, "this scan and the last one do not show the same place")
    change = -_in_metres(scan.frame, found.shift_rc)
    if math.hypot(*change) > settings.fastest_m_per_min * (now_s - then_s) / _S_PER_MIN:
        return _restarted(start, f"an implausible drift of {math.hypot(*change) * 1e9:.0f} nm since the last scan was ignored")
    known = [tuple(knot) for knot in record.knots] if record is not None else []
    if not known or known[-1][0] != then_s:
        known = [(then_s, 0.0, 0.0)]
    last = known[-1]
    knots = (*known, (now_s, last[1] + float(change[0]), last[2] + float(change[1])))[-_MAX_KNOTS:]
    return DriftTrack(knots, found.agreement, "")  # type: ignore[arg-type]


def to_scan_coordinates(
    track: DriftTrack, scan: Scan, xy_m: Float[np.ndarray, "n 2"], measured_s: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Positions in metres at which `scan` shows what was measured at the commanded positions `xy_m` at the times `measured_s`.

    A time of NaN is replaced by the time at which the scan recorded that line, so such a position is not moved.
    """
    if not track.known or not len(xy_m):
        return xy_m
    recorded_s = line_recorded_s(scan, scan.frame.to_pixels(xy_m)[:, 0])
    then_s = np.where(np.isfinite(measured_s), measured_s, recorded_s)
    return np.asarray(xy_m + track.displacement_m(then_s) - track.displacement_m(recorded_s))


def predict_targets(
    track: DriftTrack, scan: Scan, requests: Sequence[MeasurementRequest], limits: Limits, settings: DriftSettings
) -> tuple[tuple[MeasurementRequest, ...], int]:
    """Requests with the positions to command, predicted for the time when each is due, and the number of dropped ones.

    A request is dropped if its new position lies outside the frame or the limits. The pixels of a request stay those of the scan.
    """
    if not track.known or not requests or scan.finished_at is None:
        return tuple(requests), 0
    due_s = scan.finished_at.timestamp() + settings.lead_s + settings.point_s * np.arange(len(requests))
    recorded_s = line_recorded_s(scan, np.array([float(r.row) for r in requests]))
    correction = track.displacement_m(recorded_s) - track.displacement_m(due_s)
    xy = np.array([[r.x_m, r.y_m] for r in requests]) + correction
    low, high = (limits.x_min_m, limits.y_min_m), (limits.x_max_m, limits.y_max_m)
    inside = scan.frame.contains(xy) & ((xy >= low) & (xy <= high)).all(axis=1)
    kept = [
        r.model_copy(update={"x_m": float(x), "y_m": float(y)}) for r, (x, y), ok in zip(requests, xy, inside, strict=True) if ok
    ]
    return tuple(kept), int((~inside).sum())


def drift_while_measuring_m(track: DriftTrack, points: int, settings: DriftSettings) -> float:
    """Drift in metres during so many measurements, by which the spacing of targets is enlarged."""
    return track.speed_m_per_min / _S_PER_MIN * settings.point_s * points


def mid_scan_s(scan: Scan) -> float | None:
    """POSIX time of the middle of a scan in seconds; None if its start or end is unknown."""
    if scan.started_at is None or scan.finished_at is None:
        return None
    return (scan.started_at.timestamp() + scan.finished_at.timestamp()) / 2


def line_recorded_s(scan: Scan, rows: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """POSIX times in seconds at which these rows were recorded; with `ScanDown` in the note, the last row comes first."""
    assert scan.started_at is not None
    assert scan.finished_at is not None
    start, end = scan.started_at.timestamp(), scan.finished_at.timestamp()
    share = (np.clip(rows, 0, scan.frame.rows - 1) + 0.5) / scan.frame.rows
    try:
        downwards = float(scan.metadata.get("ScanDown", 0)) != 0
    except ValueError:
        downwards = False
    return np.asarray(start + (end - start) * (1 - share if downwards else share))


def _restarted(start: DriftTrack, why: str) -> DriftTrack:
    return DriftTrack(start.knots, None, why)


def _in_metres(frame: Frame, shift_rc: tuple[float, float]) -> Float[np.ndarray, " 2"]:
    """A shift in pixels (rows, columns) as a shift in metres (x, y)."""
    origin, shifted = frame.to_metres(np.array([[0.0, 0.0], shift_rc]))
    return np.asarray(shifted - origin)

"""Where the tip is taken by drift: told from how the picture moves from scan to scan, and reckoned with in advance.

The stage goes where it is told, and the sample is elsewhere by then: true position = commanded position + d(t). A feature at the
true position X is seen at X - d(t), t being when its line was recorded; so what moves in the picture by s from one scan to the
next says that d has changed by -s. Between scans d is taken to change evenly, and to go on as it did last. Only differences of d
matter.

What it is good for: a place chosen in a scan is commanded at its pixel plus d(when recorded) - d(when measured), and a loop that
was measured before is looked for where this scan shows its spot. Creep and a drift that turns are followed with a scan's delay.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from agent.config.drift import DriftSettings
from agent.preprocessing.registration import register
from agent.schema.decision import DriftRecord
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan

_MOST_KNOTS = 50
_PER_MIN = 60.0


@dataclass(frozen=True)
class DriftTrack:
    """d(t), as far as it is known.

    Parameters
    ----------
    knots
        (time in seconds, d along x, d along y in metres) in the middle of each scan.
    agreement
        Of the last two scans; None if there is one scan only.
    why_none
        Why nothing is known of the drift; empty if something is.
    """

    knots: tuple[tuple[float, float, float], ...] = ()
    agreement: float | None = None
    why_none: str = "the first scan of this place"

    @property
    def known(self) -> bool:
        """Whether anything is known of the drift."""
        return len(self.knots) > 1

    @property
    def speed_m_per_min(self) -> float:
        """Of the last stretch."""
        return math.hypot(*self._slope()) * _PER_MIN

    def displacement_m(self, at_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
        """Displacement d at times, in metres; beyond the last scan it goes on as it did last, before the first it stays."""
        if not self.known:
            return np.zeros((len(at_s), 2))
        knots = np.array(self.knots)
        d = np.stack([np.interp(at_s, knots[:, 0], knots[:, i]) for i in (1, 2)], axis=1)
        beyond = np.maximum(at_s - knots[-1, 0], 0.0)
        return np.asarray(d + beyond[:, None] * np.array(self._slope()))

    def record(self) -> DriftRecord:
        """What of it stands in a decision."""
        return DriftRecord(
            knots=[list(knot) for knot in self.knots],
            agreement=self.agreement,
            nm_per_min=self.speed_m_per_min * 1e9 if self.known else None,
            why_none="" if self.known else self.why_none,
        )

    def _slope(self) -> tuple[float, float]:
        if not self.known:
            return 0.0, 0.0
        (t0, x0, y0), (t1, x1, y1) = self.knots[-2:]
        return (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0)


def update_track(
    record: DriftRecord | None, earlier: Scan | None, scan: Scan, channel: str, settings: DriftSettings
) -> DriftTrack:
    """The track up to `scan`.

    Parameters
    ----------
    record
        Of the last decision on the sample, about `earlier`.
    earlier, scan
        The scan that decision was on, and the new one.
    channel
        In which features are looked for.
    settings
        What is believed.
    """
    now_s = middle_s(scan)
    if not settings.enabled or now_s is None:
        return DriftTrack(why_none="not asked for" if now_s is not None else "the scan does not say when it was recorded")
    begun = DriftTrack(((now_s, 0.0, 0.0),))
    then_s = None if earlier is None else middle_s(earlier)
    if earlier is None or then_s is None or channel not in earlier.channels:
        return begun
    if earlier.frame != scan.frame:
        return _anew(begun, "the frame lies elsewhere than the last one")
    if not 0 < now_s - then_s <= settings.longest_gap_s:
        return _anew(begun, "the last scan is too old")
    found = register(earlier.channels[channel], scan.channels[channel])
    if found is None or found.agreement < settings.least_agreement:
        return _anew(begun, "this scan and the last one do not show the same")
    change = -_in_metres(scan.frame, found.moved_rc)
    if math.hypot(*change) > settings.fastest_m_per_min * (now_s - then_s) / _PER_MIN:
        return _anew(begun, f"it seems to have moved by {math.hypot(*change) * 1e9:.0f} nm, which is not believed")
    known = [tuple(knot) for knot in record.knots] if record is not None else []
    if not known or known[-1][0] != then_s:
        known = [(then_s, 0.0, 0.0)]
    last = known[-1]
    knots = (*known, (now_s, last[1] + float(change[0]), last[2] + float(change[1])))[-_MOST_KNOTS:]
    return DriftTrack(knots, found.agreement, "")  # type: ignore[arg-type]


def to_scan_coordinates(
    track: DriftTrack, scan: Scan, xy_m: Float[np.ndarray, "n 2"], measured_s: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Where `scan` shows what was measured at the commanded positions at these times; NaN times are taken for its own."""
    if not track.known or not len(xy_m):
        return xy_m
    recorded_s = line_s(scan, scan.frame.to_pixels(xy_m)[:, 0])
    then_s = np.where(np.isfinite(measured_s), measured_s, recorded_s)
    return np.asarray(xy_m + track.displacement_m(then_s) - track.displacement_m(recorded_s))


def predict_targets(
    track: DriftTrack, scan: Scan, requests: Sequence[MeasurementRequest], limits: Limits, settings: DriftSettings
) -> tuple[tuple[MeasurementRequest, ...], int]:
    """The requests at the positions to be commanded when their turn comes, and how many are left out since that lies outside
    the frame or the limits.

    Their pixels stay those of the scan.
    """
    if not track.known or not requests or scan.finished_at is None:
        return tuple(requests), 0
    turn_s = scan.finished_at.timestamp() + settings.lead_s + settings.point_s * np.arange(len(requests))
    recorded_s = line_s(scan, np.array([float(r.row) for r in requests]))
    moved = track.displacement_m(recorded_s) - track.displacement_m(turn_s)
    xy = np.array([[r.x_m, r.y_m] for r in requests]) + moved
    low, high = (limits.x_min_m, limits.y_min_m), (limits.x_max_m, limits.y_max_m)
    fit = scan.frame.contains(xy) & ((xy >= low) & (xy <= high)).all(axis=1)
    kept = [
        r.model_copy(update={"x_m": float(x), "y_m": float(y)}) for r, (x, y), ok in zip(requests, xy, fit, strict=True) if ok
    ]
    return tuple(kept), int((~fit).sum())


def stretch_m(track: DriftTrack, points: int, settings: DriftSettings) -> float:
    """How far drift goes while so many points are measured: places must lie that much further apart."""
    return track.speed_m_per_min / _PER_MIN * settings.point_s * points


def middle_s(scan: Scan) -> float | None:
    """POSIX time of the middle of a scan; None where it does not say."""
    if scan.started_at is None or scan.finished_at is None:
        return None
    return (scan.started_at.timestamp() + scan.finished_at.timestamp()) / 2


def line_s(scan: Scan, rows: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """When the lines of these rows were recorded; `ScanDown` in the note says that the last row came first."""
    assert scan.started_at is not None
    assert scan.finished_at is not None
    began, ended = scan.started_at.timestamp(), scan.finished_at.timestamp()
    share = (np.clip(rows, 0, scan.frame.rows - 1) + 0.5) / scan.frame.rows
    try:
        downwards = float(scan.metadata.get("ScanDown", 0)) != 0
    except ValueError:
        downwards = False
    return np.asarray(began + (ended - began) * (1 - share if downwards else share))


def _anew(begun: DriftTrack, why: str) -> DriftTrack:
    return DriftTrack(begun.knots, None, why)


def _in_metres(frame: Frame, moved_rc: tuple[float, float]) -> Float[np.ndarray, " 2"]:
    """A difference of pixels as one of positions (x, y)."""
    origin, moved = frame.to_metres(np.array([[0.0, 0.0], moved_rc]))
    return np.asarray(moved - origin)

"""The interlock: checks a decision's points against the safety envelope, in the context that the ledger gives."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Float

from agent.config.safety import SafetySettings
from agent.history.readers import reading_event
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.preprocessing.drift import DriftTrack, to_scan_coordinates
from agent.safety.elapsed_time import ElapsedTime
from agent.safety.envelope import EnvelopeContext, EnvelopeVerdict, Target, check, narrowed, reach, within_reach
from agent.safety.instrument_clocks import InstrumentClocks
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, ScanMessage
from instrument_adapters.scan import Scan


class Interlock:
    """Determines which points of a decision may be measured now.

    Parameters
    ----------
    ledger
        State of the run: measured points, and the limits that instruments report.
    settings
        Limits of the configuration, which narrow those of the instruments.
    clocks
        Clocks of the instruments.
    elapsed
        Time since a scan was received.
    """

    def __init__(self, ledger: Ledger, settings: SafetySettings, clocks: InstrumentClocks, elapsed: ElapsedTime) -> None:
        self._ledger, self._settings, self._clocks, self._elapsed = ledger, settings, clocks, elapsed

    def limits(self, instrument_id: str) -> Limits:
        """Limits that both the instrument, as last reported, and the settings allow."""
        info = self._ledger.instruments.get(instrument_id)
        return narrowed(Limits() if info is None else info.limits, self._settings)

    def verdict(self, entry: ScanEntry, targets: Sequence[Target]) -> EnvelopeVerdict:
        """Which targets of an entry's decision may be measured. Results of the same decision do not count against them."""
        return check(targets, self._context(entry, targets))

    def targets(self, entry: ScanEntry, requests: Sequence[MeasurementRequest]) -> list[Target]:
        """Targets of a decision's requests; a point that an operator has moved keeps the drift correction of the original."""
        assert entry.decision is not None
        decision, moved = entry.decision, entry.approval.moved if entry.approval else {}
        made = {r.request_id: Target.of(r, decision.frame, decision.shown_rc(r)) for r in decision.requests}
        origins = [made[moved.get(r.request_id, r.request_id)] for r in requests]
        return [Target(r, origin.correction_m) for r, origin in zip(requests, origins, strict=True)]

    def expires_at(self, entry: ScanEntry) -> datetime | None:
        """Latest time to begin an entry's points, by the instrument's clock; None if its clock is not known."""
        now = self._clocks.now(entry.instrument_id)
        if now is None:
            return None
        left_s = self.limits(entry.instrument_id).scan_age_max_s - self._age_s(entry)
        return now + timedelta(seconds=max(0.0, min(self._settings.expiry_s, left_s)))  # at once if the scan is too old already

    def _age_s(self, entry: ScanEntry) -> float:
        """Age of a scan in seconds: since its end by the instrument's clock, but at least the time since its receipt.

        So a clock that is set back, the instrument's or ours, makes no scan younger.
        """
        received_s = self._elapsed.since_received(entry)
        ended, now = _header(entry).finished_at, self._clocks.now(entry.instrument_id)
        return received_s if ended is None or now is None else max(received_s, (now - ended).total_seconds())

    def _context(self, entry: ScanEntry, targets: Sequence[Target]) -> EnvelopeContext:
        """What the targets are checked against; of the points measured on the sample, those that can matter to one of them."""
        assert entry.decision is not None
        ledger, instrument_id, decision = self._ledger, entry.instrument_id, entry.decision
        limits, track = self.limits(instrument_id), _track(entry)
        xy, at_s, tried_after_scan = ledger.measured_for_others(entry)
        reach_m = reach(limits, self._settings) + (_longest_way_m(track, entry, at_s) if track.known else 0.0)
        near = within_reach(targets, xy, reach_m)
        measured, xy, at_s = len(xy), xy[near], at_s[near]
        if track.known:
            xy = to_scan_coordinates(track, _scan_without_images(entry), xy, at_s)
        info = ledger.instruments.get(instrument_id)
        names = [t.request.request_id for t in targets]
        earlier = {name: ledger.requests.get((instrument_id, name)) for name in names}
        return EnvelopeContext(
            decision.frame,
            limits,
            self._settings,
            xy,
            touched_elsewhere=measured - len(xy),
            drift_known=track.known,
            tried_after_scan=tried_after_scan,
            asked_before=frozenset(n for n, e in earlier.items() if e is not None and e.decision_id != decision.decision_id),
            bias_V=None if info is None else info.bias_V,
            age_s=self._age_s(entry),
        )


def _track(entry: ScanEntry) -> DriftTrack:
    """Drift that the decision was corrected for; unknown if the scan has no times."""
    assert entry.decision is not None
    header = _header(entry)
    timed = header.started_at is not None and header.finished_at is not None
    return DriftTrack(tuple((t, x, y) for t, x, y in entry.decision.drift.knots)) if timed else DriftTrack()


def _longest_way_m(track: DriftTrack, entry: ScanEntry, at_s: Float[np.ndarray, " n"]) -> float:
    """An upper bound of how far apart the sample and the tip can have drifted between any two times in question, in metres."""
    finished_at = _header(entry).finished_at
    latest_s = max(at_s[np.isfinite(at_s)].max(initial=0.0), 0.0 if finished_at is None else finished_at.timestamp())
    # Linear between the knots and beyond the last one, so that the largest distance is one between these points.
    ends = np.concatenate([np.array(track.knots)[:, 1:], track.displacement_m(np.array([latest_s]))])
    return float(np.hypot(*np.ptp(ends, axis=0)))


def _header(entry: ScanEntry) -> ScanMessage:
    with reading_event(entry.event):
        return ScanMessage.model_validate({k: v for k, v in entry.event.body["header"].items() if k != "version"})


def _scan_without_images(entry: ScanEntry) -> Scan:
    """An entry's scan with empty images: its times, frame and metadata."""
    header = _header(entry)
    frame: Frame = header.frame
    blank = {"": np.zeros((frame.rows, frame.cols), dtype=np.float32)}
    return Scan(blank, {}, frame, entry.scan_id, entry.sample_id, header.started_at, header.finished_at, header.metadata)

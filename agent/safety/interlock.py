"""The interlock: checks a decision's points against the safety envelope, in the context that the ledger gives."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from agent.config.safety import SafetySettings
from agent.history.readers import reading_event
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.preprocessing.drift import DriftTrack, to_scan_coordinates
from agent.safety.envelope import EnvelopeContext, EnvelopeVerdict, Target, check, narrowed
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
    now
        Our wall clock.
    """

    def __init__(self, ledger: Ledger, settings: SafetySettings, clocks: InstrumentClocks, now: Callable[[], datetime]) -> None:
        self._ledger, self._settings, self._clocks, self._now = ledger, settings, clocks, now

    def limits(self, instrument_id: str) -> Limits:
        """Limits that both the instrument, as last reported, and the settings allow."""
        info = self._ledger.instruments.get(instrument_id)
        return narrowed(Limits() if info is None else info.limits, self._settings)

    def verdict(self, entry: ScanEntry, targets: Sequence[Target]) -> EnvelopeVerdict:
        """Which targets of an entry's decision may be measured. Results of the same decision do not count against them."""
        return check(targets, self._context(entry))

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
        left_s = self.limits(entry.instrument_id).scan_age_max_s - (self._age_s(entry) or 0.0)
        return now + timedelta(seconds=min(self._settings.expiry_s, left_s))

    def _age_s(self, entry: ScanEntry) -> float | None:
        """Age of a scan in seconds: since its end by the instrument's clock, else since its receipt; None if unknown."""
        ended, now = _header(entry).finished_at, self._clocks.now(entry.instrument_id)
        if ended is None:
            return (self._now() - entry.event.recorded_at).total_seconds()
        return None if now is None else (now - ended).total_seconds()

    def _context(self, entry: ScanEntry) -> EnvelopeContext:
        assert entry.decision is not None
        ledger, instrument_id, decision = self._ledger, entry.instrument_id, entry.decision
        others = [
            t
            for t in ledger.measured_points(entry.sample_id)
            if (t.request.instrument_id, t.request.decision_id) != (instrument_id, decision.decision_id)
        ]
        track = _track(entry)
        xy = np.array([t.result.xy_m for t in others], dtype=np.float64).reshape(-1, 2)
        if track.known:
            xy = to_scan_coordinates(
                track, _scan_without_images(entry), xy, np.array([t.result.at_s for t in others], dtype=np.float64)
            )
        info = ledger.instruments.get(instrument_id)
        return EnvelopeContext(
            decision.frame,
            self.limits(instrument_id),
            self._settings,
            xy,
            drift_known=track.known,
            tried_after_scan=sum((t.request.instrument_id, t.request.scan_id) == (instrument_id, entry.scan_id) for t in others),
            asked_before=frozenset(
                name
                for (owner, name), earlier in ledger.requests.items()
                if owner == instrument_id and earlier.decision_id != decision.decision_id
            ),
            bias_V=None if info is None else info.bias_V,
            age_s=self._age_s(entry),
        )


def _track(entry: ScanEntry) -> DriftTrack:
    """Drift that the decision was corrected for; unknown if the scan has no times."""
    assert entry.decision is not None
    header = _header(entry)
    timed = header.started_at is not None and header.finished_at is not None
    return DriftTrack(tuple((t, x, y) for t, x, y in entry.decision.drift.knots)) if timed else DriftTrack()


def _header(entry: ScanEntry) -> ScanMessage:
    with reading_event(entry.event):
        return ScanMessage.model_validate({k: v for k, v in entry.event.body["header"].items() if k != "version"})


def _scan_without_images(entry: ScanEntry) -> Scan:
    """An entry's scan with empty images: its times, frame and metadata."""
    header = _header(entry)
    frame: Frame = header.frame
    blank = {"": np.zeros((frame.rows, frame.cols), dtype=np.float32)}
    return Scan(blank, {}, frame, entry.scan_id, entry.sample_id, header.started_at, header.finished_at, header.metadata)

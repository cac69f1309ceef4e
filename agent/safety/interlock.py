"""What the envelope is asked with: a decision's ground, put together from the ledger."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from agent.config.safety import SafetySettings
from agent.history.readers import trusted
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.preprocessing.drift import DriftTrack, to_scan_coordinates
from agent.safety.envelope import EnvelopeContext, EnvelopeVerdict, Target, check, narrowed
from agent.safety.instrument_clocks import Clocks
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, ScanMessage
from instrument_adapters.scan import Scan


class Interlock:
    """Says which points of a decision may be measured now.

    Parameters
    ----------
    ledger
        Knows what was measured, and what instruments say of themselves.
    settings
        Narrower limits.
    clocks
        Of the instruments.
    now
        Our own wall clock.
    """

    def __init__(self, ledger: Ledger, settings: SafetySettings, clocks: Clocks, now: Callable[[], datetime]) -> None:
        self._ledger, self._settings, self._clocks, self._now = ledger, settings, clocks, now

    def limits(self, instrument_id: str) -> Limits:
        """What both the instrument, as it last said, and the settings allow."""
        told = self._ledger.told.get(instrument_id)
        return narrowed(Limits() if told is None else told.limits, self._settings)

    def verdict(self, entry: ScanEntry, places: Sequence[Target]) -> EnvelopeVerdict:
        """Which of these places of an entry's decision may be measured; those of its points that have been tried already stay."""
        return check(places, self._ground(entry))

    def places(self, entry: ScanEntry, requests: Sequence[MeasurementRequest]) -> list[Target]:
        """The places of a decision's requests; one that a person has moved is shown as far from it as the original was."""
        assert entry.decision is not None
        frame, moved = entry.decision.frame, entry.approval.moved if entry.approval else {}
        made = {r.request_id: Target.of(r, frame) for r in entry.decision.requests}
        origins = [made[moved.get(r.request_id, r.request_id)] for r in requests]
        return [Target(r, origin.correction_m) for r, origin in zip(requests, origins, strict=True)]

    def expires_at(self, entry: ScanEntry) -> datetime | None:
        """Until when an entry's points may be begun, by the instrument's clock; None where that is not known."""
        now = self._clocks.now(entry.instrument_id)
        if now is None:
            return None
        left_s = self.limits(entry.instrument_id).scan_age_max_s - (self._age_s(entry) or 0.0)
        return now + timedelta(seconds=min(self._settings.expiry_s, left_s))

    def _age_s(self, entry: ScanEntry) -> float | None:
        """Seconds since a scan ended, by the instrument's clock, or, where it does not say, since it came in; None: not known."""
        ended, now = _header(entry).finished_at, self._clocks.now(entry.instrument_id)
        if ended is None:
            return (self._now() - entry.event.recorded_at).total_seconds()
        return None if now is None else (now - ended).total_seconds()

    def _ground(self, entry: ScanEntry) -> EnvelopeContext:
        assert entry.decision is not None
        ledger, mine, decision = self._ledger, entry.instrument_id, entry.decision
        others = [
            t
            for t in ledger.touched(entry.sample_id)
            if (t.asked.instrument_id, t.asked.decision_id) != (mine, decision.decision_id)
        ]
        track = _track(entry)
        xy = np.array([t.result.xy_m for t in others], dtype=np.float64).reshape(-1, 2)
        if track.known:
            xy = to_scan_coordinates(track, _outline(entry), xy, np.array([t.result.at_s for t in others], dtype=np.float64))
        told = ledger.told.get(mine)
        return EnvelopeContext(
            decision.frame,
            self.limits(mine),
            self._settings,
            xy,
            drifts=track.known,
            tried_after_scan=sum((t.asked.instrument_id, t.asked.scan_id) == (mine, entry.scan_id) for t in others),
            asked_before=frozenset(
                name
                for (instrument_id, name), asked in ledger.requests.items()
                if instrument_id == mine and asked.decision_id != decision.decision_id
            ),
            bias_V=None if told is None else told.bias_V,
            age_s=self._age_s(entry),
        )


def _track(entry: ScanEntry) -> DriftTrack:
    """The drift that the decision reckoned with."""
    assert entry.decision is not None
    header = _header(entry)
    timed = header.started_at is not None and header.finished_at is not None
    return DriftTrack(tuple((t, x, y) for t, x, y in entry.decision.drift.knots)) if timed else DriftTrack()


def _header(entry: ScanEntry) -> ScanMessage:
    with trusted(entry.event):
        return ScanMessage.model_validate({k: v for k, v in entry.event.body["header"].items() if k != "version"})


def _outline(entry: ScanEntry) -> Scan:
    """A scan without its images: when and how it was recorded."""
    header = _header(entry)
    frame: Frame = header.frame
    nothing = {"": np.zeros((frame.rows, frame.cols), dtype=np.float32)}
    return Scan(nothing, {}, frame, entry.scan_id, entry.sample_id, header.started_at, header.finished_at, header.metadata)

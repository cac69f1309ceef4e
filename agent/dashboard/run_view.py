"""Views of the run: its instruments, their scans (newest first), and one scan with its channels."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent.dashboard.models import ChannelView, InstrumentView, RunView, ScanLine, ScanView
from agent.dashboard.run_follower import RunFollower
from agent.errors import UnusableScanError
from agent.history.run_directory import STATE_FILE
from agent.ledger.entries import ScanEntry
from agent.preprocessing.normalise import normalise
from agent.reporting.figures.units import grey_range, prefixed
from agent.schema.wording import OUTCOMES
from instrument_adapters.errors import UnknownChannelError
from instrument_adapters.scan import Scan

_MAX_SCANS = 30
_PERCENTILES = (1.0, 99.0)  # of channels that are not analysed


def run_view(run: RunFollower) -> RunView:
    """Return the view of a run in its present state."""
    return RunView(
        run_id=run.run_id,
        directory=str(run.run_directory),
        listens_at=_listens_at(run.run_directory),
        seq=run.seq,
        started_at=run.started_at,
        versions=run.versions,
        reward=str(run.config.get("reward", "")),
        instruments=[_instrument(run, name) for name in sorted(run.ledger.instruments)],
    )


def _listens_at(run_directory: Path) -> str:
    """Return the address that the service listens on; "" if no service runs."""
    try:
        return str(json.loads((run_directory / STATE_FILE).read_text())["bind"])
    except (OSError, ValueError, KeyError):
        return ""


def _instrument(run: RunFollower, name: str) -> InstrumentView:
    ledger = run.ledger
    info = ledger.instruments[name]
    return InstrumentView(
        instrument_id=name,
        model=info.model,
        software=info.software,
        limits=info.limits,
        connected=name in ledger.present and name not in ledger.lost,
        state=ledger.command_state.state(name),
        state_reason=ledger.command_state.reason(name),
        scans=[_scan(ledger.scans[name, scan_id]) for scan_id in reversed(run.scans.get(name, [])[-_MAX_SCANS:])],
    )


def _scan(entry: ScanEntry) -> ScanLine:
    decided = entry.decided
    return ScanLine(
        scan_id=entry.scan_id,
        sample_id=entry.sample_id,
        at=entry.event.recorded_at,
        decision_id=None if decided is None else decided.decision_id,
        outcome_text="" if decided is None else OUTCOMES[decided.outcome],
        places=0 if decided is None else decided.places,
        measured=entry.measured,
        closed=entry.closed,
    )


def scan_view(scan: Scan, instrument_id: str, seq: int, at: datetime, config: dict[str, Any]) -> ScanView:
    """Return the view of a scan, without its values.

    Parameters
    ----------
    scan
        Recorded scan.
    instrument_id
        Instrument that recorded it.
    seq, at
        Sequence number and time of its event.
    config
        Configuration of the run, which names the analysed channel and its percentiles.
    """
    try:
        main = scan.find_channel(config.get("channel"))
    except UnknownChannelError:
        main = next(iter(scan.channels))
    percentiles = (config["scan"]["low_percentile"], config["scan"]["high_percentile"]) if "scan" in config else _PERCENTILES
    names = list(scan.channels)
    return ScanView(
        scan_id=scan.scan_id,
        instrument_id=instrument_id,
        sample_id=scan.sample_id,
        seq=seq,
        at=at,
        started_at=scan.started_at,
        frame=scan.frame,
        channels=[channel_view(n, scan.units.get(n, ""), scan.channels[n], n == main, percentiles) for n in names],
        main=names.index(main),
    )


def channel_view(name: str, unit: str, image: np.ndarray, analysed: bool, percentiles: tuple[float, float]) -> ChannelView:
    """Return the view of a channel; the analysed one has the grey scale that the models see, each other one its own."""
    low, high = grey_range(image, *(percentiles if analysed else _PERCENTILES))
    if analysed:
        try:
            normalised = normalise(image, *percentiles)
            low, high = normalised.low, normalised.high
        except UnusableScanError:
            pass  # shown on the default scale; the decision says what is wrong with the scan
    factor, shown_unit = prefixed(unit, max(abs(low), abs(high)))
    return ChannelView(name=name, unit=unit, low=low, high=high, factor=factor, shown_unit=shown_unit)

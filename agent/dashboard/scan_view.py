"""A scan for the page: what its channels are called, in which unit they are read, and which values are black and white."""

from datetime import datetime
from typing import Any

import numpy as np

from agent.dashboard.models import ChannelView, ScanView
from agent.errors import UnusableScanError
from agent.preprocessing.normalise import normalise
from agent.reporting.figures.units import grey_range, prefixed
from instrument_adapters.errors import UnknownChannelError
from instrument_adapters.scan import Scan

_PERCENTILES = (1.0, 99.0)  # of channels that are not analysed


def scan_view(scan: Scan, instrument_id: str, seq: int, at: datetime, config: dict[str, Any]) -> ScanView:
    """The scan without its values.

    Parameters
    ----------
    scan
        As recorded.
    instrument_id, seq, at
        Whose it is, and which event it came with.
    config
        Of the run: names the analysed channel and its percentiles.
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
        finished_at=scan.finished_at,
        frame=scan.frame,
        channels=[channel_view(n, scan.units.get(n, ""), scan.channels[n], n == main, percentiles) for n in names],
        main=names.index(main),
    )


def channel_view(name: str, unit: str, image: np.ndarray, analysed: bool, percentiles: tuple[float, float]) -> ChannelView:
    """One channel; the analysed one has the grey scale that the models see, the others one of their own."""
    low, high = grey_range(image, *(percentiles if analysed else _PERCENTILES))
    if analysed:
        try:
            seen = normalise(image, *percentiles)
            low, high = seen.low, seen.high
        except UnusableScanError:
            pass  # it is shown as well as can be, and the decision says what is wrong with it
    factor, shown_unit = prefixed(unit, max(abs(low), abs(high)))
    return ChannelView(name=name, unit=unit, low=low, high=high, factor=factor, shown_unit=shown_unit)

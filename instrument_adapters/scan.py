"""One recorded frame: its channels, its geometry and the instrument's note."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from jaxtyping import Float32

from instrument_adapters.errors import ScanDataError, UnknownChannelError
from instrument_adapters.geometry import Frame

_DIRECTION = re.compile(r"(Retrace|Trace)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan in the orientation of the project (see `geometry`).

    Parameters
    ----------
    channels
        Name -> image of shape (rows, cols) in float32; all have the shape of the frame.
    units
        Name -> physical unit ("m", "deg", "Hz", "V", or "" where the instrument states none).
    frame
        Position, size and rotation of the scan.
    scan_id
        Unique name of this scan at this instrument.
    sample_id
        Name of the sample; a scan can warm-start the search on the next scan of the same sample.
    started_at, finished_at
        Times by the instrument's clock; None where they are unknown.
    metadata
        The instrument's note: key -> value as recorded.

    Raises
    ------
    ScanDataError
        If there is no channel, or a channel is not a float32 image of the frame's shape.
    """

    channels: Mapping[str, Float32[np.ndarray, "rows cols"]]
    units: Mapping[str, str]
    frame: Frame
    scan_id: str
    sample_id: str = "sample"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    metadata: Mapping[str, str | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.channels:
            raise ScanDataError(f"scan {self.scan_id} holds no channel; at least one image is needed")
        expected = (self.frame.rows, self.frame.cols)
        for name, image in self.channels.items():
            if image.shape != expected:
                raise ScanDataError(
                    f"channel {name} of scan {self.scan_id} is {image.shape}, but the frame is {expected} (rows, cols); "
                    "all channels of a scan must have the frame's size"
                )
            if image.dtype != np.float32:
                raise ScanDataError(f"channel {name} of scan {self.scan_id} is {image.dtype}, expected float32")

    def find_channel(self, wanted: str | None = None) -> str:
        """Name of the channel that `wanted` denotes; by default the PFM amplitude.

        `wanted` is a full name or a case-insensitive prefix that matches one quantity only; of its trace and retrace the
        retrace is returned. Without `wanted`, the first channel whose name matches with "Amplitude".

        Raises
        ------
        UnknownChannelError
            If no channel matches, or channels of several quantities do.
        """
        names = list(self.channels)
        if wanted in self.channels:
            return str(wanted)
        matches = [n for n in names if n.lower().startswith((wanted or "Amplitude").lower())]
        quantities = {_DIRECTION.sub("", n) for n in matches}
        if not matches or (wanted is not None and len(quantities) > 1):
            raise UnknownChannelError(_no_such_channel(wanted, matches, names))
        first = _DIRECTION.sub("", matches[0])
        same = [n for n in matches if _DIRECTION.sub("", n) == first]
        return next((n for n in same if "retrace" in n.lower()), same[0])


def _no_such_channel(wanted: str | None, matches: list[str], names: list[str]) -> str:
    held = ", ".join(names)
    if wanted is None:
        return f"no channel begins with 'Amplitude'; this scan holds {held}; choose one with --channel"
    if matches:
        return f"channel '{wanted}' could be any of {', '.join(matches)}; give one of these names in full"
    return f"there is no channel '{wanted}'; this scan holds {held}; give one of these"

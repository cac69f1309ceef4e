"""Lines of a scan that is still being recorded, sent for display only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from instrument_adapters.geometry import Frame


@dataclass(frozen=True, eq=False)
class Lines:
    """Some lines of a scan that is still being recorded.

    Parameters
    ----------
    scan_id
        Id that the finished scan will have.
    frame, units
        Frame and units of the whole scan, as in `Scan`.
    first_row
        Row in the frame of the first line; rows ascend, even where the scan is recorded downwards.
    channels
        Name -> float32 array of shape (lines, cols), the same number of lines in each, at least one.
    """

    scan_id: str
    frame: Frame
    units: Mapping[str, str]
    first_row: int
    channels: Mapping[str, Float32[np.ndarray, "lines cols"]]


class LineBuffer:
    """Joins lines, so that few messages carry many of them.

    Parameters
    ----------
    send
        Called with the lines added since its last call.
    pause_s
        Shortest interval in seconds between two calls of `send`. Lines left at the end are not sent; the scan holds them.
    wall
        Returns a monotonic time in seconds.
    """

    def __init__(self, send: Callable[[Lines], None], pause_s: float, wall: Callable[[], float]) -> None:
        self._send, self._pause_s, self._wall = send, pause_s, wall
        self._held: Lines | None = None
        self._sent_s = wall()

    def add(self, lines: Lines) -> None:
        """Add lines, and send all that are buffered if the pause is over."""
        joined = self._held and _join(self._held, lines)
        self._held = joined or lines  # lines that do not adjoin replace the older ones
        now_s = self._wall()
        if now_s - self._sent_s >= self._pause_s:
            self._send(self._held)
            self._held, self._sent_s = None, now_s


def _join(held: Lines, new: Lines) -> Lines | None:
    """Both as one block, if the new lines adjoin the held ones above or below; otherwise None."""
    if (held.scan_id, held.frame, list(held.channels)) != (new.scan_id, new.frame, list(new.channels)):
        return None
    below, above = (held, new) if held.first_row < new.first_row else (new, held)
    if below.first_row + len(next(iter(below.channels.values()))) != above.first_row:
        return None
    channels = {name: np.concatenate([part, above.channels[name]]) for name, part in below.channels.items()}
    return replace(below, channels=channels)

"""Lines of a frame that is still being recorded, on their way to whoever watches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from instrument_adapters.geometry import Frame


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of a frame that is still being recorded.

    Parameters
    ----------
    scan_id
        The id that the frame's scan will have.
    frame, units
        Of the whole frame, as in `Scan`.
    first_row
        Row of the frame of the first of these lines; the others follow upwards, also where they were recorded downwards.
    channels
        Name -> lines of shape (lines, cols), float32, one at least, equally many in each.
    """

    scan_id: str
    frame: Frame
    units: Mapping[str, str]
    first_row: int
    channels: Mapping[str, Float32[np.ndarray, "lines cols"]]


class LineBuffer:
    """Puts lines together, so that few messages carry many of them.

    Parameters
    ----------
    send
        Called with what has come since it was called last.
    pause_s
        It is not called more often than once in so long; what is left at the end of a frame is in the scan that follows.
    wall
        Seconds from any origin; never jumps backwards.
    """

    def __init__(self, send: Callable[[Lines], None], pause_s: float, wall: Callable[[], float]) -> None:
        self._send, self._pause_s, self._wall = send, pause_s, wall
        self._held: Lines | None = None
        self._sent_s = wall()

    def add(self, lines: Lines) -> None:
        """Hold `lines`, and send all that is held if the pause is over."""
        joined = self._held and _joined(self._held, lines)
        self._held = joined or lines  # lines that do not adjoin: whoever watches sees the newest
        now_s = self._wall()
        if now_s - self._sent_s >= self._pause_s:
            self._send(self._held)
            self._held, self._sent_s = None, now_s


def _joined(held: Lines, new: Lines) -> Lines | None:
    """Both as one, where the new lines adjoin the others above or below; else None."""
    if (held.scan_id, held.frame, list(held.channels)) != (new.scan_id, new.frame, list(new.channels)):
        return None
    below, above = (held, new) if held.first_row < new.first_row else (new, held)
    if below.first_row + len(next(iter(below.channels.values()))) != above.first_row:
        return None
    channels = {name: np.concatenate([part, above.channels[name]]) for name, part in below.channels.items()}
    return replace(below, channels=channels)

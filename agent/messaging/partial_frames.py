"""Frames that are still being recorded, for display only: nothing here is stored on disk or used in a decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Bool, Float32

from instrument_adapters.errors import ProtocolError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet

BYTES_MAX = 128 << 20  # per frame; a 2048 x 2048 scan with six channels has 101 MB
TOTAL_BYTES_MAX = 256 << 20  # of all frames; the one that was updated longest ago makes room
INTERVAL_MIN = timedelta(seconds=0.05)  # lines that arrive sooner are dropped
_BYTES_PER_S = 64 << 20  # of one instrument, at most: larger blocks of lines need longer pauses
_FRAME_INTERVAL_MIN = timedelta(seconds=0.2)  # between the beginnings of two frames, of whichever instruments


@dataclass(frozen=True, eq=False)
class PartialFrame:
    """The lines of a frame that have been received so far.

    Parameters
    ----------
    scan_id
        Identifier that the scan will have.
    frame
        Position and size of the frame.
    channels
        Names and units of the channels.
    values
        Shape (channels, rows, cols): pixel values; NaN in lines that were not received.
    recorded
        Shape (rows,): whether a line was received.
    at
        When the last line was received, by the agent's clock.
    """

    scan_id: str
    frame: Frame
    channels: tuple[wire.ChannelSpec, ...]
    values: Float32[np.ndarray, "channels rows cols"]
    recorded: Bool[np.ndarray, " rows"]
    at: datetime


class PartialFrames:
    """The newest partial frame of each instrument, in memory."""

    def __init__(self) -> None:
        self._frames: dict[str, PartialFrame] = {}  # in the order in which they were updated
        self._began: datetime | None = None

    def newest(self, instrument_id: str) -> PartialFrame | None:
        """The frame that an instrument is recording; None if it records none or does not send its lines."""
        return self._frames.get(instrument_id)

    def add(self, instrument_id: str, packet: Packet, message: wire.LinesMessage, at: datetime) -> bool:
        """Add received lines; False if they were dropped because they came too fast.

        Raises
        ------
        ProtocolError
            If the whole frame is larger than `BYTES_MAX`.
        """
        size = 4 * len(message.channels) * message.frame.rows * message.frame.cols
        if size > BYTES_MAX:
            raise ProtocolError("oversized_frame", f"the frame would have {size} bytes, at most {BYTES_MAX} are accepted")
        before = self._frames.get(instrument_id)
        lines = packet.arrays["lines"]
        pause = max(INTERVAL_MIN, timedelta(seconds=lines.nbytes / _BYTES_PER_S))
        if before is not None and timedelta(0) <= at - before.at < pause:
            return False
        same = before is not None and _frame_key(before) == _frame_key(message)
        if not same and self._began is not None and timedelta(0) <= at - self._began < _FRAME_INTERVAL_MIN:
            return False
        self._frames.pop(instrument_id, None)
        if not same:
            self._began = at
            self._make_room(size)
        values, recorded = (before.values, before.recorded) if before is not None and same else _empty(message)
        rows = slice(message.first_row, message.first_row + lines.shape[1])
        values[:, rows] = lines
        recorded[rows] = True
        self._frames[instrument_id] = PartialFrame(message.scan_id, message.frame, message.channels, values, recorded, at)
        return True

    def drop(self, instrument_id: str) -> None:
        """Forget the frame of an instrument, because it is complete or the instrument has left or does not respond."""
        self._frames.pop(instrument_id, None)

    def _make_room(self, size: int) -> None:
        """Forget the frames that were updated longest ago, until one of `size` bytes fits."""
        total = size + sum(frame.values.nbytes for frame in self._frames.values())
        for name, frame in list(self._frames.items()):
            if total <= TOTAL_BYTES_MAX:
                break
            total -= frame.values.nbytes
            del self._frames[name]


def _frame_key(lines: PartialFrame | wire.LinesMessage) -> tuple[str, Frame, tuple[wire.ChannelSpec, ...]]:
    return lines.scan_id, lines.frame, lines.channels


def _empty(message: wire.LinesMessage) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = message.frame.rows, message.frame.cols
    return np.full((len(message.channels), rows, cols), np.nan, dtype=np.float32), np.zeros(rows, dtype=bool)

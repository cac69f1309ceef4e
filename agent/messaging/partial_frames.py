"""Frames that are still being recorded, as far as they have come: for watching. Nothing here is kept on disk or decided on."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Bool, Float32

from instrument_adapters.errors import ProtocolError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet

BYTES_MAX = 128 << 20  # of one frame; a 2048 x 2048 scan of six channels has 101 MB
PAUSE_LEAST = timedelta(seconds=0.05)  # what comes faster is not taken


@dataclass(frozen=True, eq=False)
class PartialFrame:
    """The newest frame of an instrument, in part.

    Parameters
    ----------
    scan_id
        That the frame's scan will have.
    frame
        Where it lies.
    channels
        Names and units.
    values
        Shape (channels, rows, cols); NaN where nothing has come.
    recorded
        Shape (rows,): whether a line has come.
    at
        When the last one came, by the agent's clock.
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
        self._of: dict[str, PartialFrame] = {}

    def newest(self, instrument_id: str) -> PartialFrame | None:
        """What has come of the frame that an instrument is recording; None while it records none, or does not show it."""
        return self._of.get(instrument_id)

    def add(self, instrument_id: str, packet: Packet, message: wire.LinesMessage, at: datetime) -> bool:
        """True if the lines are taken; what comes too fast is let go.

        Raises
        ------
        ProtocolError
            If the whole frame is larger than is kept.
        """
        size = 4 * len(message.channels) * message.frame.rows * message.frame.cols
        if size > BYTES_MAX:
            raise ProtocolError("oversized_frame", f"the frame would have {size} bytes, lines of at most {BYTES_MAX} are taken")
        before = self._of.get(instrument_id)
        if before is not None and timedelta(0) <= at - before.at < PAUSE_LEAST:
            return False
        same = before is not None and _question(before) == _question(message)
        values, recorded = (before.values, before.recorded) if before is not None and same else _empty(message)
        rows = slice(message.first_row, message.first_row + packet.arrays["lines"].shape[1])
        values[:, rows] = packet.arrays["lines"]
        recorded[rows] = True
        self._of[instrument_id] = PartialFrame(message.scan_id, message.frame, message.channels, values, recorded, at)
        return True

    def drop(self, instrument_id: str) -> None:
        """Forget: the frame is finished, or the instrument has left."""
        self._of.pop(instrument_id, None)


def _question(of: PartialFrame | wire.LinesMessage) -> tuple[str, Frame, tuple[wire.ChannelSpec, ...]]:
    return of.scan_id, of.frame, of.channels


def _empty(message: wire.LinesMessage) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = message.frame.rows, message.frame.cols
    return np.full((len(message.channels), rows, cols), np.nan, dtype=np.float32), np.zeros(rows, dtype=bool)

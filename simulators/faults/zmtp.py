"""Splits a stream in ZeroMQ's wire format (ZMTP 3, rfc.zeromq.org/spec/23) into messages.

A stream is a greeting of 64 bytes followed by frames: a byte of flags, a length of one or eight bytes, the body. A frame with the
flag "more" is continued by the next one; commands (handshake, ping) are single frames. There is no decryption: with a security
mechanism every frame is a command, so no messages are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_GREETING_BYTES = 64
_MORE, _LONG, _COMMAND = 1, 2, 4


@dataclass(frozen=True)
class Unit:
    """Part of the stream that is passed on as a whole: its bytes, and the frames if it is a message."""

    raw: bytes
    frames: tuple[bytes, ...] = ()


class Splitter:
    """Splits a stream into units, independently of how it arrives in packets."""

    def __init__(self) -> None:
        self._greeted = 0
        self._rest = bytearray()
        self._raw: list[bytes] = []
        self._frames: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Unit]:
        """Units completed by `data`, in order."""
        missing = _GREETING_BYTES - self._greeted
        if missing > 0:
            # Passed on at once, even in parts: each side sends the rest of its greeting only after the beginning of the other's.
            greeting, data = data[:missing], data[missing:]
            self._greeted += len(greeting)
            yield Unit(bytes(greeting))
        self._rest += data
        while (size := self._frame_bytes()) is not None and len(self._rest) >= size:
            frame = bytes(self._rest[:size])
            del self._rest[:size]
            yield from self._take(frame)

    def _frame_bytes(self) -> int | None:
        """Size of the next frame including its header; None while it is unknown."""
        head = 9 if self._rest and self._rest[0] & _LONG else 2
        return head + int.from_bytes(self._rest[1:head]) if len(self._rest) >= head else None

    def _take(self, frame: bytes) -> Iterator[Unit]:
        flags, head = frame[0], 9 if frame[0] & _LONG else 2
        if flags & _COMMAND:
            yield Unit(frame)
            return
        self._raw.append(frame)
        self._frames.append(frame[head:])
        if not flags & _MORE:
            yield Unit(b"".join(self._raw), tuple(self._frames))
            self._raw.clear()
            self._frames.clear()

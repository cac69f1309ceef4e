"""ZeroMQ's wire format (ZMTP 3, rfc.zeromq.org/spec/23), as far as it takes to tell where one message ends and the next begins.

A stream is a greeting of 64 bytes, then frames: a byte of flags, a length of one or eight bytes, the body. Frames with the flag
"more" belong to the message that follows them; commands (handshake, ping) stand by themselves. Nothing here is decrypted: with
a security mechanism every frame is a command, and no message is ever seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_GREETING_BYTES = 64
_MORE, _LONG, _COMMAND = 1, 2, 4


@dataclass(frozen=True)
class Unit:
    """What can be passed on as one piece: its bytes, and the frames of a message (none for greetings and commands)."""

    raw: bytes
    frames: tuple[bytes, ...] = ()


class Splitter:
    """Cuts a stream into units, however it was cut into packets on its way."""

    def __init__(self) -> None:
        self._greeted = 0
        self._rest = bytearray()
        self._raw: list[bytes] = []
        self._frames: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Unit]:
        """The units that `data` completes, in order."""
        missing = _GREETING_BYTES - self._greeted
        if missing > 0:
            # At once, also in pieces: each side sends the rest of its greeting when it has seen the other's beginning.
            greeting, data = data[:missing], data[missing:]
            self._greeted += len(greeting)
            yield Unit(bytes(greeting))
        self._rest += data
        while (size := self._frame_bytes()) is not None and len(self._rest) >= size:
            frame = bytes(self._rest[:size])
            del self._rest[:size]
            yield from self._take(frame)

    def _frame_bytes(self) -> int | None:
        """Size of the frame that comes next, head included; None while that cannot be told."""
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

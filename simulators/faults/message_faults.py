"""Decides what a faulty connection does to each message, without sockets."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from simulators.faults.catalogue import Value

Action = Literal["cut", "drop", "drop_answer", "repeat", "delay"]


@dataclass(frozen=True)
class MessageFault:
    """Fault of the next new message of a type, in either direction; a message that is sent again is not new.

    Parameters
    ----------
    action
        "cut" breaks the connection in the middle of the message, "drop" loses it, "drop_answer" loses its acknowledgement,
        "repeat" delivers it twice, "delay" delays it and the messages after it.
    message
        Type of the message, such as "scan", "result" or "recommendation".
    share, down_s
        For "cut": share of the message's bytes that is delivered, and wall seconds during which connecting is impossible.
    later
        For "repeat": number of further messages in the same direction before the repetition.
    delay_s
        For "delay": duration in wall seconds.
    done
        Called once with the message's id when the fault occurs, in the connection's thread.
    """

    action: Action
    message: str = "scan"
    share: float = 0.5
    down_s: float = 0.5
    later: int = 0
    delay_s: float = 0.5
    done: Callable[[Mapping[str, Value]], None] = lambda _: None


class MessageFaultQueue:
    """The armed message faults, and those under way; usable from any thread."""

    def __init__(self) -> None:
        self._armed: list[MessageFault] = []
        self._seen: set[str] = set()
        self._unacknowledged: dict[str, MessageFault] = {}
        self._copies: list[tuple[str, int, bytes]] = []
        self._mutex = threading.Lock()

    def arm(self, fault: MessageFault) -> None:
        """Arm a fault for the next new message of its type."""
        with self._mutex:
            self._armed.append(fault)

    def due(self, frames: tuple[bytes, ...], raw: bytes, direction: str) -> MessageFault | None:
        """The cut, delay or loss that applies to a message now, or None; repetitions are only recorded here."""
        with self._mutex:
            header = _header(frames)
            kind, name = str(header.get("type")), str(header.get("id"))
            if kind == "ack" and (lost := self._unacknowledged.pop(str(header.get("of")), None)) is not None:
                lost.done({"of": str(header.get("of"))})
                return MessageFault("drop")
            fresh = name not in self._seen
            self._seen.add(name)
            return self._start([f for f in self._armed if f.message == kind], name, raw, direction) if fresh else None

    def copies(self, direction: str) -> list[bytes]:
        """Messages to be delivered again in a direction, after one was just delivered there."""
        with self._mutex:
            mine = [copy for copy in self._copies if copy[0] == direction]
            others = [copy for copy in self._copies if copy[0] != direction]
            self._copies = others + [(way, left - 1, raw) for way, left, raw in mine if left > 0]
            return [raw for _, left, raw in mine if left == 0]

    def _start(self, faults: list[MessageFault], name: str, raw: bytes, direction: str) -> MessageFault | None:
        """Start the faults of a message and return the first that cuts, delays or loses it; further ones stay armed."""
        now = None
        for fault in faults:
            if fault.action not in ("repeat", "drop_answer") and now is not None:
                continue
            self._armed.remove(fault)
            if fault.action == "drop_answer":
                self._unacknowledged[name] = fault
                continue
            fault.done({"of": name})
            if fault.action == "repeat":
                self._copies.append((direction, fault.later, raw))
            else:
                now = fault
        return now


def _header(frames: tuple[bytes, ...]) -> Mapping[str, object]:
    try:
        header = json.loads(frames[0])
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}

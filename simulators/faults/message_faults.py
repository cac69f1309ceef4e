"""What a faulty connection does to which message: the decisions, apart from the sockets."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from simulators.faults.catalogue import Value

Action = Literal["cut", "drop", "drop_answer", "repeat", "delay"]


@dataclass(frozen=True)
class Trick:
    """Something that befalls the next new message of a type, in either direction; repetitions of a message are not new.

    Parameters
    ----------
    action
        "cut" breaks the connection in the midst of it, "drop" loses it, "drop_answer" loses its acknowledgement, "repeat"
        delivers it twice, "delay" holds it (and what follows it) back.
    message
        Type of the message, such as "scan", "result" or "recommendation".
    share, down_s
        Of a cut: the share of the message's bytes that get through, and for how many wall seconds nobody can connect again.
    later
        Of a repetition: after so many more messages in the same direction.
    delay_s
        Of a delay, in wall seconds.
    done
        Called once with the message's id when it happens, in the connection's thread.
    """

    action: Action
    message: str = "scan"
    share: float = 0.5
    down_s: float = 0.5
    later: int = 0
    delay_s: float = 0.5
    done: Callable[[Mapping[str, Value]], None] = lambda _: None


class Tampering:
    """The tricks that wait for their message, and those under way; may be asked from any thread."""

    def __init__(self) -> None:
        self._armed: list[Trick] = []
        self._seen: set[str] = set()
        self._unanswerable: dict[str, Trick] = {}
        self._copies: list[tuple[str, int, bytes]] = []
        self._mutex = threading.Lock()

    def arm(self, trick: Trick) -> None:
        """Let a trick wait for the next new message of its type."""
        with self._mutex:
            self._armed.append(trick)

    def due(self, frames: tuple[bytes, ...], raw: bytes, direction: str) -> Trick | None:
        """What befalls a message now: a cut, a delay or a loss; repetitions are taken note of here."""
        with self._mutex:
            header = _header(frames)
            kind, name = str(header.get("type")), str(header.get("id"))
            if kind == "ack" and (lost := self._unanswerable.pop(str(header.get("of")), None)) is not None:
                lost.done({"of": str(header.get("of"))})
                return Trick("drop")
            fresh = name not in self._seen
            self._seen.add(name)
            return self._begun([t for t in self._armed if t.message == kind], name, raw, direction) if fresh else None

    def copies(self, direction: str) -> list[bytes]:
        """What is to be delivered once more in a direction, after a message that has just been delivered there."""
        with self._mutex:
            mine = [copy for copy in self._copies if copy[0] == direction]
            others = [copy for copy in self._copies if copy[0] != direction]
            self._copies = others + [(way, left - 1, raw) for way, left, raw in mine if left > 0]
            return [raw for _, left, raw in mine if left == 0]

    def _begun(self, tricks: list[Trick], name: str, raw: bytes, direction: str) -> Trick | None:
        """The first of the tricks that keeps the message from arriving as it is; others of that kind wait for the next one."""
        now = None
        for trick in tricks:
            if trick.action not in ("repeat", "drop_answer") and now is not None:
                continue
            self._armed.remove(trick)
            if trick.action == "drop_answer":
                self._unanswerable[name] = trick
                continue
            trick.done({"of": name})
            if trick.action == "repeat":
                self._copies.append((direction, trick.later, raw))
            else:
                now = trick
        return now


def _header(frames: tuple[bytes, ...]) -> Mapping[str, object]:
    try:
        header = json.loads(frames[0])
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}

"""Which instruments are connected, and which of them do not respond: the only record of both in a running agent."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.ledger.recorder import Recorder
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire

_HEARTBEATS_UNANSWERED = 3  # consecutive heartbeats that report missing answers before the agent asks for what is missing


@dataclass(frozen=True)
class _Contact:
    at_s: float
    unanswered: int = 0  # consecutive heartbeats that reported missing answers, with no other message between them


class Presence:
    """Connected instruments with their limits, and when each was last heard.

    An instrument is connected from its hello to its goodbye; it is silent when nothing has been heard of it for too long, and
    responds again with its next message. Both are recorded.

    Parameters
    ----------
    recorder
        Records silence and return.
    limits_of
        Limits in force for an instrument: its own, narrowed by the settings.
    silence_s
        Seconds without any message after which an instrument counts as silent.
    monotonic
        Monotonic clock in seconds.
    """

    def __init__(
        self, recorder: Recorder, limits_of: Callable[[str], wire.Limits], silence_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._recorder, self._ledger = recorder, recorder.ledger
        self._limits_of, self._silence_s, self._monotonic = limits_of, silence_s, monotonic
        self._started_s = monotonic()
        self._limits: dict[str, wire.Limits] = {}  # of the connected instruments
        self._contacts: dict[str, _Contact] = {}

    def connect(self, instrument_id: str) -> None:
        """Note that an instrument has said hello; its limits must be recorded already."""
        self._limits[instrument_id] = self._limits_of(instrument_id)

    def disconnect(self, instrument_id: str) -> None:
        """Note that an instrument has said goodbye."""
        self._limits.pop(instrument_id, None)

    def connected(self) -> list[str]:
        """All connected instruments, in the order in which they connected."""
        return list(self._limits)

    def is_connected(self, instrument_id: str) -> bool:
        """Whether an instrument is connected, silent or not."""
        return instrument_id in self._limits

    def responds(self, instrument_id: str) -> bool:
        """Whether an instrument is connected and not silent."""
        return instrument_id in self._limits and instrument_id not in self._ledger.lost

    def limits(self, instrument_id: str) -> wire.Limits:
        """Limits in force for a connected instrument; no limits for one that is not."""
        return self._limits.get(instrument_id, wire.Limits())

    def heard(self, instrument_id: str, message: wire.Message) -> None:
        """Note a message of an instrument, and record its return if it was silent."""
        before = self._contacts.get(instrument_id)
        again = isinstance(message, wire.Heartbeat) and message.unanswered > 0
        display_only = isinstance(message, wire.StatusMessage | wire.LinesMessage)  # says nothing about missing answers
        count = before.unanswered if before else 0
        self._contacts[instrument_id] = _Contact(self._monotonic(), count + 1 if again else count if display_only else 0)
        if instrument_id in self._ledger.lost:
            self._recorder.record(kinds.INSTRUMENT_BACK, instrument_id, {"instrument_id": instrument_id})

    def silent_s(self, instrument_id: str) -> float:
        """Seconds since the last message from an instrument, or since the agent started."""
        contact = self._contacts.get(instrument_id)
        return self._monotonic() - (self._started_s if contact is None else contact.at_s)

    def is_silent(self, instrument_id: str) -> bool:
        """Whether nothing was heard from an instrument for too long."""
        return self.silent_s(instrument_id) > self._silence_s

    def record_silent(self) -> list[str]:
        """Record each instrument that has become silent, once; returns their names."""
        silent = [name for name in sorted(self._ledger.present - self._ledger.lost) if self.is_silent(name)]
        for name in silent:
            body = {"instrument_id": name, "silent_s": round(self.silent_s(name), 1)}
            self._recorder.record(kinds.INSTRUMENT_LOST, name, body)
        return silent

    def misses_answers(self, instrument_id: str) -> bool:
        """Whether an instrument keeps reporting missing answers while its messages do not arrive; if so, the count restarts."""
        contact = self._contacts.get(instrument_id)
        if contact is None or contact.unanswered < _HEARTBEATS_UNANSWERED:
            return False
        self._contacts[instrument_id] = replace(contact, unanswered=0)
        return True

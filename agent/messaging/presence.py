"""Who is there: when each instrument was last heard, and whether it waits for answers that do not come."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from instrument_adapters.protocol import messages as wire

_BEATS_UNANSWERED = 3  # heartbeats in a row that say so, before the agent asks for what is missing


@dataclass(frozen=True)
class _Heard:
    at_s: float
    unanswered: int = 0  # heartbeats in a row that said that answers are missing, with nothing else between them


class Presence:
    """Listens for each instrument's signs of life.

    Parameters
    ----------
    silence_s
        Seconds without any message after which an instrument counts as silent.
    monotonic
        Seconds from any origin; never jumps backwards.
    """

    def __init__(self, silence_s: float, monotonic: Callable[[], float]) -> None:
        self._silence_s, self._monotonic = silence_s, monotonic
        self._began_s = monotonic()
        self._heard: dict[str, _Heard] = {}

    def heard(self, instrument_id: str, message: wire.Message) -> None:
        """A message of an instrument came in."""
        before = self._heard.get(instrument_id)
        again = isinstance(message, wire.Heartbeat) and message.unanswered > 0
        told = isinstance(message, wire.StatusMessage | wire.LinesMessage)  # they say nothing of what is missing
        count = before.unanswered if before else 0
        self._heard[instrument_id] = _Heard(self._monotonic(), count + 1 if again else count if told else 0)

    def silent_s(self, instrument_id: str) -> float:
        """Seconds since the last message, or since this agent began."""
        heard = self._heard.get(instrument_id)
        return self._monotonic() - (self._began_s if heard is None else heard.at_s)

    def silent(self, instrument_id: str) -> bool:
        """Whether nothing was heard for too long."""
        return self.silent_s(instrument_id) > self._silence_s

    def misses_answers(self, instrument_id: str) -> bool:
        """True, and counted anew, when an instrument keeps saying that answers are missing while nothing of it arrives."""
        heard = self._heard.get(instrument_id)
        if heard is None or heard.unanswered < _BEATS_UNANSWERED:
            return False
        self._heard[instrument_id] = replace(heard, unanswered=0)
        return True

"""How many messages one instrument may send: more than any sound one does, and less than would starve the others."""

from collections.abc import Callable

_BURST_S = 10.0  # an instrument that was cut off comes back with what has piled up
_REMEMBERED = 1024


class RateLimiter:
    """A bucket of tokens for each sender; a message takes one, time brings them back.

    What finds none is not answered. That loses nothing, since a sender repeats what is not answered.

    Parameters
    ----------
    per_s
        Messages a second, on average.
    now
        Seconds from any origin; never jumps backwards.
    """

    def __init__(self, per_s: float, now: Callable[[], float]) -> None:
        self._per_s, self._most, self._now = per_s, max(1.0, per_s * _BURST_S), now
        self._tokens: dict[bytes, tuple[float, float]] = {}

    def takes(self, sender: bytes) -> bool:
        """Whether a message of this sender may be looked at."""
        now = self._now()
        tokens, then = self._tokens.get(sender, (self._most, now))
        tokens = min(self._most, tokens + (now - then) * self._per_s)
        if len(self._tokens) >= _REMEMBERED and sender not in self._tokens:
            self._tokens.clear()  # names cost nothing, so they must not pile up
        self._tokens[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

"""Rate limit for each client: above the rate of any working instrument, and below a rate that would starve the others."""

from collections.abc import Callable

_BURST_S = 10.0  # an instrument that was disconnected returns with a backlog
_SENDERS_MAX = 1024


class RateLimiter:
    """Token bucket for each sender.

    A message that finds no token is dropped without an answer. Nothing is lost: clients repeat what is not answered.

    Parameters
    ----------
    per_s
        Mean number of messages per second.
    now
        Monotonic clock in seconds.
    """

    def __init__(self, per_s: float, now: Callable[[], float]) -> None:
        self._per_s, self._most, self._now = per_s, max(1.0, per_s * _BURST_S), now
        self._tokens: dict[bytes, tuple[float, float]] = {}

    def allows(self, sender: bytes) -> bool:
        """Whether a message of this sender may be handled; uses one token if so."""
        now = self._now()
        tokens, then = self._tokens.get(sender, (self._most, now))
        tokens = min(self._most, tokens + (now - then) * self._per_s)
        if len(self._tokens) >= _SENDERS_MAX and sender not in self._tokens:
            self._tokens.clear()  # a client may invent any number of names
        self._tokens[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

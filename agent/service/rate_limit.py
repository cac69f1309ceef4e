"""Rate limits: above the rate of any working instrument, and below a rate that would starve the others or fill the disk."""

from collections.abc import Callable

_BURST_S = 10.0  # an instrument that was disconnected returns with a backlog
_SENDERS_MAX = 1024
_MIB = 1 << 20

# Names are free where there are no keys: whoever invents one for each message must not be served like as many instruments.
_STRANGERS_PER_S, _STRANGERS_BURST = 10.0, 100.0  # messages under all names that have not said hello in this run
_NEW_NAMES_PER_S, _NEW_NAMES_BURST = 1 / 60, 32.0
_HELLOS_PER_S, _HELLOS_BURST = 1 / 10, 30.0  # of one name; each is recorded
_TROUBLES_PER_S, _TROUBLES_BURST = 1 / 10, 100.0  # of one name; each is recorded


class RateLimiter:
    """Token bucket for each sender.

    A message that finds too few tokens is dropped without an answer. Nothing is lost: clients repeat what is not answered.

    Parameters
    ----------
    per_s
        Mean number of tokens per second.
    now
        Monotonic clock in seconds.
    burst
        Largest number of tokens that a sender can save up; by default those of ten seconds.
    """

    def __init__(self, per_s: float, now: Callable[[], float], burst: float | None = None) -> None:
        self._per_s, self._most, self._now = per_s, max(1.0, per_s * _BURST_S if burst is None else burst), now
        self._tokens: dict[bytes, tuple[float, float]] = {}

    def allows(self, sender: bytes, cost: float = 1.0) -> bool:
        """Whether a message of this sender may be handled; uses its tokens if so, at most half of those that can be saved up."""
        now = self._now()
        tokens, then = self._tokens.get(sender, (self._most, now))
        tokens = min(self._most, tokens + (now - then) * self._per_s)
        if len(self._tokens) >= _SENDERS_MAX and sender not in self._tokens:
            self._tokens.clear()  # a client may invent any number of names
        cost = max(1.0, min(cost, self._most / 2))
        self._tokens[sender] = (tokens - cost if tokens >= cost else tokens, now)
        return tokens >= cost


class SenderLimits:
    """How much each sender may send: messages and bytes, and how many new names there may be.

    Parameters
    ----------
    per_s
        Mean number of messages of one instrument per second; a message of several MiB counts as one for each MiB.
    now
        Monotonic clock in seconds.
    """

    def __init__(self, per_s: float, now: Callable[[], float]) -> None:
        self._known = RateLimiter(per_s, now)
        self._strangers = RateLimiter(min(per_s, _STRANGERS_PER_S), now, _STRANGERS_BURST)
        self._new_names = RateLimiter(_NEW_NAMES_PER_S, now, _NEW_NAMES_BURST)
        self._hellos = RateLimiter(_HELLOS_PER_S, now, _HELLOS_BURST)
        self._troubles = RateLimiter(_TROUBLES_PER_S, now, _TROUBLES_BURST)

    def allows(self, sender: bytes, size: int, *, known: bool) -> bool:
        """Whether a message of `size` bytes may be handled; `known`: whether the name has said hello in this run."""
        return self._known.allows(sender, size / _MIB) if known else self._strangers.allows(b"")

    def allows_hello(self, sender: bytes, *, known: bool) -> bool:
        """Whether a hello may be answered: each is recorded, and a new name stays in the run for ever."""
        return self._hellos.allows(sender) if known else self._new_names.allows(b"")

    def allows_trouble(self, sender: bytes) -> bool:
        """Whether a report of a fault may be recorded."""
        return self._troubles.allows(sender)

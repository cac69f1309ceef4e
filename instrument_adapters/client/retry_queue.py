"""Messages that are repeated until they are answered, at increasing intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SLOWEST_BYTES_PER_S = 2e6  # a large scan is not repeated while its first copy may still be under way


@dataclass(eq=False)
class Pending:
    """An unanswered message: when it is due next, and the pause in seconds before the repetition after that."""

    frames: Sequence[bytes]
    pause_s: float
    due: float = 0.0
    attempts: int = 0

    def mark_sent(self, now: float, longest_s: float) -> None:
        """Schedule the next repetition, at most `longest_s` later."""
        self.attempts += 1
        self.due = now + self.pause_s
        self.pause_s = max(self.pause_s, min(2 * self.pause_s, longest_s))


class RetryQueue:
    """Unanswered messages, in the order in which they were posted.

    Parameters
    ----------
    repeat_s
        Pause in seconds before the first repetition; a large message gets a longer one.
    """

    def __init__(self, repeat_s: float) -> None:
        self._repeat_s = repeat_s
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._pending.values()))

    def post(self, message_id: str, frames: Sequence[bytes]) -> None:
        """Add a message, unless it is queued already."""
        size = sum(len(f) for f in frames)
        self._pending.setdefault(message_id, Pending(frames, self._repeat_s + size / _SLOWEST_BYTES_PER_S))

    def pop(self, message_id: str) -> Pending | None:
        """Remove and return a message that needs no further repetition; None if it is not queued."""
        return self._pending.pop(message_id, None)

    def retry_now(self) -> None:
        """Make every message due at once."""
        for pending in self._pending.values():
            pending.due = 0.0

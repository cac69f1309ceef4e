"""Messages that are said until they are answered, each after longer and longer pauses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SLOWEST_BYTES_PER_S = 2e6  # a large scan is not repeated while its first copy may still be under way


@dataclass(eq=False)
class Pending:
    """A message without an answer: when it is due again, and after which pause after that."""

    frames: Sequence[bytes]
    pause_s: float
    due: float = 0.0
    attempts: int = 0

    def sent(self, now: float, longest_s: float) -> None:
        """It has gone out."""
        self.attempts += 1
        self.due = now + self.pause_s
        self.pause_s = max(self.pause_s, min(2 * self.pause_s, longest_s))


class RetryQueue:
    """What has not been answered, in the order in which it was posted.

    Parameters
    ----------
    repeat_s
        First pause before a message is repeated; a large one gets a longer one.
    """

    def __init__(self, repeat_s: float) -> None:
        self._repeat_s = repeat_s
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._pending.values()))

    def post(self, message_id: str, frames: Sequence[bytes]) -> None:
        """Take a message in, unless it is there already."""
        size = sum(len(f) for f in frames)
        self._pending.setdefault(message_id, Pending(frames, self._repeat_s + size / _SLOWEST_BYTES_PER_S))

    def take(self, message_id: str) -> Pending | None:
        """Let a message go: it was answered, in whatever form."""
        return self._pending.pop(message_id, None)

    def hurry(self) -> None:
        """Everything is due at once."""
        for pending in self._pending.values():
            pending.due = 0.0

"""Best-effort channel: latest message only, no retransmission, silent once the agent has refused it."""

from collections.abc import Sequence


class LatestOnly:
    """The best-effort messages of one kind, of which only the newest unsent one is kept.

    Parameters
    ----------
    name
        Kind of the messages; their ids begin with it and a hyphen.
    pause_s
        Shortest time between two messages in seconds.
    """

    def __init__(self, name: str, pause_s: float = 0.0) -> None:
        self.name, self._pause_s = name, pause_s
        self.unwanted = False
        self._frames: Sequence[bytes] | None = None
        self._next_send_at = 0.0

    @property
    def due(self) -> float | None:
        """Time at which a message is to be sent; None if there is none."""
        return None if self._frames is None else self._next_send_at

    def put(self, frames: Sequence[bytes]) -> None:
        """Replace the unsent message, if there is one."""
        if not self.unwanted:
            self._frames = frames

    def pop_due(self, now: float) -> Sequence[bytes] | None:
        """The message that is to be sent now; None if there is none."""
        if self._frames is None or self._next_send_at > now:
            return None
        frames, self._frames, self._next_send_at = self._frames, None, now + self._pause_s
        return frames

    def accept_refusal(self, of: str | None) -> bool:
        """True if message `of` is of this kind; nothing more of the kind is then sent until `reset`."""
        if not (of or "").startswith(f"{self.name}-"):
            return False
        self.unwanted, self._frames = True, None
        return True

    def reset(self) -> None:
        """Start afresh for a new connection: another agent may want these messages."""
        self.unwanted, self._frames = False, None

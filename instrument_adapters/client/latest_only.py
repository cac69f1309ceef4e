"""What may be lost: said once, the newest only, as long as the agent is there and has not said that it does not want it."""

from collections.abc import Sequence


class LatestOnly:
    """One kind of message for whoever watches; ids of its messages begin with its name and a hyphen.

    Parameters
    ----------
    name
        Of the kind.
    pause_s
        Shortest time between two messages.
    """

    def __init__(self, name: str, pause_s: float = 0.0) -> None:
        self.name, self._pause_s = name, pause_s
        self.unwanted = False
        self._frames: Sequence[bytes] | None = None
        self._free_at = 0.0

    @property
    def due(self) -> float | None:
        """When there is something to say; None: nothing."""
        return None if self._frames is None else self._free_at

    def put(self, frames: Sequence[bytes]) -> None:
        """Say this next, in place of what has not been said yet."""
        if not self.unwanted:
            self._frames = frames

    def next(self, now: float) -> Sequence[bytes] | None:
        """What is to be said now, once; None: nothing."""
        if self._frames is None or self._free_at > now:
            return None
        frames, self._frames, self._free_at = self._frames, None, now + self._pause_s
        return frames

    def refuses(self, of: str | None) -> bool:
        """Whether a refusal is of this kind, which is then said no more until `reset`."""
        if not (of or "").startswith(f"{self.name}-"):
            return False
        self.unwanted, self._frames = True, None
        return True

    def reset(self) -> None:
        """Another agent may be there: it may want it, and knows nothing of before."""
        self.unwanted, self._frames = False, None

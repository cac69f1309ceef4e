"""What a person may tell a running agent, whichever way it comes in: command line, web page, another program.

Every call names who asks and why, and is recorded before it takes effect.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Control(Protocol):
    """A running agent, as a person steers it; called in the event loop's thread.

    `instrument_id` None means all instruments, also those that connect later.
    """

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Have instruments finish what is under way and begin nothing new; no recommendation goes out."""

    async def resume(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Let instruments go on, after a pause or an emergency stop."""

    async def emergency_stop(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Have instruments end what is under way at once; points that have not been begun are never measured."""

    async def approve(
        self,
        decision_id: str,
        by: str,
        reason: str = "",
        *,
        drop: Sequence[str] = (),
        move: Mapping[str, tuple[float, float]] | None = None,
        instrument_id: str | None = None,
    ) -> None:
        """Send the points of a decision that waits for approval.

        Parameters
        ----------
        decision_id
            It must be the newest of its instrument and open, else it is refused.
        by, reason
            Who, and why.
        drop
            Request ids that are not to be measured.
        move
            Request id -> new (x, y) in metres; outside any limit the whole approval is refused.
        instrument_id
            Needed only where two instruments sent the same scan, and so have a decision of one name.

        Raises
        ------
        ControlError
            With one sentence.
        """

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        """Send none of a decision's points; the instrument goes on with a new scan."""

    def pending(self) -> list[dict[str, Any]]:
        """The decisions that wait for approval, each with its points, as plain JSON."""

    def status(self) -> dict[str, Any]:
        """Where things stand, as plain JSON: run, uptime, each instrument with its state, what is decided on, what waits."""

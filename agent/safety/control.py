"""Interface for operators of a running agent, common to the command line, the web page and other programs.

Every call carries the operator's name and reason, and is recorded before it takes effect.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Control(Protocol):
    """Commands, approvals and status of a running agent; called in the event loop's thread.

    For commands, `instrument_id` None means all instruments, including those that connect later.
    """

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Pause instruments: they finish the point under way and begin nothing new; no recommendation is sent."""

    async def resume(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Resume measuring after a pause or an emergency stop."""

    async def emergency_stop(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Stop instruments at once; points that have not been begun are never measured."""

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
        """Approve a decision that waits for approval, so that its points are sent.

        Parameters
        ----------
        decision_id
            Identifier of a decision that waits for approval.
        by, reason
            Name of the operator, and the reason.
        drop
            Request ids of points that are not to be measured.
        move
            Request id -> new (x, y) in metres. A position outside any limit refuses the whole approval.
        instrument_id
            Name of the instrument; needed only if two instruments sent the same scan and so have decisions with one id.

        Raises
        ------
        ControlError
            If the decision does not wait for approval, or an edit is not allowed.
        """

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        """Reject a decision: none of its points is sent, and the instrument continues with a new scan."""

    def pending(self) -> list[dict[str, Any]]:
        """Decisions that wait for approval, each with its points, as plain JSON."""

    def status(self) -> dict[str, Any]:
        """Status as plain JSON: run, uptime, and for each instrument its state, running search and waiting decision."""

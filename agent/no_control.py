"""Stands in until the service can be steered."""

# ruff: noqa: ARG002

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.control import ControlError


class NoControl:
    """Knows the run and nothing else."""

    def __init__(self, run_directory: Path) -> None:
        self._run = run_directory

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Refused."""
        raise ControlError("this agent cannot be steered")

    resume = emergency_stop = pause

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
        """Refused."""
        raise ControlError("this agent cannot be steered")

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        """Refused."""
        raise ControlError("this agent cannot be steered")

    def pending(self) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def status(self) -> dict[str, Any]:
        """The run."""
        return {"run": str(self._run), "instruments": {}}

"""Carries out an operator's commands and approvals: the implementation of `agent.safety.control.Control`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from agent.decision.agent import Agent
from agent.errors import ControlError, HistoryError
from agent.ledger.command_state import Command, Order
from agent.ledger.entries import POLICY
from agent.messaging.dispatcher import Dispatcher
from agent.orchestration.orchestrator import Orchestrator

_LOG = structlog.get_logger("vaestar.agent")
_LENGTH_MAX = {"by": 64, "reason": 2000}  # characters, as on the wire

SendOpen = Callable[[str], Awaitable[None]]
"""Sends an instrument its open messages."""


class OperatorControl:
    """Records an operator's commands and approvals, then carries them out; called in the event loop's thread.

    Parameters
    ----------
    agent
        Makes the decision not to measure.
    dispatcher
        Records commands and approvals.
    orchestrator
        Cancels a search that has become pointless.
    send_open
        Sends an instrument its open messages.
    status
        Status of the agent as plain JSON.
    """

    def __init__(
        self,
        agent: Agent,
        dispatcher: Dispatcher,
        orchestrator: Orchestrator,
        send_open: SendOpen,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._agent, self._dispatcher, self._orchestrator = agent, dispatcher, orchestrator
        self._send_open, self._status = send_open, status

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Pause instruments: they finish the point under way and begin nothing new; no recommendation is sent."""
        await self._command("pause", by, reason, instrument_id)

    async def resume(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Resume measuring; after an emergency stop, instruments begin with a new scan."""
        by, reason = _checked_author(by, reason)
        command_state = self._dispatcher.ledger.command_state
        names = [instrument_id] if instrument_id is not None else sorted(self._dispatcher.ledger.instruments)
        for name in names:
            # Before the state changes, so that no point of a scan from before the stop can be measured after it.
            if command_state.state(name) == "stopped":
                await self._decide_not_to_measure(name, command_state.reason(name))
        await self._command("resume", by, reason, instrument_id)

    async def emergency_stop(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Stop instruments at once; the running search is cancelled, and no open point is measured."""
        await self._command("stop", by, reason, instrument_id)

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
        """Approve a decision, with edits, and send its points; see `agent.safety.control.Control.approve`.

        Raises
        ------
        ControlError
            If the decision does not wait for approval, or an edit is not allowed.
        """
        by, reason = _checked_author(by, reason)
        name = self._dispatcher.approvals.approve(decision_id, by, reason, drop, move or {}, instrument_id)
        _LOG.info("approved", decision=decision_id, instrument=name, by=by)
        await self._send_open(name)

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        """Reject a decision: none of its points is sent, and the instrument continues with a new scan.

        Raises
        ------
        ControlError
            If the decision does not wait for approval.
        """
        by, reason = _checked_author(by, reason)
        name = self._dispatcher.approvals.reject(decision_id, by, reason, instrument_id)
        _LOG.info("rejected", decision=decision_id, instrument=name, by=by)
        await self._send_open(name)

    def pending(self) -> list[dict[str, Any]]:
        """Decisions that wait for approval, with their points, as plain JSON."""
        return self._dispatcher.approvals.pending()

    def status(self) -> dict[str, Any]:
        """Status of the agent as plain JSON (see `agent.messaging.status`)."""
        return self._status()

    async def _command(self, order: Order, by: str, reason: str, instrument_id: str | None) -> None:
        by, reason = _checked_author(by, reason)
        names = self._dispatcher.commands.give(order, by, reason, instrument_id)
        _LOG.warning("command given", command=order, by=by, reason=reason, instruments=list(names))
        for name in names:
            await self._send_open(name)
        self._orchestrator.interrupt()
        if order == "stop":
            for name in names:
                await self._decide_not_to_measure(name, Command(0, order, by, reason).sentence)
            self._orchestrator.interrupt()

    async def _decide_not_to_measure(self, instrument_id: str, why: str) -> None:
        """Close the newest scan of an instrument, if it is undecided, with the decision not to measure."""
        entry = self._dispatcher.ledger.open_scan(instrument_id)
        if entry is None:
            return
        try:
            scan = await self._dispatcher.decision_log.read_scan(entry)
        except HistoryError as error:
            self._dispatcher.decision_log.cancelled(entry, f"the instrument was {why}, and the scan cannot be read back: {error}")
            return
        if not entry.settled:  # it may have been decided while it was read
            self._dispatcher.decision_log.decided(entry, self._agent.unresolved(scan, f"the instrument was {why}"), 0.0)


def _checked_author(by: str, reason: str) -> tuple[str, str]:
    """Name and reason without surrounding blanks, checked so that they can be recorded and sent.

    Raises
    ------
    ControlError
        If the name is empty or reserved for the agent, or if a text is too long or not printable.
    """
    by, reason = by.strip(), reason.strip()
    if not by:
        raise ControlError("the name is empty; give the name of the operator")
    if by == POLICY:
        raise ControlError(f"the name '{POLICY}' is reserved for the agent itself; give the name of the operator")
    for name, text in (("by", by), ("reason", reason)):
        if len(text) > _LENGTH_MAX[name]:
            raise ControlError(f"'{name}' has {len(text)} characters, at most {_LENGTH_MAX[name]} are allowed; shorten it")
        if not all(c.isprintable() or c == "\n" for c in text) or (name == "by" and "\n" in text):
            raise ControlError(f"'{name}' contains unprintable characters; remove them")
    return by, reason

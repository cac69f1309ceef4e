"""How a person steers a running agent: the one implementation of `agent.safety.control.Control`."""

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
_LONGEST = {"by": 64, "reason": 2000}  # characters, as on the wire

Attend = Callable[[str], Awaitable[None]]
"""Sends an instrument what is open."""


class Steering:
    """Records what a person says, then has it done; called in the event loop's thread.

    Parameters
    ----------
    agent
        Words the decision not to measure.
    dispatch
        Keeps the history.
    decider
        Gives up a search that has become pointless.
    attend
        Sends an instrument what is open.
    overview
        Where things stand.
    """

    def __init__(
        self, agent: Agent, dispatch: Dispatcher, decider: Orchestrator, attend: Attend, overview: Callable[[], dict[str, Any]]
    ) -> None:
        self._agent, self._dispatch, self._decider, self._attend, self._overview = agent, dispatch, decider, attend, overview

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Have instruments finish what is under way and begin nothing new; no recommendation goes out."""
        await self._command("pause", by, reason, instrument_id)

    async def resume(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Let instruments go on; after an emergency stop they begin with a new scan."""
        by, reason = _said(by, reason)
        standing = self._dispatch.ledger.standing
        names = [instrument_id] if instrument_id is not None else sorted(self._dispatch.ledger.told)
        for name in names:
            # Before the state changes, so that nothing scanned before the stop can ever be measured on after it.
            if standing.state(name) == "stopped":
                self._give_up(name, standing.reason(name))
        await self._command("resume", by, reason, instrument_id)

    async def emergency_stop(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        """Have instruments end what is under way at once; the running search is cancelled, and nothing open is measured."""
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
        """Send the points of a decision that waits for approval; `instrument_id` where two instruments have one of that name.

        Raises
        ------
        ControlError
            With one sentence.
        """
        by, reason = _said(by, reason)
        name = self._dispatch.approvals.approve(decision_id, by, reason, drop, move or {}, instrument_id)
        _LOG.info("approved", decision=decision_id, instrument=name, by=by)
        await self._attend(name)

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        """Send none of a decision's points; the instrument goes on with a new scan.

        Raises
        ------
        ControlError
            With one sentence.
        """
        by, reason = _said(by, reason)
        name = self._dispatch.approvals.reject(decision_id, by, reason, instrument_id)
        _LOG.info("rejected", decision=decision_id, instrument=name, by=by)
        await self._attend(name)

    def pending(self) -> list[dict[str, Any]]:
        """The decisions that wait for a person, with their points, as plain JSON."""
        return self._dispatch.approvals.pending()

    def status(self) -> dict[str, Any]:
        """Where things stand, as plain JSON (see `agent.messaging.status`)."""
        return self._overview()

    async def _command(self, order: Order, by: str, reason: str, instrument_id: str | None) -> None:
        by, reason = _said(by, reason)
        names = self._dispatch.commands.give(order, by, reason, instrument_id)
        _LOG.warning("command given", command=order, by=by, reason=reason, instruments=list(names))
        for name in names:
            await self._attend(name)
        if order == "stop":
            for name in names:
                self._give_up(name, Command(0, order, by, reason).sentence)
        self._decider.interrupt()

    def _give_up(self, instrument_id: str, why: str) -> None:
        """End the search on an instrument's newest scan with the decision not to measure: it has to begin with a new scan."""
        entry = self._dispatch.ledger.open_scan(instrument_id)
        if entry is None:
            return
        try:
            scan = self._dispatch.scan_of(entry)
        except HistoryError as error:
            self._dispatch.cancelled(entry, f"the instrument was {why}; and it cannot be read back: {error}")
            return
        self._dispatch.decided(entry, self._agent.unresolved(scan, f"the instrument was {why}"), 0.0)


def _said(by: str, reason: str) -> tuple[str, str]:
    """Who and why, fit to be recorded and sent.

    Raises
    ------
    ControlError
        If nobody is named, the name is the policy's, or a text is too long or not printable.
    """
    by, reason = by.strip(), reason.strip()
    if not by:
        raise ControlError("nobody is named; say who you are")
    if by == POLICY:
        raise ControlError(f"'{POLICY}' is the agent's own name for what it decides itself; say who you are")
    for name, text in (("by", by), ("reason", reason)):
        if len(text) > _LONGEST[name]:
            raise ControlError(f"'{name}' has {len(text)} characters, at most {_LONGEST[name]} are recorded; shorten it")
        if not all(c.isprintable() or c == "\n" for c in text) or (name == "by" and "\n" in text):
            raise ControlError(f"'{name}' holds characters that cannot be printed; leave them out")
    return by, reason

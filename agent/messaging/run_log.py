"""Records what concerns the run and the agent itself."""

from collections.abc import Mapping
from typing import Any

from agent.ledger.recorder import Recorder
from agent.messaging.refusals import RefusalLog
from agent.schema import event_kinds as kinds


class RunLog:
    """Start, recovery and shutdown of the agent, refused clients, clock steps and failed jobs, as they are recorded.

    Parameters
    ----------
    recorder
        Writes the events.
    run_id
        Identifier of the run.
    refusals
        Records clients that were not admitted, the first ones in full.
    """

    def __init__(self, recorder: Recorder, run_id: str, refusals: RefusalLog) -> None:
        self._recorder, self._run_id, self._refusals = recorder, run_id, refusals

    def started(self, config: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Record that an agent has started on this run."""
        self._recorder.record(kinds.RUN_STARTED, self._run_id, {"config": config, "versions": versions})

    def recovered(self, facts: Mapping[str, Any]) -> None:
        """Record the state that the agent found in an existing run."""
        self._recorder.record(kinds.RUN_RECOVERED, self._run_id, facts)

    def stopped(self, reason: str) -> None:
        """Record a clean shutdown, after the refusals that have been counted until now."""
        self._refusals.flush(everything=True)
        self._recorder.record(kinds.RUN_STOPPED, self._run_id, {"reason": reason})

    def denied(self, address: str, key: str, reason: str) -> None:
        """Record that a client was not admitted: the first ones in full, then their number every ten minutes."""
        self._refusals.note(kinds.CLIENT_DENIED, address, {"key": key, "reason": reason})

    def noted(self, kind: str, subject: str, body: Mapping[str, Any]) -> None:
        """Record an event about the agent itself: a step of the clock, a job that failed."""
        self._recorder.record(kind, subject, body)

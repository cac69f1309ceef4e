"""Records decisions and cancelled searches, then has decisions approved; nothing is sent before it is recorded."""

import asyncio
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.readers import scan_in
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.ledger.recorder import Recorder
from agent.safety.approval import Approvals
from agent.safety.commands import Commands
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.schema.decision_basis import DecisionBasis
from instrument_adapters.scan import Scan

_LARGE_BYTES = 1 << 20


class DecisionLog:
    """The decisions of a run, as they are recorded.

    Parameters
    ----------
    recorder
        Writes the events.
    approvals
        Approves the points of a decision, or asks for approval, according to the settings.
    commands
        Pauses an instrument after an alarm.
    """

    def __init__(self, recorder: Recorder, approvals: Approvals, commands: Commands) -> None:
        self._recorder, self._approvals, self._commands = recorder, approvals, commands

    @property
    def history(self) -> History:
        """History of the run."""
        return self._recorder.history

    @property
    def ledger(self) -> Ledger:
        """State of the run."""
        return self._recorder.ledger

    def decided(self, entry: ScanEntry, decision: Decision, seconds: float, basis: DecisionBasis | None = None) -> None:
        """Record a decision with all its candidates and its basis, then have it approved as the approval mode says.

        A decision on a scan that is not the newest of its instrument is recorded as superseded and never sent.

        Parameters
        ----------
        entry
            The scan.
        decision
            With its arrays.
        seconds
            Duration of the search in seconds.
        basis
            What the decision rests on; None where it was not searched for.
        """
        where = {"instrument_id": entry.instrument_id}
        record = decision.record
        scored = {"scan_id": entry.scan_id, "candidates": [c.model_dump(mode="json") for c in record.candidates]}
        self._recorder.record(kinds.CANDIDATES_SCORED, record.decision_id, where | scored)
        body = where | {"scan_id": entry.scan_id, "seconds": seconds, "decision": record.model_dump(mode="json")}
        body |= _basis(basis)
        newest = self.ledger.latest(entry.instrument_id)
        if newest is not None and newest is not entry:
            body |= {"superseded_by": newest.scan_id}
        self._recorder.record(kinds.DECISION_MADE, record.decision_id, body, arrays=decision.arrays)
        self.apply_policy(entry.instrument_id)

    def deepened(self, entry: ScanEntry, decision: Decision, seconds: float, basis: DecisionBasis | None = None) -> None:
        """Record a deepened decision, the result of searching a decided scan again; it is never sent."""
        assert entry.decided is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id, "of": entry.decided.decision_id}
        body = where | {"seconds": seconds, "decision": decision.record.model_dump(mode="json")} | _basis(basis)
        self._recorder.record(kinds.DECISION_DEEPENED, decision.record.decision_id, body, arrays=decision.arrays)

    def cancelled(self, entry: ScanEntry, reason: str) -> None:
        """Record that a scan gets no decision, and why; nothing happens if the scan is settled already."""
        if not entry.settled:
            self._recorder.record(kinds.SEARCH_CANCELLED, entry.scan_id, {"instrument_id": entry.instrument_id, "reason": reason})

    def apply_policy(self, instrument_id: str) -> None:
        """Pause the instrument after an alarm, and approve the points of its newest decision or ask for approval. Idempotent."""
        self._commands.pause_on_alarm(instrument_id)
        self._approvals.advance(instrument_id)

    async def read_scan(self, entry: ScanEntry) -> Scan:
        """The scan of an entry, read back from the history; large arrays, up to half a gigabyte, are read by a thread.

        Raises
        ------
        HistoryError
            If it cannot be read.
        """
        event = self.history.event(entry.event.seq)  # the ledger keeps an abridged event of older scans
        if event is None:
            raise HistoryError(f"event {entry.event.seq} (scan {entry.scan_id}) is missing from {self.history.run_directory}")
        if sum(self.history.arrays.size(digest) for digest in event.arrays.values()) < _LARGE_BYTES:
            return scan_in(self.history, event)
        return await asyncio.to_thread(scan_in, self.history, event)


def _basis(basis: DecisionBasis | None) -> dict[str, Any]:
    return {"asked": basis.model_dump(mode="json")} if basis else {}

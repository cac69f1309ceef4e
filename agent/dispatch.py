"""What the agent does with each message: record first, then answer. No socket here; the service carries the replies.

Every handler ends in one of three answers: `Ack` (it is on disk), `Ack(duplicate)` (it was on disk before and is not acted on
again) or `Refused` with a sentence. Lines of a frame that is being recorded are shown only: not recorded, not answered.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from agent import ledger as kinds
from agent.archive import scan_in
from agent.decision import Decision
from agent.history import Event, History
from agent.ledger import Ledger, ScanEntry
from agent.partial import PartialFrames
from instrument_adapters import messages as wire
from instrument_adapters.codec import Packet, scan_of
from instrument_adapters.errors import ProtocolError, ScanDataError
from instrument_adapters.scan import Scan


class Dispatcher:
    """Takes messages, keeps the history and says what to answer.

    Parameters
    ----------
    history
        Of this run.
    run_id
        Told to every instrument that says hello.
    now
        The wall clock.
    """

    def __init__(self, history: History, run_id: str, now: Callable[[], datetime]) -> None:
        self.history = history
        self.ledger = Ledger.of(history.events())
        self.limits: dict[str, wire.Limits] = {}
        self.partial = PartialFrames()
        self.finishes: Callable[[ScanEntry], bool] = lambda _entry: False  # whether its search goes on beside a newer scan
        self._run_id = run_id
        self._now = now

    def on_packet(self, instrument_id: str, packet: Packet) -> wire.Message | None:
        """The answer to a message of an instrument, or None where none is due.

        Raises
        ------
        ProtocolError
            If the message cannot be accepted; `refuse` makes the answer.
        HistoryError
            If it could not be recorded; then it must not be acknowledged.
        """
        message = packet.message
        if isinstance(message, wire.Hello):
            return self._hello(instrument_id, message)
        if instrument_id not in self.limits:
            raise ProtocolError("hello_first", f"instrument '{instrument_id}' has not said hello; send 'hello' first")
        if isinstance(message, wire.ScanMessage):
            return self._scan(instrument_id, packet, message)
        if isinstance(message, wire.ResultMessage):
            return self._result(instrument_id, packet, message)
        if isinstance(message, wire.Bye):
            return self._bye(instrument_id, message)
        self._unanswered(instrument_id, packet)
        return None

    def refuse(self, instrument_id: str, of: str | None, error: ProtocolError) -> wire.Refused:
        """The answer to a message that cannot be accepted, recorded."""
        reason = error.reason.encode("utf-8", "replace").decode()[:2000]  # it may quote what is no text
        body = {"instrument_id": instrument_id, "of": of, "code": error.code, "reason": reason}
        self._record(kinds.MESSAGE_REFUSED, instrument_id, body)
        return wire.Refused(**self._head(), of=of, code=error.code, reason=reason)

    def scan_of(self, entry: ScanEntry) -> Scan:
        """The scan of an entry, read back from the history."""
        return scan_in(self.history, entry.event)

    def decided(self, entry: ScanEntry, decision: Decision, seconds: float) -> None:
        """Record all candidates and the decision drawn from them; nothing is sent before, nor ever if a newer scan is in."""
        where = {"instrument_id": entry.instrument_id}
        record = decision.record
        scored = {"scan_id": entry.scan_id, "candidates": [c.model_dump(mode="json") for c in record.candidates]}
        self._record(kinds.CANDIDATES_SCORED, record.decision_id, where | scored)
        body = where | {"scan_id": entry.scan_id, "seconds": seconds, "decision": record.model_dump(mode="json")}
        newest = self.ledger.latest(entry.instrument_id)
        if newest is not None and newest is not entry:
            body |= {"superseded_by": newest.scan_id}
        self._record(kinds.DECISION_MADE, record.decision_id, body, arrays=decision.arrays)

    def deepened(self, entry: ScanEntry, decision: Decision, seconds: float) -> None:
        """Record what a deeper search on a scan that has been decided on has found; nothing of it is sent."""
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id, "of": entry.decision.decision_id}
        body = where | {"seconds": seconds, "decision": decision.record.model_dump(mode="json")}
        self._record(kinds.DECISION_DEEPENED, decision.record.decision_id, body, arrays=decision.arrays)

    def noted(self, kind: str, subject: str, body: Mapping[str, Any]) -> None:
        """Record what concerns the agent itself: a step of the clock, a job that failed."""
        self._record(kind, subject, body)

    def cancelled(self, entry: ScanEntry, reason: str) -> None:
        """Record that a scan gets no decision, and why; a scan that has an end already keeps it."""
        if entry.closed or entry.decision is not None:
            return
        self._record(kinds.SEARCH_CANCELLED, entry.scan_id, {"instrument_id": entry.instrument_id, "reason": reason})

    def recommendation(self, entry: ScanEntry) -> wire.RecommendationMessage:
        """The message that carries a scan's decision. A repeated one has the same id."""
        decision = entry.decision
        assert decision is not None  # the ledger hands out decided scans only
        return wire.RecommendationMessage(
            id=f"rec-{decision.decision_id}",
            sent_at=self._now(),
            seq=entry.number,
            decision_id=decision.decision_id,
            scan_id=entry.scan_id,
            requests=tuple(decision.requests),
            reason=decision.explanation[:2000],
        )

    def sent(self, entry: ScanEntry) -> None:
        """Record that the recommendation on a scan has gone out to its instrument."""
        assert entry.decision is not None
        body = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id}
        self._record(kinds.RECOMMENDATION_SENT, entry.decision.decision_id, body)

    def started(self, config: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Record that an agent has taken up this run."""
        self._record(kinds.RUN_STARTED, self._run_id, {"config": config, "versions": versions})

    def stopped(self, reason: str) -> None:
        """Record that the agent stops in order."""
        self._record(kinds.RUN_STOPPED, self._run_id, {"reason": reason})

    def denied(self, address: str, key: str, reason: str) -> None:
        """Record that somebody was not let in."""
        self._record(kinds.CLIENT_DENIED, address, {"key": key, "reason": reason})

    def heartbeat(self) -> wire.Heartbeat:
        """A sign of life."""
        return wire.Heartbeat(**self._head())

    def bye(self) -> wire.Bye:
        """A farewell."""
        return wire.Bye(**self._head(), reason="the agent stops")

    def _hello(self, instrument_id: str, message: wire.Hello) -> wire.Welcome:
        if message.instrument_id != instrument_id:
            raise ProtocolError(
                "wrong_identity",
                f"hello from '{message.instrument_id}' came over the connection of '{instrument_id}'; the two must be equal",
            )
        body = message.model_dump(mode="json", include={"instrument_id", "model", "software", "limits"})
        self._record(kinds.INSTRUMENT_CONNECTED, instrument_id, body)
        self.limits[instrument_id] = message.limits
        scans = sum(1 for owner, _ in self.ledger.scans if owner == instrument_id)
        snapshot = wire.Snapshot(seq=self.ledger.numbers.get(instrument_id, 0))
        return wire.Welcome(**self._head(), of=message.id, run_id=self._run_id, scans_recorded=scans, snapshot=snapshot)

    def _unanswered(self, instrument_id: str, packet: Packet) -> None:
        """Take in what needs no answer."""
        message = packet.message
        if isinstance(message, wire.Ack):
            self._acknowledged(instrument_id, message)
        elif isinstance(message, wire.Refused):
            self._refused_by(instrument_id, message)
        elif isinstance(message, wire.LinesMessage):
            if (instrument_id, message.scan_id) not in self.ledger.scans:  # lines that come after their scan are late
                self.partial.add(instrument_id, packet, message, self._now())
        elif not isinstance(message, wire.Heartbeat | wire.StatusMessage):
            raise ProtocolError("not_for_agent", f"the agent takes no '{message.type}' message; only instruments do")

    def _scan(self, instrument_id: str, packet: Packet, message: wire.ScanMessage) -> wire.Ack:
        digest = _content_digest(packet, message)
        known = self.ledger.scans.get((instrument_id, message.scan_id))
        if known is not None:
            if known.digest == digest:
                first = datetime.fromisoformat(known.event.body["header"]["sent_at"])
                return self._ack(message, duplicate=True).model_copy(update={"first_sent_at": first})
            raise ProtocolError(
                "duplicate_scan_id",
                f"scan '{message.scan_id}' has been received before with other content; give each scan an id of its own",
            )
        try:
            scan_of(packet)
        except ScanDataError as error:
            raise ProtocolError("bad_scan", str(error)) from error
        body = {
            "instrument_id": instrument_id,
            "sample_id": message.sample_id,
            "digest": digest,
            "header": message.model_dump(mode="json"),
        }
        self.partial.drop(instrument_id)
        older = self.ledger.undecided(instrument_id)
        once = f"scan:{instrument_id}:{message.scan_id}"
        self._record(kinds.SCAN_RECEIVED, message.scan_id, body, arrays=packet.arrays, once=once)
        if older is not None and not self.finishes(older):
            self.cancelled(older, f"a newer scan came in: {message.scan_id}")
        return self._ack(message)

    def _result(self, instrument_id: str, packet: Packet, message: wire.ResultMessage) -> wire.Ack:
        entry = self.ledger.requests.get((instrument_id, message.request_id))
        if entry is None:
            raise ProtocolError(
                "unknown_request",
                f"no request '{message.request_id}' was sent to '{instrument_id}'; results answer requests only",
            )
        if entry.status is not None:
            return self._ack(message, duplicate=True)
        body = message.model_dump(mode="json", exclude={"version", "type", "arrays"})
        body |= {"instrument_id": instrument_id, "scan_id": entry.scan_id, "cluster": entry.request.cluster}
        once = f"result:{instrument_id}:{message.request_id}"
        self._record(kinds.RESULT_RECEIVED, message.request_id, body, arrays=packet.arrays, once=once)
        return self._ack(message)

    def _acknowledged(self, instrument_id: str, message: wire.Ack) -> None:
        entry = self.ledger.unacknowledged(instrument_id)
        if entry is None or entry.decision is None or message.of != f"rec-{entry.decision.decision_id}":
            return  # a late or repeated acknowledgement
        body = {"instrument_id": instrument_id, "scan_id": entry.scan_id}
        self._record(kinds.RECOMMENDATION_ACKNOWLEDGED, entry.decision.decision_id, body)

    def _refused_by(self, instrument_id: str, message: wire.Refused) -> None:
        body = {"instrument_id": instrument_id, "of": message.of, "code": message.code, "reason": message.reason}
        self._record(kinds.MESSAGE_REFUSED, instrument_id, body | {"by": "instrument"})
        entry = self.ledger.unacknowledged(instrument_id)
        if entry and entry.decision and message.of == f"rec-{entry.decision.decision_id}":
            # Repeating what was refused is useless: the recommendation counts as delivered.
            where = {"instrument_id": instrument_id, "scan_id": entry.scan_id}
            self._record(kinds.RECOMMENDATION_ACKNOWLEDGED, entry.decision.decision_id, where | {"refused": message.reason})

    def _bye(self, instrument_id: str, message: wire.Bye) -> wire.Ack:
        self._record(kinds.INSTRUMENT_LEFT, instrument_id, {"instrument_id": instrument_id, "reason": message.reason})
        self.limits.pop(instrument_id, None)
        self.partial.drop(instrument_id)
        return self._ack(message)

    def _ack(self, message: wire.Message, *, duplicate: bool = False) -> wire.Ack:
        return wire.Ack(**self._head(), of=message.id, duplicate=duplicate)

    def _head(self) -> dict[str, Any]:
        return {"id": uuid.uuid4().hex, "sent_at": self._now()}

    def _record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        arrays: Mapping[str, np.ndarray] | None = None,
        once: str | None = None,
    ) -> Event | None:
        event = self.history.record(kind, subject, body, at=self._now(), arrays=arrays, once=once)
        if event is not None:
            self.ledger.apply(event)
        return event


def _content_digest(packet: Packet, message: wire.ScanMessage) -> str:
    """A digest of what a scan says, apart from when and under which message id it was sent."""
    digest = hashlib.sha256(message.model_dump_json(exclude={"id", "sent_at"}).encode())
    for array in packet.arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

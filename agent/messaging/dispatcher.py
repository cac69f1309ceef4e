"""What the agent does with each message: record first, then answer. No socket here; the service carries the replies.

Every handler ends in one of three answers: `Ack` (it is on disk), `Ack(duplicate)` (it was on disk before and is not acted on
again) or `Refused` with a sentence. What shows an instrument at work (lines, status) is neither recorded nor answered.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from agent.config.safety import DEFAULT_APPROVAL, DEFAULT_SAFETY, ApprovalSettings, SafetySettings
from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.readers import scan_in
from agent.ledger.entries import ScanEntry
from agent.ledger.recorder import Recorder
from agent.messaging.delivery import Recommendations
from agent.messaging.partial_frames import PartialFrames
from agent.messaging.presence import Presence
from agent.safety.approval import Approvals
from agent.safety.commands import Commands
from agent.safety.instrument_clocks import Clocks
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.schema.decision_basis import DecisionBasis
from instrument_adapters.errors import ProtocolError, ScanDataError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, scan_of
from instrument_adapters.scan import Scan

_SILENCE_S = 60.0
_ROUNDING = 1e-3  # a bias read back at exactly the limit is not beyond it


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
    safety, approval
        Narrower limits than the instruments' own, and who lets points pass.
    silence_s
        Seconds after which an instrument that is not heard counts as lost.
    monotonic
        Seconds from any origin; never jumps backwards.
    """

    def __init__(
        self,
        history: History,
        run_id: str,
        now: Callable[[], datetime],
        safety: SafetySettings = DEFAULT_SAFETY,
        approval: ApprovalSettings = DEFAULT_APPROVAL,
        silence_s: float = _SILENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recorder = Recorder(history, now)
        self.history, self.ledger = history, self.recorder.ledger
        self.limits: dict[str, wire.Limits] = {}  # of who is connected, narrowed by the settings
        self.doing: dict[str, wire.StatusMessage] = {}
        self.partial = PartialFrames()
        self.finishes: Callable[[ScanEntry], bool] = lambda _entry: False  # whether its search goes on beside a newer scan
        self.clocks, self.presence = Clocks(monotonic), Presence(silence_s, monotonic)
        self.safeguard = Interlock(self.ledger, safety, self.clocks, now)
        self.approvals = Approvals(self.recorder, self.safeguard, approval)
        self.commands = Commands(self.recorder, run_id, safety.pause_after_unfit)
        self.recommendations = Recommendations(self.recorder, self.safeguard, self.approvals)
        self._run_id = run_id
        self._now = now
        self._record = self.recorder.record

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
        self._heard(instrument_id, message)
        if isinstance(message, wire.ScanMessage):
            return self._scan(instrument_id, packet, message)
        if isinstance(message, wire.ResultMessage):
            return self._result(instrument_id, packet, message)
        if isinstance(message, wire.TroubleMessage):
            return self._trouble(instrument_id, message)
        if isinstance(message, wire.Resend):
            return wire.SnapshotMessage(**self._head(), of=message.id, snapshot=self.snapshot(instrument_id))
        if isinstance(message, wire.Bye):
            return self._bye(instrument_id, message)
        self._unanswered(instrument_id, packet)
        return None

    def refuse(self, instrument_id: str, of: str | None, error: ProtocolError) -> wire.Refused:
        """The answer to a message that cannot be accepted, recorded."""
        reason = wire.as_sentence(error.reason)
        body = {"instrument_id": instrument_id, "of": of, "code": error.code, "reason": reason}
        self._record(kinds.MESSAGE_REFUSED, instrument_id, body)
        return wire.Refused(**self._head(), of=of, code=error.code, reason=reason)

    def scan_of(self, entry: ScanEntry) -> Scan:
        """The scan of an entry, read back from the history.

        Raises
        ------
        HistoryError
            If it cannot be.
        """
        event = self.history.event(entry.event.seq)  # the ledger lets go of what an older one said of itself
        if event is None:
            raise HistoryError(f"event {entry.event.seq} (scan {entry.scan_id}) is missing from {self.history.run_directory}")
        return scan_in(self.history, event)

    def decided(self, entry: ScanEntry, decision: Decision, seconds: float, question: DecisionBasis | None = None) -> None:
        """Record all candidates, the decision drawn from them, what it rests on and who lets its points pass; nothing is sent
        before, nor ever if a newer scan is in.
        """
        where = {"instrument_id": entry.instrument_id}
        record = decision.record
        scored = {"scan_id": entry.scan_id, "candidates": [c.model_dump(mode="json") for c in record.candidates]}
        self._record(kinds.CANDIDATES_SCORED, record.decision_id, where | scored)
        body = where | {"scan_id": entry.scan_id, "seconds": seconds, "decision": record.model_dump(mode="json")}
        body |= _resting_on(question)
        newest = self.ledger.latest(entry.instrument_id)
        if newest is not None and newest is not entry:
            body |= {"superseded_by": newest.scan_id}
        self._record(kinds.DECISION_MADE, record.decision_id, body, arrays=decision.arrays)
        self.settle(entry.instrument_id)

    def settle(self, instrument_id: str) -> None:
        """Do what policy has to: pause an instrument that gives alarm, and let the points of its newest decision pass or not."""
        self.commands.heed_alarms(instrument_id)
        self.approvals.settle(instrument_id)

    def deepened(self, entry: ScanEntry, decision: Decision, seconds: float, question: DecisionBasis | None = None) -> None:
        """Record what a deeper search on a scan that has been decided on has found; nothing of it is sent."""
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id, "of": entry.decision.decision_id}
        body = where | {"seconds": seconds, "decision": decision.record.model_dump(mode="json")} | _resting_on(question)
        self._record(kinds.DECISION_DEEPENED, decision.record.decision_id, body, arrays=decision.arrays)

    def noted(self, kind: str, subject: str, body: Mapping[str, Any]) -> None:
        """Record what concerns the agent itself: a step of the clock, a job that failed."""
        self._record(kind, subject, body)

    def cancelled(self, entry: ScanEntry, reason: str) -> None:
        """Record that a scan gets no decision, and why; a scan that has an end already keeps it."""
        if not entry.settled:
            self._record(kinds.SEARCH_CANCELLED, entry.scan_id, {"instrument_id": entry.instrument_id, "reason": reason})

    def recommendation(self, entry: ScanEntry) -> wire.RecommendationMessage:
        """The message that carries a scan's decision, checked once more. A repeated one has the same id."""
        return self.recommendations.message(entry)

    def due(self, instrument_id: str) -> ScanEntry | None:
        """The scan of which an instrument may be sent the recommendation now."""
        return self.recommendations.due(instrument_id) if instrument_id in self.limits else None

    def sent(self, entry: ScanEntry) -> None:
        """Record that the recommendation on a scan has gone out to its instrument."""
        self.recommendations.sent(entry)

    def snapshot(self, instrument_id: str) -> wire.Snapshot:
        """Where things stand between the agent and an instrument."""
        standing, newest = self.ledger.standing, self.ledger.latest(instrument_id)
        undelivered = self.ledger.unacknowledged(instrument_id)
        return wire.Snapshot(
            seq=standing.numbers.get(instrument_id, 0),
            state=standing.state(instrument_id),
            state_reason=standing.reason(instrument_id)[:2000],
            stop_seq=standing.stops.get(instrument_id, 0),
            newest_scan_id=newest.scan_id if newest else None,
            open_decision_id=undelivered.decision.decision_id if undelivered and undelivered.decision else None,
        )

    def note_silence(self) -> list[str]:
        """The instruments that have gone silent, each recorded once."""
        silent = [name for name in sorted(self.ledger.present - self.ledger.lost) if self.presence.silent(name)]
        for name in silent:
            body = {"instrument_id": name, "silent_s": round(self.presence.silent_s(name), 1)}
            self._record(kinds.INSTRUMENT_LOST, name, body)
        return silent

    def started(self, config: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Record that an agent has taken up this run."""
        self._record(kinds.RUN_STARTED, self._run_id, {"config": config, "versions": versions})

    def recovered(self, facts: Mapping[str, Any]) -> None:
        """Record what an agent found in the run that it has taken up."""
        self._record(kinds.RUN_RECOVERED, self._run_id, facts)

    def stopped(self, reason: str) -> None:
        """Record that the agent stops in order."""
        self._record(kinds.RUN_STOPPED, self._run_id, {"reason": reason})

    def denied(self, address: str, key: str, reason: str) -> None:
        """Record that somebody was not let in."""
        self._record(kinds.CLIENT_DENIED, address, {"key": key, "reason": reason})

    def heartbeat(self, instrument_id: str) -> wire.Heartbeat:
        """A sign of life, with the number of the last that the instrument was told."""
        return wire.Heartbeat(**self._head(), seq=self.ledger.standing.numbers.get(instrument_id, 0))

    def resend(self, instrument_id: str) -> wire.Resend | None:
        """What asks an instrument for its messages again, when it waits for answers to what has not come."""
        return wire.Resend(**self._head()) if self.presence.misses_answers(instrument_id) else None

    def bye(self) -> wire.Bye:
        """A farewell."""
        return wire.Bye(**self._head(), reason="the agent stops")

    def _hello(self, instrument_id: str, message: wire.Hello) -> wire.Welcome:
        if message.instrument_id != instrument_id:
            raise ProtocolError(
                "wrong_identity",
                f"hello from '{message.instrument_id}' came over the connection of '{instrument_id}'; the two must be equal",
            )
        self._heard(instrument_id, message)
        body = message.model_dump(mode="json", include={"instrument_id", "model", "software", "limits", "bias_V"})
        self._record(kinds.INSTRUMENT_CONNECTED, instrument_id, body)
        self.limits[instrument_id] = self.safeguard.limits(instrument_id)
        self.commands.introduce(instrument_id)
        scans = sum(1 for owner, _ in self.ledger.scans if owner == instrument_id)
        where = self.snapshot(instrument_id)
        return wire.Welcome(**self._head(), of=message.id, run_id=self._run_id, scans_recorded=scans, snapshot=where)

    def _heard(self, instrument_id: str, message: wire.Message) -> None:
        self.clocks.heard(instrument_id, message)
        self.presence.heard(instrument_id, message)
        if instrument_id in self.ledger.lost:
            self._record(kinds.INSTRUMENT_BACK, instrument_id, {"instrument_id": instrument_id})

    def _unanswered(self, instrument_id: str, packet: Packet) -> None:
        """Take in what needs no answer."""
        message = packet.message
        if isinstance(message, wire.Ack):
            if not self.commands.answered(instrument_id, message.of):
                self.recommendations.answered(instrument_id, message.of)
        elif isinstance(message, wire.Refused):
            self._refused_by(instrument_id, message)
        elif isinstance(message, wire.StatusMessage):
            self.doing[instrument_id] = message
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
                return self._again(instrument_id, message).model_copy(update={"first_sent_at": first})
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
        older = self.ledger.open_scan(instrument_id)
        once = f"scan:{instrument_id}:{message.scan_id}"
        self._record(kinds.SCAN_RECEIVED, message.scan_id, body, arrays=packet.arrays, once=once)
        if older is not None and not self.finishes(older):
            self.cancelled(older, f"a newer scan came in: {message.scan_id}")
        return self._ack(message)

    def _result(self, instrument_id: str, packet: Packet, message: wire.ResultMessage) -> wire.Ack:
        entry = self.ledger.requests.get((instrument_id, message.request_id))
        if entry is None or not entry.approved:
            raise ProtocolError(
                "unknown_request",
                f"no request '{message.request_id}' was sent to '{instrument_id}'; results answer requests only",
            )
        if entry.status is not None:
            return self._again(instrument_id, message)
        body = message.model_dump(mode="json", exclude={"version", "type", "arrays"})
        body |= {"instrument_id": instrument_id, "scan_id": entry.scan_id, "cluster": entry.request.cluster}
        self.recommendations.answered(instrument_id, f"rec-{entry.decision_id}")  # it has come, whatever became of its answer
        self._check_bias(instrument_id, packet, message)
        once = f"result:{instrument_id}:{message.request_id}"
        self._record(kinds.RESULT_RECEIVED, message.request_id, body, arrays=packet.arrays, once=once)
        self.commands.heed_alarms(instrument_id)
        return self._ack(message)

    def _trouble(self, instrument_id: str, message: wire.TroubleMessage) -> wire.Ack:
        body = {"instrument_id": instrument_id, "event": message.event, "sentence": message.sentence}
        body["told_at"] = message.sent_at.isoformat()
        event = self._record(kinds.INSTRUMENT_TROUBLED, message.id, body, once=f"trouble:{instrument_id}:{message.id}")
        return self._ack(message) if event is not None else self._again(instrument_id, message)

    def _again(self, instrument_id: str, message: wire.ScanMessage | wire.ResultMessage | wire.TroubleMessage) -> wire.Ack:
        """Acknowledge what is on disk already; that it came again is recorded once, since an answer may have been lost."""
        body = {"instrument_id": instrument_id, "type": message.type}
        self._record(kinds.MESSAGE_REPEATED, message.id, body, once=f"repeated:{instrument_id}:{message.id}")
        return self._ack(message, duplicate=True)

    def _check_bias(self, instrument_id: str, packet: Packet, message: wire.ResultMessage) -> None:
        """Record that a measurement applied more than is allowed, before its result: the next one must not be begun."""
        bias_V = packet.arrays.get("bias_V", np.empty(0))
        applied_V = float(np.max(np.abs(bias_V), initial=0.0, where=np.isfinite(bias_V)))
        most_V = self.limits[instrument_id].bias_max_V
        if applied_V > most_V * (1 + _ROUNDING):
            reason = f"the measurement of {message.request_id} applied {applied_V:g} V, at most {most_V:g} V are allowed"
            body = {"instrument_id": instrument_id, "bias_V": applied_V, "limit_V": most_V, "reason": reason}
            once = f"limit:{instrument_id}:{message.request_id}"
            self._record(kinds.LIMIT_EXCEEDED, message.request_id, body, once=once)

    def _refused_by(self, instrument_id: str, message: wire.Refused) -> None:
        body = {"instrument_id": instrument_id, "of": message.of, "code": message.code, "reason": message.reason}
        self._record(kinds.MESSAGE_REFUSED, instrument_id, body | {"by": "instrument"})
        # Repeating what was refused is useless: it counts as delivered.
        if not self.commands.answered(instrument_id, message.of, message.reason):
            self.recommendations.answered(instrument_id, message.of, message.reason)

    def _bye(self, instrument_id: str, message: wire.Bye) -> wire.Ack:
        self._record(kinds.INSTRUMENT_LEFT, instrument_id, {"instrument_id": instrument_id, "reason": message.reason})
        self.limits.pop(instrument_id, None)
        self.partial.drop(instrument_id)
        return self._ack(message)

    def _ack(self, message: wire.Message, *, duplicate: bool = False) -> wire.Ack:
        return wire.Ack(**self._head(), of=message.id, duplicate=duplicate)

    def _head(self) -> dict[str, Any]:
        return {"id": uuid.uuid4().hex, "sent_at": self._now()}


def _content_digest(packet: Packet, message: wire.ScanMessage) -> str:
    """A digest of what a scan says, apart from when and under which message id it was sent."""
    digest = hashlib.sha256(message.model_dump_json(exclude={"id", "sent_at"}).encode())
    for array in packet.arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _resting_on(question: DecisionBasis | None) -> dict[str, Any]:
    return {"asked": question.model_dump(mode="json")} if question else {}

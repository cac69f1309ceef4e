"""Handles each message of an instrument: records it, then answers. No sockets here; the service sends the answers.

Every handler returns one of three answers: `Ack` (recorded), `Ack(duplicate)` (recorded before, and not acted on again) or
`Refused` with the reason. Best-effort messages (lines, status) are neither recorded nor answered.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from agent.config.safety import DEFAULT_APPROVAL, DEFAULT_SAFETY, ApprovalSettings, SafetySettings
from agent.errors import HistoryError
from agent.history.event_log import History
from agent.ledger.entries import RequestEntry, ScanEntry
from agent.ledger.recorder import Recorder
from agent.messaging.decision_log import DecisionLog
from agent.messaging.delivery import Delivery
from agent.messaging.partial_frames import PartialFrames
from agent.messaging.presence import Presence
from agent.messaging.refusals import RefusalLog
from agent.messaging.result_check import check_result
from agent.messaging.run_log import RunLog
from agent.safety.approval import Approvals
from agent.safety.commands import Commands
from agent.safety.elapsed_time import ElapsedTime
from agent.safety.instrument_clocks import InstrumentClocks
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from instrument_adapters.errors import ProtocolError, ScanDataError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, scan_from_packet
from instrument_adapters.protocol.holds import HELD

_SILENCE_S = 60.0
_ROUNDING = 1e-3  # a bias read back at exactly the limit is not beyond it


@dataclass(frozen=True)
class Prepared:
    """What was found out about a message before it is handled, because it takes long: it may be done in another thread.

    Parameters
    ----------
    digest
        SHA-256 of the content of a scan; empty for other messages.
    bias_V
        Largest magnitude of the bias of a result in volts; None if it is infinite or holds no number.
    stored
        Digests of those arrays that are in the array store already, by name.
    """

    digest: str = ""
    bias_V: float | None = 0.0
    stored: Mapping[str, str] = field(default_factory=dict)


class Dispatcher:
    """Records the messages of instruments and returns the answers.

    Parameters
    ----------
    history
        History of the run.
    run_id
        Identifier of the run, sent to every instrument in the answer to its hello.
    now
        Wall clock.
    safety, approval
        Limits that narrow those of the instruments, and the approval mode.
    silence_s
        Seconds without any message after which an instrument counts as silent.
    monotonic
        Monotonic clock in seconds.
    finishes
        Whether the search on a scan continues although a newer scan of its instrument has arrived.
    on_fault
        Called with the error when an event could not be recorded.
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
        *,
        finishes: Callable[[ScanEntry], bool] = lambda _entry: False,
        on_fault: Callable[[HistoryError], None] = lambda _error: None,
    ) -> None:
        self.recorder = Recorder(history, now, on_fault)
        self.history, self.ledger = history, self.recorder.ledger
        self.activity: dict[str, wire.StatusMessage] = {}  # last status of each instrument
        self.partial_frames = PartialFrames()
        self.refusals = RefusalLog(self.recorder, monotonic)
        self.clocks = InstrumentClocks(monotonic)
        elapsed = ElapsedTime(self.recorder, monotonic)
        self.interlock = Interlock(self.ledger, safety, self.clocks, elapsed)
        self.presence = Presence(self.recorder, self.interlock.limits, silence_s, monotonic)
        self.approvals = Approvals(self.recorder, self.interlock, approval, elapsed)
        self.commands = Commands(self.recorder, run_id, safety.pause_after_unfit)
        self.delivery = Delivery(self.recorder, self.interlock, self.approvals)
        self.decision_log = DecisionLog(self.recorder, self.approvals, self.commands)
        self.run_log = RunLog(self.recorder, run_id, self.refusals)
        self._finishes, self._safety = finishes, safety
        self._run_id = run_id
        self._now = now
        self._record = self.recorder.record

    def prepare(self, packet: Packet) -> Prepared:
        """Read through the arrays of a message. It changes nothing, and may be called in another thread."""
        message = packet.message
        if isinstance(message, wire.ScanMessage):
            return Prepared(digest=_content_digest(packet, message))
        return Prepared(bias_V=_largest_bias_V(packet)) if isinstance(message, wire.ResultMessage) else Prepared()

    def will_record_arrays(self, instrument_id: str, packet: Packet) -> bool:
        """Whether a message is likely to be recorded with its arrays, so that it is worth while to store them beforehand."""
        message = packet.message
        if not self.presence.is_connected(instrument_id):
            return False
        if isinstance(message, wire.ScanMessage):
            return (instrument_id, message.scan_id) not in self.ledger.scans
        if isinstance(message, wire.ResultMessage):
            entry = self.ledger.requests.get((instrument_id, message.request_id))
            return entry is not None and entry.approved and entry.status is None
        return False

    def store(self, packet: Packet, prepared: Prepared) -> Prepared:
        """Store the arrays of a message, of which nothing is recorded yet. It may be called in another thread.

        Raises
        ------
        HistoryError
            If they cannot be stored.
        """
        return replace(prepared, stored=self.history.store_arrays(packet.arrays))

    def on_packet(
        self, instrument_id: str, packet: Packet, prepared: Prepared | None = None, *, remains_connected: bool = False
    ) -> wire.Message | None:
        """The answer to a message of an instrument; None if it needs none.

        Parameters
        ----------
        instrument_id
            Name of the sender.
        packet
            The message.
        prepared
            Result of `prepare`, and of `store` if it was called; None: both are done now.
        remains_connected
            Of a goodbye: whether another connection of the same instrument lives.

        Raises
        ------
        ProtocolError
            If the message cannot be accepted; `refuse` makes the answer.
        HistoryError
            If the message could not be recorded; it must not be acknowledged then.
        """
        message = packet.message
        if isinstance(message, wire.Hello):
            return self._hello(instrument_id, message)
        if not self.presence.is_connected(instrument_id):
            raise ProtocolError("hello_first", f"instrument '{instrument_id}' has not said hello; send 'hello' first")
        self._heard(instrument_id, message)
        if isinstance(message, wire.ScanMessage):
            return self._scan(instrument_id, packet, message, prepared or self.prepare(packet))
        if isinstance(message, wire.ResultMessage):
            return self._result(instrument_id, packet, message, prepared or self.prepare(packet))
        if isinstance(message, wire.TroubleMessage):
            return self._trouble(instrument_id, message)
        if isinstance(message, wire.Resend):
            return wire.SnapshotMessage(**self._head(), of=message.id, snapshot=self.snapshot(instrument_id))
        if isinstance(message, wire.Bye):
            return self._ack(message) if remains_connected else self._bye(instrument_id, message)
        self._without_answer(instrument_id, packet)
        return None

    def refuse(self, instrument_id: str, of: str | None, error: ProtocolError) -> wire.Refused:
        """The answer to a message that is refused; the first ones are recorded in full, further ones are counted."""
        reason = wire.as_sentence(error.reason)
        body = {"instrument_id": instrument_id, "of": of, "code": error.code, "reason": reason}
        self.refusals.note(kinds.MESSAGE_REFUSED, instrument_id, body, sender=self._name_in_run(instrument_id), code=error.code)
        return wire.Refused(**self._head(), of=of, code=error.code, reason=reason)

    def recommendation(self, entry: ScanEntry) -> wire.RecommendationMessage:
        """The recommendation on a scan, after a last safety check. A repeated recommendation has the same message id."""
        return self.delivery.message(entry)

    def due(self, instrument_id: str) -> ScanEntry | None:
        """The scan whose recommendation may be sent to an instrument now; None if there is none."""
        return self.delivery.due(instrument_id) if self.presence.is_connected(instrument_id) else None

    def sent(self, entry: ScanEntry) -> None:
        """Record that the recommendation on a scan was sent."""
        self.delivery.sent(entry)

    def snapshot(self, instrument_id: str) -> wire.Snapshot:
        """Sequence number, state, newest scan and open decision of an instrument."""
        command_state, newest = self.ledger.command_state, self.ledger.latest(instrument_id)
        undelivered = self.ledger.unacknowledged(instrument_id)
        return wire.Snapshot(
            seq=command_state.last_seqs.get(instrument_id, 0),
            state=command_state.state(instrument_id),
            state_reason=command_state.reason(instrument_id)[:2000],
            stop_seq=command_state.stop_seqs.get(instrument_id, 0),
            newest_scan_id=newest.scan_id if newest else None,
            open_decision_id=undelivered.decision.decision_id if undelivered and undelivered.decision else None,
        )

    def heartbeat(self, instrument_id: str) -> wire.Heartbeat:
        """A heartbeat with the last sequence number of an instrument."""
        return wire.Heartbeat(**self._head(), seq=self.ledger.command_state.last_seqs.get(instrument_id, 0))

    def resend(self, instrument_id: str) -> wire.Resend | None:
        """A request to resend if an instrument waits for answers to messages that never arrived; otherwise None."""
        return wire.Resend(**self._head()) if self.presence.misses_answers(instrument_id) else None

    def bye(self) -> wire.Bye:
        """The message that announces a clean shutdown of the agent."""
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
        self.presence.connect(instrument_id)
        self.commands.apply_to_newcomer(instrument_id)
        scans, snapshot = self.ledger.scans_recorded(instrument_id), self.snapshot(instrument_id)
        return wire.Welcome(**self._head(), of=message.id, run_id=self._run_id, scans_recorded=scans, snapshot=snapshot)

    def _name_in_run(self, instrument_id: str) -> str:
        """The name, if it has said hello in this run; else empty, since anybody can invent names."""
        return instrument_id if instrument_id in self.ledger.instruments else ""

    def _heard(self, instrument_id: str, message: wire.Message) -> None:
        self.clocks.heard(instrument_id, message)
        self.presence.heard(instrument_id, message)

    def _without_answer(self, instrument_id: str, packet: Packet) -> None:
        """Handle a message that needs no answer."""
        message = packet.message
        if isinstance(message, wire.Ack):
            if not self.commands.on_ack(instrument_id, message.of):
                self.delivery.on_ack(instrument_id, message.of)
        elif isinstance(message, wire.Refused):
            self._on_refused(instrument_id, message)
        elif isinstance(message, wire.StatusMessage):
            self.activity[instrument_id] = message
        elif isinstance(message, wire.LinesMessage):
            if (instrument_id, message.scan_id) not in self.ledger.scans:  # lines that arrive after their scan are ignored
                self.partial_frames.add(instrument_id, packet, message, self._now())
        elif not isinstance(message, wire.Heartbeat | wire.StatusMessage):
            raise ProtocolError("not_for_agent", f"the agent accepts no '{message.type}' message; only the agent sends it")

    def _scan(self, instrument_id: str, packet: Packet, message: wire.ScanMessage, prepared: Prepared) -> wire.Ack:
        digest = prepared.digest
        known = self.ledger.scans.get((instrument_id, message.scan_id))
        if known is not None:
            if known.digest == digest:
                first = datetime.fromisoformat(known.sent_at)
                return self._repeated(instrument_id, message).model_copy(update={"first_sent_at": first})
            raise ProtocolError(
                "duplicate_scan_id",
                f"scan '{message.scan_id}' was received before with different content; give each scan a unique id",
            )
        try:
            scan_from_packet(packet)
        except ScanDataError as error:
            raise ProtocolError("bad_scan", str(error)) from error
        body = {
            "instrument_id": instrument_id,
            "sample_id": message.sample_id,
            "digest": digest,
            "header": message.model_dump(mode="json"),
        }
        self.partial_frames.drop(instrument_id)
        older = self.ledger.open_scan(instrument_id)
        once = f"scan:{instrument_id}:{message.scan_id}"
        self._record(kinds.SCAN_RECEIVED, message.scan_id, body, arrays=packet.arrays, stored=prepared.stored, once=once)
        if older is not None and not self._finishes(older):
            self.decision_log.cancelled(older, f"a newer scan came in: {message.scan_id}")
        return self._ack(message)

    def _result(self, instrument_id: str, packet: Packet, message: wire.ResultMessage, prepared: Prepared) -> wire.Ack:
        entry = self.ledger.requests.get((instrument_id, message.request_id))
        if entry is None or not entry.approved:
            raise ProtocolError(
                "unknown_request",
                f"no request '{message.request_id}' was sent to '{instrument_id}'; send results only for requests of the agent",
            )
        if entry.status is not None:
            return self._repeated(instrument_id, message)
        body = message.model_dump(mode="json", exclude={"version", "type", "arrays"})
        body |= {"instrument_id": instrument_id, "scan_id": entry.scan_id, "cluster": entry.request.cluster}
        body |= self._findings(instrument_id, entry, message)
        self.delivery.on_ack(instrument_id, f"rec-{entry.decision_id}")  # a result proves that the recommendation arrived
        self._check_bias(instrument_id, prepared.bias_V, message)
        once = f"result:{instrument_id}:{message.request_id}"
        self._record(kinds.RESULT_RECEIVED, message.request_id, body, arrays=packet.arrays, stored=prepared.stored, once=once)
        self.commands.pause_on_alarm(instrument_id)
        return self._ack(message)

    def _findings(self, instrument_id: str, entry: RequestEntry, message: wire.ResultMessage) -> dict[str, Any]:
        """What the agent itself finds about a result, as fields of its event."""
        scan = self.ledger.scans[instrument_id, entry.scan_id]
        ended = datetime.fromisoformat(scan.finished_at) if scan.finished_at else None
        misdated = self.clocks.misdated(instrument_id, message, ended)
        tolerance_m = max(self._safety.position_tolerance_m, scan.pixel_m)
        found = check_result(message, entry, scan, tolerance_m, misdated, self.clocks.now(instrument_id))
        return found.recorded(self._safety.pause_on)

    def _trouble(self, instrument_id: str, message: wire.TroubleMessage) -> wire.Ack:
        body = {"instrument_id": instrument_id, "event": message.event, "sentence": message.sentence}
        body["told_at"] = message.sent_at.isoformat()
        if message.event in HELD.values():
            self.commands.take_over(instrument_id, message)  # before the acknowledgement, after which a resume would lift it
        event = self._record(kinds.INSTRUMENT_TROUBLED, message.id, body, once=f"trouble:{instrument_id}:{message.id}")
        return self._ack(message) if event is not None else self._repeated(instrument_id, message)

    def _repeated(self, instrument_id: str, message: wire.ScanMessage | wire.ResultMessage | wire.TroubleMessage) -> wire.Ack:
        """Acknowledge a recorded message again, as the first answer may have been lost. The repetition is recorded once."""
        body = {"instrument_id": instrument_id, "type": message.type}
        once = f"repeated:{instrument_id}:{message.id}"
        self.refusals.note(kinds.MESSAGE_REPEATED, message.id, body, sender=instrument_id, once=once)
        return self._ack(message, duplicate=True)

    def _check_bias(self, instrument_id: str, applied_V: float | None, message: wire.ResultMessage) -> None:
        """Record, before the result, that a measurement exceeded the bias limit, so that no further point is begun."""
        most_V = self.presence.limits(instrument_id).bias_max_V
        if applied_V is None or applied_V > most_V * (1 + _ROUNDING):
            reason = f"the recorded bias of {message.request_id} is infinite or holds no number: what was applied is unknown"
            if applied_V is not None:
                reason = f"the measurement of {message.request_id} applied {applied_V:g} V, at most {most_V:g} V are allowed"
            body = {"instrument_id": instrument_id, "bias_V": applied_V, "limit_V": most_V, "reason": reason}
            once = f"limit:{instrument_id}:{message.request_id}"
            self._record(kinds.LIMIT_EXCEEDED, message.request_id, body, once=once)

    def _on_refused(self, instrument_id: str, message: wire.Refused) -> None:
        body = {"instrument_id": instrument_id, "of": message.of, "code": message.code, "reason": message.reason}
        self.refusals.note(
            kinds.MESSAGE_REFUSED, instrument_id, body | {"by": "instrument"}, sender=instrument_id, code="by instrument"
        )
        # A refused message is not repeated: it counts as delivered.
        if not self.commands.on_ack(instrument_id, message.of, message.reason):
            self.delivery.on_ack(instrument_id, message.of, message.reason)

    def _bye(self, instrument_id: str, message: wire.Bye) -> wire.Ack:
        self._record(kinds.INSTRUMENT_LEFT, instrument_id, {"instrument_id": instrument_id, "reason": message.reason})
        self.presence.disconnect(instrument_id)
        self.partial_frames.drop(instrument_id)
        return self._ack(message)

    def _ack(self, message: wire.Message, *, duplicate: bool = False) -> wire.Ack:
        return wire.Ack(**self._head(), of=message.id, duplicate=duplicate)

    def _head(self) -> dict[str, Any]:
        return {"id": uuid.uuid4().hex, "sent_at": self._now()}


def _content_digest(packet: Packet, message: wire.ScanMessage) -> str:
    """SHA-256 of a scan message without its message id and send time."""
    digest = hashlib.sha256(message.model_dump_json(exclude={"id", "sent_at"}).encode())
    for array in packet.arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _largest_bias_V(packet: Packet) -> float | None:
    """Largest magnitude of the recorded bias in volts, 0 without one; None if it is infinite or holds no number."""
    bias_V = packet.arrays.get("bias_V", np.empty(0))
    if bias_V.size and (bool(np.isinf(bias_V).any()) or not np.isfinite(bias_V).any()):
        return None
    return float(np.max(np.abs(bias_V), initial=0.0, where=np.isfinite(bias_V)))

"""State of a client, computed from the records of its journal alone: what it has sent, accepted and begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import ANY_MESSAGE, RecommendationMessage, ResultMessage, ScanMessage, TroubleMessage
from instrument_adapters.spool.command_state import CommandState


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A scan, result or trouble message with its encoded frames, so that each repetition has the same bytes."""

    message: ScanMessage | ResultMessage | TroubleMessage
    frames: Sequence[bytes]


@dataclass(frozen=True)
class BegunPoint:
    """A point that the tip was sent to: the scan it was chosen from, and its position in metres."""

    scan_id: str
    x_m: float
    y_m: float


@dataclass(frozen=True)
class LatestScan:
    """The newest scan: its ids, its frame, and when it ended by the instrument's clock (None: unknown)."""

    scan_id: str
    sample_id: str
    frame: Frame
    ended_at: datetime | None = None


class ClientState:
    """Scans, results, recommendations and command state of a client.

    `apply` is the only way to change it; `as_record` condenses it into a single journal record.

    Attributes
    ----------
    unanswered
        Message id -> scan, result or trouble that the agent has not answered.
    open_scan
        The latest scan, until a recommendation for it is accepted, the agent refuses it, or an emergency stop comes.
    open_scan_run
        Run that has acknowledged the open scan; None if none has.
    latest
        The newest scan.
    samples
        Scan id -> sample id, for all scans.
    accepted
        Ids of all accepted recommendations.
    plans
        Recommendation id -> the recommendation, with only those requests that have no result yet.
    unfinished
        Request id -> id of its recommendation, for all requests without a result.
    begun
        Request id -> point that the tip was sent to.
    command_state
        What the instrument may do.
    stop_count
        Number of emergency stops since this process started.
    """

    def __init__(self) -> None:
        self.unanswered: dict[str, Outgoing] = {}
        self.open_scan: Outgoing | None = None
        self.open_scan_run: str | None = None
        self.latest: LatestScan | None = None
        self.samples: dict[str, str] = {}
        self.accepted: set[str] = set()
        self.plans: dict[str, RecommendationMessage] = {}
        self.unfinished: dict[str, str] = {}
        self.begun: dict[str, BegunPoint] = {}
        self.command_state = CommandState()
        self.stop_count = 0
        self._requests: set[str] = set()
        self._files: dict[str, tuple[str, list[int]]] = {}
        self._sent_count = 0
        self._unused_files: list[str] = []

    @property
    def latest_scan_id(self) -> str | None:
        """Id of the newest scan; None if there is none."""
        return self.latest.scan_id if self.latest else None

    @property
    def awaits_answers(self) -> bool:
        """True while a scan or a result is unanswered; nothing waits for the answer to a trouble message."""
        return any(not isinstance(outgoing.message, TroubleMessage) for outgoing in self.unanswered.values())

    def apply(self, record: Mapping[str, Any]) -> None:
        """Update the state by one journal record.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the record does not have the content of its event.
        """
        match record["event"]:
            case "sent":
                self._apply_sent(_outgoing_from_header(record["header"]), record)
            case "answered":
                self._apply_answer(record["id"], record["run"], refused=record["refused"])
            case "accepted":
                self._apply_accepted(RecommendationMessage.model_validate_json(record["header"]))
            case "begun":
                self.begun[record["id"]] = BegunPoint(record["scan"], record["x_m"], record["y_m"])
            case "stands":
                self._apply_command_state(CommandState.model_validate(record["standing"]))
            case "kept":
                self._restore(record)
            case other:
                raise ValueError(f"this version of vaestar does not know the entry '{other}'")

    def without_known_requests(self, message: RecommendationMessage) -> RecommendationMessage:
        """The recommendation without the requests that an earlier one contained."""
        new = tuple(r for r in message.requests if r.request_id not in self._requests)
        return message.model_copy(update={"requests": new})

    def pop_unused_files(self) -> list[str]:
        """Names of array files that are no longer needed, each returned once."""
        names, self._unused_files = self._unused_files, []
        return names

    def as_record(self) -> dict[str, Any]:
        """One journal record that restores this state; the array files themselves are not included."""
        held = list(self.unanswered.values())
        if self.open_scan is not None and self.open_scan.message.id not in self.unanswered:
            held.append(self.open_scan)
        return {
            "event": "kept",
            "held": [self._outgoing_record(o) for o in held],
            "open_scan": None if self.open_scan is None else self.open_scan.message.id,
            "open_scan_run": self.open_scan_run,
            "latest": None if self.latest is None else _latest_scan_record(self.latest),
            "samples": self.samples,
            "accepted": sorted(self.accepted),
            "requests": sorted(self._requests),
            "plans": [p.model_dump_json() for p in self.plans.values()],
            "begun": {i: [b.scan_id, b.x_m, b.y_m] for i, b in self.begun.items()},
            "standing": self.command_state.model_dump(),
            "sent_count": self._sent_count,
        }

    def _outgoing_record(self, outgoing: Outgoing) -> dict[str, Any]:
        file, lengths = self._files.get(outgoing.message.id, (None, []))
        waits = outgoing.message.id in self.unanswered
        return {"header": bytes(outgoing.frames[0]).decode(), "file": file, "lengths": lengths, "waits": waits}

    def _restore(self, record: Mapping[str, Any]) -> None:
        held = {o.message.id: (o, r) for r in record["held"] for o in [_outgoing_from_header(r["header"])]}
        self.unanswered = {i: o for i, (o, r) in held.items() if r["waits"]}
        self._files = {i: (r["file"], r["lengths"]) for i, (_, r) in held.items() if r["file"] is not None}
        self.open_scan = None if record["open_scan"] is None else held[record["open_scan"]][0]
        self.open_scan_run = record["open_scan_run"]
        self.latest = None if record["latest"] is None else _latest_scan_from_record(record["latest"])
        self.samples = dict(record["samples"])
        self.accepted, self._requests = set(record["accepted"]), set(record["requests"])
        plans = [RecommendationMessage.model_validate_json(p) for p in record["plans"]]
        self.plans = {p.id: p for p in plans}
        self.unfinished = {r.request_id: p.id for p in plans for r in p.requests}
        self.begun = {i: BegunPoint(*b) for i, b in record["begun"].items()}
        self.command_state = CommandState.model_validate(record["standing"])
        self._sent_count = record["sent_count"]

    def _apply_sent(self, outgoing: Outgoing, record: Mapping[str, Any]) -> None:
        self._sent_count += 1
        message = outgoing.message
        self.unanswered[message.id] = outgoing
        if record["file"] is not None:
            self._files[message.id] = (record["file"], record["lengths"])
        if isinstance(message, TroubleMessage):
            return
        if isinstance(message, ResultMessage):
            if message.status == "skipped":
                self.begun.pop(message.request_id, None)  # the instrument refused it, so no tip was sent there
            plan = self.unfinished.pop(message.request_id, None)
            if plan is not None:
                self._remove_finished(plan)
            return
        self._close_scan()
        ended_at = record.get("ended_at") or message.finished_at
        ended_at = datetime.fromisoformat(ended_at) if isinstance(ended_at, str) else ended_at
        self.open_scan = outgoing
        self.latest = LatestScan(message.scan_id, message.sample_id, message.frame, ended_at)
        self.samples[message.scan_id] = message.sample_id
        self.command_state = self.command_state.with_new_scan()

    def _remove_finished(self, plan_id: str) -> None:
        """Remove the requests that have a result from a recommendation."""
        plan = self.plans[plan_id]
        left = tuple(r for r in plan.requests if r.request_id in self.unfinished)
        if left:
            self.plans[plan_id] = plan.model_copy(update={"requests": left})
        else:
            del self.plans[plan_id]

    def _apply_answer(self, message_id: str, run_id: str, *, refused: bool) -> None:
        self.unanswered.pop(message_id, None)
        if self.open_scan is None or self.open_scan.message.id != message_id:
            self._release_arrays(message_id)
        elif refused:
            self._close_scan()
        else:
            self.open_scan_run = run_id

    def _apply_accepted(self, message: RecommendationMessage) -> None:
        self.accepted.add(message.id)
        self.command_state = self.command_state.with_recommendation(message.seq)
        new = self.without_known_requests(message)
        if new.requests:
            self.plans[message.id] = new
        self.unfinished |= dict.fromkeys((r.request_id for r in new.requests), message.id)
        self._requests |= {r.request_id for r in new.requests}
        if self.open_scan is not None and self.latest_scan_id == message.scan_id:
            self.unanswered.pop(self.open_scan.message.id, None)  # the recommendation implies that the scan has arrived
            self._close_scan()

    def _apply_command_state(self, new: CommandState) -> None:
        self.stop_count += new.state == "stopped" and self.command_state.state != "stopped"
        self.command_state = new
        if new.barred:
            self._close_scan()  # after a stop its recommendation is no longer awaited

    def _close_scan(self) -> None:
        scan, self.open_scan, self.open_scan_run = self.open_scan, None, None
        if scan is not None and scan.message.id not in self.unanswered:
            self._release_arrays(scan.message.id)

    def _release_arrays(self, message_id: str) -> None:
        name, _ = self._files.pop(message_id, (None, None))
        if name is not None:
            self._unused_files.append(name)


def _outgoing_from_header(header: str) -> Outgoing:
    message = ANY_MESSAGE.validate_json(header)
    if not isinstance(message, ScanMessage | ResultMessage | TroubleMessage):
        raise TypeError(f"a '{message.type}' message is never spooled")
    return Outgoing(message, [header.encode()])


def _latest_scan_record(scan: LatestScan) -> dict[str, Any]:
    ended_at = None if scan.ended_at is None else scan.ended_at.isoformat()
    return {"scan": scan.scan_id, "sample": scan.sample_id, "frame": scan.frame.model_dump(), "ended_at": ended_at}


def _latest_scan_from_record(record: Mapping[str, Any]) -> LatestScan:
    ended_at = None if record["ended_at"] is None else datetime.fromisoformat(record["ended_at"])
    return LatestScan(record["scan"], record["sample"], Frame.model_validate(record["frame"]), ended_at)

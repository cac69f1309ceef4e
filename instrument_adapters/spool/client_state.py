"""What a client has sent, accepted and begun, told from the records of its journal alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import ANY_MESSAGE, RecommendationMessage, ResultMessage, ScanMessage, TroubleMessage
from instrument_adapters.spool.command_state import CommandState


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A scan, a result or a trouble as it goes out, each time with the same bytes: its header, and its encoded frames."""

    message: ScanMessage | ResultMessage | TroubleMessage
    frames: Sequence[bytes]


@dataclass(frozen=True)
class Begun:
    """A request that the tip was sent to: after which scan, and where in metres."""

    scan_id: str
    x_m: float
    y_m: float


@dataclass(frozen=True)
class LatestScan:
    """The newest scan: whose sample, where, and when it ended by the instrument's clock (None: not known)."""

    scan_id: str
    sample_id: str
    frame: Frame
    ended_at: datetime | None = None


class ClientState:
    """What is known; `apply` is the only way to change it, and `kept` says all of it in one record.

    Attributes
    ----------
    waiting
        Message id -> scan, result or trouble that the agent has not answered.
    open_scan, open_scan_run
        The latest scan, until a recommendation for it is accepted, it is refused, or an emergency stop comes; which run has
        acknowledged it.
    latest
        The newest scan.
    samples
        Scan id -> sample of all scans.
    accepted, plans, unfinished
        Ids of accepted recommendations; what is left of each, where a request has no result yet; request id -> its plan.
    begun
        Request id -> where the tip was sent.
    standing
        What the instrument may do.
    stops
        How many emergency stops have come in this process.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Outgoing] = {}
        self.open_scan: Outgoing | None = None
        self.open_scan_run: str | None = None
        self.latest: LatestScan | None = None
        self.samples: dict[str, str] = {}
        self.accepted: set[str] = set()
        self.plans: dict[str, RecommendationMessage] = {}
        self.unfinished: dict[str, str] = {}
        self.begun: dict[str, Begun] = {}
        self.standing = CommandState()
        self.stops = 0
        self._requests: set[str] = set()
        self._files: dict[str, tuple[str, list[int]]] = {}
        self._sent_count = 0
        self._done_with: list[str] = []

    @property
    def latest_scan(self) -> str | None:
        """Id of the newest scan."""
        return self.latest.scan_id if self.latest else None

    @property
    def owes_answers(self) -> bool:
        """Whether a scan or a result waits for its answer; a trouble is told in passing, and holds nothing up."""
        return any(not isinstance(outgoing.message, TroubleMessage) for outgoing in self.waiting.values())

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take one record into account.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is not what its event promises.
        """
        match record["event"]:
            case "sent":
                self._sent(_outgoing(record["header"]), record)
            case "answered":
                self._answered(record["id"], record["run"], refused=record["refused"])
            case "accepted":
                self._accepted(RecommendationMessage.model_validate_json(record["header"]))
            case "begun":
                self.begun[record["id"]] = Begun(record["scan"], record["x_m"], record["y_m"])
            case "stands":
                self._stands(CommandState.model_validate(record["standing"]))
            case "kept":
                self._recall(record)
            case other:
                raise ValueError(f"this version of vaestar does not know the entry '{other}'")

    def left_of(self, message: RecommendationMessage) -> RecommendationMessage:
        """A recommendation without the requests that came in another one before."""
        left = tuple(r for r in message.requests if r.request_id not in self._requests)
        return message.model_copy(update={"requests": left})

    def files_done_with(self) -> list[str]:
        """Names of files of arrays that nobody will ask for again, each once."""
        names, self._done_with = self._done_with, []
        return names

    def kept(self) -> dict[str, Any]:
        """One record that leads a new memory to where this one is, but for its files."""
        held = list(self.waiting.values())
        if self.open_scan is not None and self.open_scan.message.id not in self.waiting:
            held.append(self.open_scan)
        return {
            "event": "kept",
            "held": [self._held(o) for o in held],
            "open_scan": None if self.open_scan is None else self.open_scan.message.id,
            "open_scan_run": self.open_scan_run,
            "latest": None if self.latest is None else _latest_record(self.latest),
            "samples": self.samples,
            "accepted": sorted(self.accepted),
            "requests": sorted(self._requests),
            "plans": [p.model_dump_json() for p in self.plans.values()],
            "begun": {i: [b.scan_id, b.x_m, b.y_m] for i, b in self.begun.items()},
            "standing": self.standing.model_dump(),
            "sent_count": self._sent_count,
        }

    def _held(self, outgoing: Outgoing) -> dict[str, Any]:
        file, lengths = self._files.get(outgoing.message.id, (None, []))
        waits = outgoing.message.id in self.waiting
        return {"header": bytes(outgoing.frames[0]).decode(), "file": file, "lengths": lengths, "waits": waits}

    def _recall(self, record: Mapping[str, Any]) -> None:
        held = {o.message.id: (o, r) for r in record["held"] for o in [_outgoing(r["header"])]}
        self.waiting = {i: o for i, (o, r) in held.items() if r["waits"]}
        self._files = {i: (r["file"], r["lengths"]) for i, (_, r) in held.items() if r["file"] is not None}
        self.open_scan = None if record["open_scan"] is None else held[record["open_scan"]][0]
        self.open_scan_run = record["open_scan_run"]
        self.latest = None if record["latest"] is None else _latest(record["latest"])
        self.samples = dict(record["samples"])
        self.accepted, self._requests = set(record["accepted"]), set(record["requests"])
        plans = [RecommendationMessage.model_validate_json(p) for p in record["plans"]]
        self.plans = {p.id: p for p in plans}
        self.unfinished = {r.request_id: p.id for p in plans for r in p.requests}
        self.begun = {i: Begun(*b) for i, b in record["begun"].items()}
        self.standing = CommandState.model_validate(record["standing"])
        self._sent_count = record["sent_count"]

    def _sent(self, outgoing: Outgoing, record: Mapping[str, Any]) -> None:
        self._sent_count += 1
        message = outgoing.message
        self.waiting[message.id] = outgoing
        if record["file"] is not None:
            self._files[message.id] = (record["file"], record["lengths"])
        if isinstance(message, TroubleMessage):
            return
        if isinstance(message, ResultMessage):
            if message.status == "skipped":
                self.begun.pop(message.request_id, None)  # the instrument refused it, so no tip was sent there
            plan = self.unfinished.pop(message.request_id, None)
            if plan is not None:
                self._shorten(plan)
            return
        self._close_scan()
        ended_at = record.get("ended_at") or message.finished_at
        ended_at = datetime.fromisoformat(ended_at) if isinstance(ended_at, str) else ended_at
        self.open_scan = outgoing
        self.latest = LatestScan(message.scan_id, message.sample_id, message.frame, ended_at)
        self.samples[message.scan_id] = message.sample_id
        self.standing = self.standing.scanned()

    def _shorten(self, plan_id: str) -> None:
        """Leave in a plan only what has no result yet."""
        plan = self.plans[plan_id]
        left = tuple(r for r in plan.requests if r.request_id in self.unfinished)
        if left:
            self.plans[plan_id] = plan.model_copy(update={"requests": left})
        else:
            del self.plans[plan_id]

    def _answered(self, message_id: str, run_id: str, *, refused: bool) -> None:
        self.waiting.pop(message_id, None)
        if self.open_scan is None or self.open_scan.message.id != message_id:
            self._drop_arrays(message_id)
        elif refused:
            self._close_scan()
        else:
            self.open_scan_run = run_id

    def _accepted(self, message: RecommendationMessage) -> None:
        self.accepted.add(message.id)
        self.standing = self.standing.recommended(message.seq)
        left = self.left_of(message)
        if left.requests:
            self.plans[message.id] = left
        self.unfinished |= dict.fromkeys((r.request_id for r in left.requests), message.id)
        self._requests |= {r.request_id for r in left.requests}
        if self.open_scan is not None and self.latest_scan == message.scan_id:
            self.waiting.pop(self.open_scan.message.id, None)  # recommended on: the scan has arrived, acknowledged or not
            self._close_scan()

    def _stands(self, standing: CommandState) -> None:
        self.stops += standing.state == "stopped" and self.standing.state != "stopped"
        self.standing = standing
        if standing.barred:
            self._close_scan()  # its recommendation is not waited for any more

    def _close_scan(self) -> None:
        scan, self.open_scan, self.open_scan_run = self.open_scan, None, None
        if scan is not None and scan.message.id not in self.waiting:
            self._drop_arrays(scan.message.id)

    def _drop_arrays(self, message_id: str) -> None:
        name, _ = self._files.pop(message_id, (None, None))
        if name is not None:
            self._done_with.append(name)


def _outgoing(header: str) -> Outgoing:
    message = ANY_MESSAGE.validate_json(header)
    if not isinstance(message, ScanMessage | ResultMessage | TroubleMessage):
        raise TypeError(f"a '{message.type}' message is never spooled")
    return Outgoing(message, [header.encode()])


def _latest_record(scan: LatestScan) -> dict[str, Any]:
    ended_at = None if scan.ended_at is None else scan.ended_at.isoformat()
    return {"scan": scan.scan_id, "sample": scan.sample_id, "frame": scan.frame.model_dump(), "ended_at": ended_at}


def _latest(record: Mapping[str, Any]) -> LatestScan:
    ended_at = None if record["ended_at"] is None else datetime.fromisoformat(record["ended_at"])
    return LatestScan(record["scan"], record["sample"], Frame.model_validate(record["frame"]), ended_at)

"""What a client has sent, accepted and begun: its memory, which a journal keeps when the process is killed.

Everything is written before the deed that it announces, so that after a restart nothing is lost and the tip is never sent
twice to one request.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from instrument_adapters.codec import explain
from instrument_adapters.journal import Journal
from instrument_adapters.messages import ANY_MESSAGE, MeasurementRequest, RecommendationMessage, ResultMessage, ScanMessage


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A scan or a result as it goes out, each time with the same bytes: its header, and its encoded frames."""

    message: ScanMessage | ResultMessage
    frames: Sequence[bytes]


@dataclass(frozen=True)
class Begun:
    """A request that the tip was sent to: after which scan, and where in metres."""

    scan_id: str
    x_m: float
    y_m: float


class Spool:
    """What this client has said and done, in memory and, given a directory, on disk.

    Calls may come from any thread. What is told here has been written and fsynced when the call returns.

    Parameters
    ----------
    directory
        Where the journal lies; created here. None: nothing survives the process.

    Attributes
    ----------
    waiting
        Message id -> scan or result that the agent has not answered.
    open_scan, open_scan_run
        The latest scan, until a recommendation for it is accepted or it is refused; which run has acknowledged it.
    latest_scan, scan_ids
        Scans that were sent.
    accepted, plans, unfinished
        Ids of accepted recommendations; what is left of each, where a request has no result yet; request id -> its plan.
    begun
        Request id -> where the tip was sent.
    last_written
        When the process before this one last wrote here, or None.

    Raises
    ------
    SpoolError
        If another process uses the directory, or it is damaged.
    """

    def __init__(self, directory: Path | None) -> None:
        self.waiting: dict[str, Outgoing] = {}
        self.open_scan: Outgoing | None = None
        self.open_scan_run: str | None = None
        self.latest_scan: str | None = None
        self.scan_ids: set[str] = set()
        self.accepted: set[str] = set()
        self.plans: dict[str, RecommendationMessage] = {}
        self.unfinished: dict[str, str] = {}
        self.begun: dict[str, Begun] = {}
        self.last_written: datetime | None = None
        self._requests: set[str] = set()
        self._files: dict[str, tuple[str, list[int]]] = {}
        self._sent_count = 0
        self._mutex = threading.Lock()
        self._journal = None if directory is None else Journal(directory)
        if self._journal is not None:
            try:
                self._replay(self._journal)
            except BaseException:
                self._journal.close()
                raise

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._journal is not None:
            self._journal.close()

    def send(self, outgoing: Outgoing) -> None:
        """Record a scan or a result before it is sent."""
        header, *arrays = outgoing.frames
        with self._mutex:
            name = f"{self._sent_count:08d}.raw" if arrays else None
            if self._journal is not None and name is not None:
                self._journal.store(name, arrays)
            record = {"event": "sent", "header": header.decode(), "file": name, "lengths": [len(a) for a in arrays]}
            self._write(record)
            self._sent(outgoing, record)

    def answered(self, message_id: str, *, run_id: str, refused: bool) -> None:
        """Record that the agent has acknowledged or refused a message."""
        self._tell({"event": "answered", "id": message_id, "run": run_id, "refused": refused})

    def accept(self, message: RecommendationMessage) -> RecommendationMessage:
        """What is left to do of a recommendation, which is recorded here before it is acknowledged."""
        left = tuple(r for r in message.requests if r.request_id not in self._requests)
        self._tell({"event": "accepted", "header": message.model_dump_json()})
        return message.model_copy(update={"requests": left})

    def begin(self, request: MeasurementRequest, scan_id: str) -> None:
        """Record that the tip is about to be sent to a request."""
        self._tell({"event": "begun", "id": request.request_id, "scan": scan_id, "x_m": request.x_m, "y_m": request.y_m})

    def _tell(self, record: dict[str, Any]) -> None:
        with self._mutex:
            self._write(record)
            self._apply(record)

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(record)

    def _apply(self, record: dict[str, Any]) -> None:
        match record["event"]:
            case "sent":
                message = ANY_MESSAGE.validate_json(record["header"])
                if not isinstance(message, ScanMessage | ResultMessage):
                    raise TypeError(f"a '{message.type}' message is never spooled")
                self._sent(Outgoing(message, [record["header"].encode()]), record)
            case "answered":
                self._answered(record["id"], record["run"], refused=record["refused"])
            case "accepted":
                self._accepted(RecommendationMessage.model_validate_json(record["header"]))
            case "begun":
                self.begun[record["id"]] = Begun(record["scan"], record["x_m"], record["y_m"])
            case other:
                raise ValueError(f"this version of vaestar does not know the entry '{other}'")

    def _sent(self, outgoing: Outgoing, record: dict[str, Any]) -> None:
        self._sent_count += 1
        message = outgoing.message
        self.waiting[message.id] = outgoing
        if record["file"] is not None:
            self._files[message.id] = (record["file"], record["lengths"])
        if isinstance(message, ResultMessage):
            plan = self.unfinished.pop(message.request_id, None)
            if plan is not None:
                self._shorten(plan)
            return
        self._close_scan()
        self.open_scan, self.latest_scan = outgoing, message.scan_id
        self.scan_ids.add(message.scan_id)

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
        left = {r.request_id: r for r in message.requests if r.request_id not in self._requests}
        if left:
            self.plans[message.id] = message.model_copy(update={"requests": tuple(left.values())})
        self.unfinished |= dict.fromkeys(left, message.id)
        self._requests |= left.keys()
        if self.open_scan is not None and self.latest_scan == message.scan_id:
            self.waiting.pop(self.open_scan.message.id, None)  # recommended on: the scan has arrived, acknowledged or not
            self._close_scan()

    def _close_scan(self) -> None:
        scan, self.open_scan, self.open_scan_run = self.open_scan, None, None
        if scan is not None and scan.message.id not in self.waiting:
            self._drop_arrays(scan.message.id)

    def _drop_arrays(self, message_id: str) -> None:
        name, _ = self._files.pop(message_id, (None, None))
        if self._journal is not None and name is not None:
            self._journal.drop(name)

    def _replay(self, journal: Journal) -> None:
        for number, record in enumerate(journal.records, 2):
            try:
                self._apply(record)
            except KeyError as error:
                raise journal.damaged(number, f"it lacks {error}") from error
            except (TypeError, AttributeError, RecursionError) as error:
                raise journal.damaged(number, str(error)) from error
            except ValueError as error:
                raise journal.damaged(number, explain(error)) from error
        journal.records.clear()
        self.last_written = journal.last_written
        self.waiting = {i: self._with_arrays(journal, o) for i, o in self.waiting.items()}
        if self.open_scan is not None:
            scan_id = self.open_scan.message.id
            self.open_scan = self.waiting.get(scan_id) or self._with_arrays(journal, self.open_scan)

    def _with_arrays(self, journal: Journal, outgoing: Outgoing) -> Outgoing:
        if outgoing.message.id not in self._files:
            return outgoing
        return replace(outgoing, frames=[*outgoing.frames, *journal.load(*self._files[outgoing.message.id])])

"""A client's memory, which a journal keeps when the process is killed.

Everything is written before the deed that it announces, so that after a restart nothing is lost and the tip is never sent
twice to one request.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import MeasurementRequest, RecommendationMessage
from instrument_adapters.spool.client_state import Begun, ClientState, LatestScan, Outgoing
from instrument_adapters.spool.command_state import CommandState
from instrument_adapters.spool.journal import VERSION, Journal, SpoolError

__all__ = ["Begun", "HeldError", "LatestScan", "Outgoing", "Spool", "SpoolError"]

_LONG = 2000  # records; from then on a journal is written anew at the start, which a client of every size does in a second


class HeldError(Exception):
    """A person has the instrument paused or stopped: nothing may be begun."""


class Spool(ClientState):
    """What this client has said and done, in memory and, given a directory, on disk.

    Calls may come from any thread. What is told here has been written and fsynced when the call returns.

    Parameters
    ----------
    directory
        Where the journal lies; created here. None: nothing survives the process.

    Attributes
    ----------
    last_written
        When the process before this one last wrote here, or None.

    Raises
    ------
    SpoolError
        If another process uses the directory, it is damaged, or the disk does not take what is told.
    """

    def __init__(self, directory: Path | None) -> None:
        super().__init__()
        self.last_written: datetime | None = None
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

    def send(self, outgoing: Outgoing, ended_at: datetime | None = None) -> None:
        """Record a scan, a result or a trouble before it is sent; of a scan, when it ended by the instrument's clock."""
        header, *arrays = outgoing.frames
        with self._mutex:
            name = f"{self._sent_count:08d}.raw" if arrays else None
            if self._journal is not None and name is not None:
                self._journal.store(name, arrays)
            record: dict[str, Any] = {"event": "sent", "header": header.decode(), "file": name}
            record |= {"lengths": [len(a) for a in arrays], "ended_at": None if ended_at is None else ended_at.isoformat()}
            self._write(record)
            self._sent(outgoing, record)
            self._tidy()

    def answered(self, message_id: str, *, run_id: str, refused: bool) -> None:
        """Record that the agent has acknowledged or refused a message."""
        self._tell({"event": "answered", "id": message_id, "run": run_id, "refused": refused})

    def accept(self, message: RecommendationMessage) -> RecommendationMessage:
        """What is left to do of a recommendation, which is recorded here before it is acknowledged."""
        left = self.left_of(message)
        self._tell({"event": "accepted", "header": message.model_dump_json()})
        return left

    def begin(self, request: MeasurementRequest, scan_id: str) -> None:
        """Record that the tip is about to be sent to a request.

        Raises
        ------
        HeldError
            If nothing may be begun.
        """
        record = {"event": "begun", "id": request.request_id, "scan": scan_id, "x_m": request.x_m, "y_m": request.y_m}
        with self._mutex:  # a pause that was recorded before holds this point, one recorded after it finds it under way
            self._heed_standing()
            self._write(record)
            self.apply(record)

    def check_free(self) -> None:
        """Do nothing, if something may be begun.

        Raises
        ------
        HeldError
            If not.
        """
        with self._mutex:
            self._heed_standing()

    def stand(self, change: Callable[[CommandState], CommandState]) -> CommandState:
        """Where the instrument stood before; that it now stands where `change` says is recorded."""
        with self._mutex:
            before, after = self.standing, change(self.standing)
            if after != before:
                record = {"event": "stands", "standing": after.model_dump()}
                self._write(record)
                self.apply(record)
                self._tidy()
            return before

    def _heed_standing(self) -> None:
        if self.standing.state != "running":
            raise HeldError(self.standing.sentence)

    def _tell(self, record: dict[str, Any]) -> None:
        with self._mutex:
            self._write(record)
            self.apply(record)
            self._tidy()

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(record)

    def _tidy(self) -> None:
        for name in self.files_done_with():
            if self._journal is not None:
                self._journal.drop(name)

    def _replay(self, journal: Journal) -> None:
        for number, record in enumerate(journal.records, 2):
            try:
                self.apply(_of_today(record) if journal.version < VERSION else record)
            except (KeyError, AttributeError) as error:
                raise journal.damaged(number, f"it lacks {error}") from error
            except (TypeError, RecursionError) as error:
                raise journal.damaged(number, str(error)) from error
            except ValueError as error:
                raise journal.damaged(number, explain(error)) from error
        self._tidy()
        if journal.version < VERSION or len(journal.records) >= _LONG:
            journal.rewrite([self.kept()])
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


def _of_today(record: dict[str, Any]) -> dict[str, Any]:
    """A record of a spool of version 1, whose messages were of version 1 of the wire: scans and results were as they are now."""
    if "header" not in record:
        return record
    header = json.loads(record["header"]) | {"version": 2}
    if record["event"] == "accepted":
        header["seq"] = 1  # they had no numbers
    return record | {"header": json.dumps(header)}

"""The client's state, kept in a journal so that it survives a killed process.

Each step is recorded before it is taken. After a restart no message is lost, and the tip is never sent to a request twice.
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
from instrument_adapters.spool.client_state import BegunPoint, ClientState, LatestScan, Outgoing
from instrument_adapters.spool.command_state import CommandState
from instrument_adapters.spool.journal import VERSION, Journal, SpoolError

__all__ = ["BegunPoint", "HeldError", "LatestScan", "Outgoing", "Spool", "SpoolError"]

_COMPACT_AT_RECORDS = 2000  # a longer journal is compacted at the start; reading this many records takes a second


class HeldError(Exception):
    """The instrument is paused or stopped by the operator: nothing new may be begun."""


class Spool(ClientState):
    """State of this client, in memory and, given a directory, on disk.

    Thread-safe. Each method that records something returns after it has been written and synced to disk.

    Parameters
    ----------
    directory
        Directory of the journal, created if missing. None: nothing survives the process.

    Attributes
    ----------
    last_written
        Time of the last entry of an earlier process; None if there is none.

    Raises
    ------
    SpoolError
        If another process uses the directory, the journal is damaged, or the disk cannot be written.
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
        """Record a message before it is sent; for a scan also `ended_at`, its end by the instrument's clock."""
        header, *arrays = outgoing.frames
        with self._mutex:
            name = f"{self._sent_count:08d}.raw" if arrays else None
            if self._journal is not None and name is not None:
                self._journal.store(name, arrays)
            record: dict[str, Any] = {"event": "sent", "header": header.decode(), "file": name}
            record |= {"lengths": [len(a) for a in arrays], "ended_at": None if ended_at is None else ended_at.isoformat()}
            self._write(record)
            self._apply_sent(outgoing, record)
            self._remove_unused_files()

    def record_answer(self, message_id: str, *, run_id: str, refused: bool) -> None:
        """Record that the agent has acknowledged or refused a message."""
        self._write_and_apply({"event": "answered", "id": message_id, "run": run_id, "refused": refused})

    def accept(self, message: RecommendationMessage) -> RecommendationMessage:
        """Record a recommendation before it is acknowledged; returns it without the requests that are known already."""
        new = self.without_known_requests(message)
        self._write_and_apply({"event": "accepted", "header": message.model_dump_json()})
        return new

    def begin(self, request: MeasurementRequest, scan_id: str) -> None:
        """Record that the tip is about to be sent to a point.

        Raises
        ------
        HeldError
            If the instrument is paused or stopped.
        """
        record = {"event": "begun", "id": request.request_id, "scan": scan_id, "x_m": request.x_m, "y_m": request.y_m}
        with self._mutex:  # a pause recorded before this entry prevents the point; one recorded later lets it finish
            self._raise_if_held()
            self._write(record)
            self.apply(record)

    def raise_if_held(self) -> None:
        """Raise an error if nothing new may be begun.

        Raises
        ------
        HeldError
            If the instrument is paused or stopped.
        """
        with self._mutex:
            self._raise_if_held()

    def change_command_state(self, change: Callable[[CommandState], CommandState]) -> CommandState:
        """Apply `change` to the command state, record the new state, and return the previous one."""
        with self._mutex:
            before, after = self.command_state, change(self.command_state)
            if after != before:
                record = {"event": "stands", "standing": after.model_dump()}
                self._write(record)
                self.apply(record)
                self._remove_unused_files()
            return before

    def _raise_if_held(self) -> None:
        if self.command_state.state != "running":
            raise HeldError(self.command_state.hold_reason)

    def _write_and_apply(self, record: dict[str, Any]) -> None:
        with self._mutex:
            self._write(record)
            self.apply(record)
            self._remove_unused_files()

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(record)

    def _remove_unused_files(self) -> None:
        for name in self.pop_unused_files():
            if self._journal is not None:
                self._journal.remove(name)

    def _replay(self, journal: Journal) -> None:
        for number, record in enumerate(journal.records, 2):
            try:
                self.apply(_upgrade_version_1(record) if journal.version < VERSION else record)
            except (KeyError, AttributeError) as error:
                raise journal.damage_error(number, f"it lacks {error}") from error
            except (TypeError, RecursionError) as error:
                raise journal.damage_error(number, str(error)) from error
            except ValueError as error:
                raise journal.damage_error(number, explain(error)) from error
        self._remove_unused_files()
        if journal.version < VERSION or len(journal.records) >= _COMPACT_AT_RECORDS:
            journal.rewrite([self.as_record()])
        journal.records.clear()
        self.last_written = journal.last_written
        self.unanswered = {i: self._with_arrays(journal, o) for i, o in self.unanswered.items()}
        if self.open_scan is not None:
            scan_id = self.open_scan.message.id
            self.open_scan = self.unanswered.get(scan_id) or self._with_arrays(journal, self.open_scan)

    def _with_arrays(self, journal: Journal, outgoing: Outgoing) -> Outgoing:
        if outgoing.message.id not in self._files:
            return outgoing
        return replace(outgoing, frames=[*outgoing.frames, *journal.load(*self._files[outgoing.message.id])])


def _upgrade_version_1(record: dict[str, Any]) -> dict[str, Any]:
    """A record of spool version 1 in the present format; scan and result messages have the same fields in both versions."""
    if "header" not in record:
        return record
    header = json.loads(record["header"]) | {"version": 2}
    if record["event"] == "accepted":
        header["seq"] = 1  # version 1 had no sequence numbers
    return record | {"header": json.dumps(header)}

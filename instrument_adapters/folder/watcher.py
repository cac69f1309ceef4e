"""Finds the scans that appear in a folder and returns each once, when it is complete, in the order of recording.

The operating system is only asked to list and to read, so network shares work. A file's dates are used only to order scans that
do not state when they were recorded. A file counts as complete when its content says so and has not changed, byte for byte, from
one look to the next.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

from instrument_adapters.errors import AdapterError
from instrument_adapters.folder.file_content import Inspection, inspect_file, load
from instrument_adapters.folder.listing import FileState, FolderUnavailableError, scan_files
from instrument_adapters.scan import Scan

Existing = Literal["none", "newest", "all"]
Order = Literal["recorded", "arrival"]

_LOG = logging.getLogger(__name__)
_BULK = 50  # more unknown files than this at one look are not new scans: a share has come back, or an archive was copied
_NEWEST_CANDIDATES = 8  # this many files, the newest by date and the last by name, are searched for the newest scan

_CLOCK_SET_BACK = timedelta(hours=2)  # by the operator or at the end of summer time; an instrument's clock has no time zone


@dataclass(frozen=True)
class WatchSettings:
    """Settings of the watcher; times in seconds.

    Parameters
    ----------
    subfolders
        Whether subfolders are watched, too.
    existing
        Files present at the start that are returned as scans; also applied to files that arrive in large numbers at once.
    order
        "recorded": a scan recorded before one already returned is skipped. "arrival": it is returned.
    settle_s
        Time for which a complete file must stay unchanged.
    doubt_s
        Time for which a complete file with a gap of zeros or an unusual end must stay unchanged.
    patience_s
        Time without a change after which a file that is not a complete scan is reported and ignored until it changes.
    retry_max_s
        Longest time between two looks at such a file; it is still checked, since a share can be slow to show a change.
    """

    subfolders: bool = False
    existing: Existing = "newest"
    order: Order = "recorded"
    settle_s: float = 2.0
    doubt_s: float = 30.0
    patience_s: float = 60.0
    retry_max_s: float = 600.0


@dataclass
class _TrackedFile:
    """A file as listed, its latest inspection, the time since which it is unchanged, and the time of the next look.

    `old`: present before the others. `ready`: to be returned. `done`: ignored until its state changes.
    """

    state: FileState
    next_look_s: float
    first_seen_s: float
    interval_s: float
    inspection: Inspection | None = None
    unchanged_since_s: float = 0.0
    old: bool = False
    ready: bool = False
    reported: bool = False
    done: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the file held a complete scan at the latest inspection."""
        return self.inspection is not None and not self.inspection.problem

    @property
    def recorded_at(self) -> datetime:
        """Time of recording; the file's modification time if its content does not state one."""
        known = self.inspection.recorded_at if self.inspection else None
        return known or datetime.fromtimestamp(self.state[1] // 10**9, UTC)


class FolderWatch:
    """Watcher of one folder.

    Parameters
    ----------
    folder
        Path of the folder; nothing is written to it.
    settings
        Settings of the watcher.
    zone
        Time zone of the instrument's clock.
    wall
        Monotonic clock: seconds from any origin.
    stopped
        Called between files; once it returns true, `poll` ends early.

    Attributes
    ----------
    report_problem
        Called with a short name and a sentence when a problem needs the operator's attention.
    """

    def __init__(
        self,
        folder: Path,
        settings: WatchSettings,
        zone: tzinfo,
        wall: Callable[[], float],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder, self._settings, self._zone, self._wall, self._stopped = folder, settings, zone, wall, stopped
        self.report_problem: Callable[[str, str], None] = lambda _, sentence: _LOG.warning("%s", sentence)
        self._files: dict[Path, _TrackedFile] = {}
        self._present: Mapping[Path, FileState] = {}
        self._processed_ids: dict[str, str] = {}  # content digest of a scan -> its id
        self._newest_processed: tuple[datetime, int] | None = None  # times of recording and of writing
        self._started = self._unavailable = False

    def poll(self) -> None:
        """List the folder and inspect the files that are due."""
        try:
            self._present = scan_files(self._folder, subfolders=self._settings.subfolders)
        except FolderUnavailableError as error:
            if not self._unavailable:
                self.report_problem(
                    "folder_away", f"the folder {self._folder} cannot be read ({error}); waiting until it is available again"
                )
            self._unavailable = True
            return
        if self._unavailable:
            _LOG.info("the folder %s is available again", self._folder)
            self._unavailable = False
        self._update_files(self._wall())
        for path in self._present:
            file = self._files[path]
            if self._stopped():
                return
            if not file.done and not file.ready and file.next_look_s <= self._wall():
                self._inspect(path, file)

    @property
    def has_scan(self) -> bool:
        """Whether a new scan is ready."""
        return any(f.ready for p, f in self._files.items() if p in self._present)

    def next_scan(self) -> tuple[Path, Scan] | None:
        """The earliest recorded of the scans that are ready, or None; each scan is returned once."""
        ready = [p for p, f in self._files.items() if f.ready and p in self._present]
        for path in sorted(ready, key=lambda p: (self._files[p].recorded_at, natural_key(p))):
            if self._may_be_preceded(self._files[path]):
                return None
            scan = self._load_ready(path, self._files[path])
            if scan is not None:
                return path, scan
        return None

    def _update_files(self, now_s: float) -> None:
        unknown = [path for path in self._present if path not in self._files]
        old = not self._started or len(unknown) > _BULK
        for path, state in self._present.items():
            file = self._files.get(path)
            if file is None:
                self._files[path] = _TrackedFile(state, now_s, now_s, self._settings.settle_s)
            elif file.state != state:
                first_seen_s = now_s if file.done else file.first_seen_s
                self._files[path] = _TrackedFile(
                    state, now_s, first_seen_s, self._settings.settle_s, file.inspection, now_s, file.old
                )
        if old and unknown:
            _LOG.info("found %d existing scan files; %s", len(unknown), _EXISTING_POLICIES[self._settings.existing])
            self._skip_existing(unknown, now_s)
        self._started = True

    def _skip_existing(self, old: list[Path], now_s: float) -> None:
        """Ignore old files as the settings demand; files that may still be being written are not old."""
        if self._settings.existing == "all":
            return
        candidates = set(sorted(old, key=lambda p: (self._files[p].state[1], natural_key(p)))[-_NEWEST_CANDIDATES:])
        candidates |= set(sorted(old, key=natural_key)[-_NEWEST_CANDIDATES:])
        for path in old:
            self._files[path].done = path not in candidates
        for path in candidates:
            self._files[path].inspection, self._files[path].unchanged_since_s = inspect_file(path, self._zone), now_s
            self._files[path].next_look_s = now_s + self._settings.settle_s
        complete = [p for p in candidates if self._files[p].is_complete]
        complete.sort(key=lambda p: (self._files[p].recorded_at, natural_key(p)))
        newest = complete.pop() if complete and self._settings.existing == "newest" else None
        for path in complete:
            self._files[path].done = True
            if newest is None or self._content_digest(path) != self._content_digest(newest):
                self._mark_as_processed(self._files[path])
        for path in old:
            self._files[path].old = self._files[path].done

    def _content_digest(self, path: Path) -> str:
        inspection = self._files[path].inspection
        return inspection.content_digest if inspection is not None else ""

    def _inspect(self, path: Path, file: _TrackedFile) -> None:
        """Inspect a file again and update its state."""
        settings = self._settings
        inspection = inspect_file(path, self._zone, file.inspection)
        now_s = self._wall()
        if file.inspection is None or inspection.digest != file.inspection.digest:
            file.inspection, file.unchanged_since_s, file.interval_s = inspection, now_s, settings.settle_s
        file.inspection = inspection
        unchanged_s = now_s - file.unchanged_since_s
        if not inspection.problem:
            needed_s = settings.doubt_s if inspection.doubtful else settings.settle_s
            file.ready = unchanged_s >= needed_s and not self._discard_if_not_new(path, file)
        elif inspection.is_curves and unchanged_s >= settings.settle_s:
            file.done = True
            _LOG.info("%s; it is skipped", inspection.problem)
        elif unchanged_s >= settings.patience_s:
            file.interval_s = min(2 * file.interval_s, settings.retry_max_s)
            if not file.reported:
                self.report_problem("file_damaged", f"{inspection.problem}; it is ignored until it changes")
                file.reported = True
        file.next_look_s = now_s + file.interval_s

    def _may_be_preceded(self, ready: _TrackedFile) -> bool:
        """Whether a file that has just arrived is, or may turn out to be, older than the one that is ready."""
        now_s, settings = self._wall(), self._settings
        for path in self._present:
            file = self._files[path]
            if file.ready or file.done:
                continue
            patience_s = 5 * (settings.doubt_s if file.is_complete else settings.settle_s)
            if now_s - file.first_seen_s < patience_s and not (file.is_complete and file.recorded_at >= ready.recorded_at):
                return True
        return False

    def _discard_if_not_new(self, path: Path, file: _TrackedFile) -> bool:
        """Whether a complete scan is a duplicate or too old to be returned; if so, it is marked as done."""
        assert file.inspection is not None  # only an inspected file is complete
        same = self._processed_ids.get(file.inspection.content_digest)
        if same is not None:
            _LOG.info("%s holds scan %s, which was already processed; it is skipped", path, same)
        elif self._is_late(file):
            late = f"{path} was recorded before the last scan that was processed; it is skipped (see --order)"
            self.report_problem("file_late", late)
        else:
            return False
        file.ready, file.done = False, True
        return True

    def _load_ready(self, path: Path, file: _TrackedFile) -> Scan | None:
        inspection = file.inspection
        if inspection is None or self._discard_if_not_new(path, file):
            return None
        file.ready, file.done = False, True
        try:
            scan = load(path, self._zone, inspection)
        except AdapterError as error:
            _LOG.debug("%s can no longer be read: %s", path, error)
            scan = None
        if scan is None:  # changed since it was inspected: start over
            file.inspection, file.done, file.next_look_s = None, False, self._wall()
            return None
        self._mark_as_processed(file)
        return scan

    def _mark_as_processed(self, file: _TrackedFile) -> None:
        """Record a scan as processed."""
        if file.inspection is not None:
            self._processed_ids[file.inspection.content_digest] = file.inspection.scan_id
            if self._newest_processed is None or file.recorded_at >= self._newest_processed[0]:
                self._newest_processed = (file.recorded_at, file.state[1])

    def _is_late(self, file: _TrackedFile) -> bool:
        """Whether the scan precedes a processed one: recorded over two hours earlier, or recorded earlier and written earlier.

        An old file that was only touched is always late.
        """
        if self._newest_processed is None:
            return False
        recorded, written_ns = self._newest_processed
        if file.old and file.recorded_at <= recorded:
            return True
        if self._settings.order == "arrival":
            return False
        return file.recorded_at < recorded - _CLOCK_SET_BACK or (file.recorded_at < recorded and file.state[1] < written_ns)


_EXISTING_POLICIES: Mapping[Existing, str] = {
    "none": "they are skipped",
    "newest": "only the newest is processed",
    "all": "all are processed",
}


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts scan_9 before scan_10."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())
    ]

"""Finds the scans that appear in a folder, each once and only when it is whole, in the order of recording.

Nothing is asked of the operating system but to list and to read, so that network shares work, and nothing is concluded from
a file's dates but the order of scans that do not say when they were recorded. A file counts as whole when its content says so and
has stayed the same, byte for byte, from one look to another.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

from instrument_adapters.errors import AdapterError
from instrument_adapters.folder.file_content import Judged, judge, load
from instrument_adapters.folder.listing import FolderAwayError, State, candidates
from instrument_adapters.scan import Scan

Existing = Literal["none", "newest", "all"]
Order = Literal["recorded", "arrival"]

_LOG = logging.getLogger(__name__)
_BULK = 50  # so many unknown files at one look are no new scans: a share has come back, or an archive was copied
_NEWEST_OF = 8  # so many files, the newest by date and the last by name, may hold the newest scan
_DIGITS = "0123456789"
_CLOCK_SET_BACK = timedelta(hours=2)  # by a person or the end of summer time; an instrument's clock knows no zone


@dataclass(frozen=True)
class WatchSettings:
    """How a folder is watched, times in seconds.

    Parameters
    ----------
    subfolders
        Look into subfolders, too.
    existing
        Which of the files that are there at the start are taken for scans; so are files that come in great number at once.
    order
        "recorded": a scan that was recorded before one that was handed out is left out. "arrival": it is not.
    settle_s
        A whole file must stay the same for so long.
    doubt_s
        A whole file with a hole of zeros in it, or with an unusual end, must stay the same for so long.
    patience_s
        A file that is no whole scan after so long without a change is told of, and left alone until it changes.
    retry_max_s
        Such a file is looked at once in so long all the same, since folders can be slow to tell of a change.
    """

    subfolders: bool = False
    existing: Existing = "newest"
    order: Order = "recorded"
    settle_s: float = 2.0
    doubt_s: float = 30.0
    patience_s: float = 60.0
    retry_max_s: float = 600.0


@dataclass
class _File:
    """What is known of a file: as it was listed, as it was judged, since when it has been so, and when to look again.

    `old` was there before the others; `ready` waits to be handed out; `done` is left alone until its state changes.
    """

    state: State
    due_s: float
    first_s: float
    pause_s: float
    judged: Judged | None = None
    since_s: float = 0.0
    old: bool = False
    ready: bool = False
    told: bool = False
    done: bool = False

    @property
    def whole(self) -> bool:
        """Whether it held a whole scan when it was last looked at."""
        return self.judged is not None and not self.judged.flaw

    @property
    def when(self) -> datetime:
        """Time of recording, or of the file where it does not say."""
        known = self.judged.recorded_at if self.judged else None
        return known or datetime.fromtimestamp(self.state[1] // 10**9, UTC)


class FolderWatch:
    """Watches one folder.

    Parameters
    ----------
    folder
        It is read only.
    settings
        How.
    zone
        Zone of the instrument's clock.
    wall
        Seconds from any origin; never jumps backwards.
    stopped
        Asked between files; once true, a look ends early.

    Attributes
    ----------
    trouble
        Told what a person should see to: a short name and a sentence.
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
        self.trouble: Callable[[str, str], None] = lambda _, sentence: _LOG.warning("%s", sentence)
        self._files: dict[Path, _File] = {}
        self._present: Mapping[Path, State] = {}
        self._handed_out: dict[str, str] = {}  # essence of a scan -> its name
        self._last: tuple[datetime, int] | None = None  # of the newest handed out: recorded, and written
        self._begun = self._away = False

    def look(self) -> None:
        """Read the folder and judge what is due."""
        try:
            self._present = candidates(self._folder, subfolders=self._settings.subfolders)
        except FolderAwayError as error:
            if not self._away:
                self.trouble("folder_away", f"the folder {self._folder} cannot be read ({error}); waiting until it is back")
            self._away = True
            return
        if self._away:
            _LOG.info("the folder %s can be read again", self._folder)
            self._away = False
        self._take_in(self._wall())
        for path in self._present:
            file = self._files[path]
            if self._stopped():
                return
            if not file.done and not file.ready and file.due_s <= self._wall():
                self._judge(path, file)

    @property
    def has_scan(self) -> bool:
        """Whether a new scan waits to be handed out."""
        return any(f.ready for p, f in self._files.items() if p in self._present)

    def next_scan(self) -> tuple[Path, Scan] | None:
        """The whole scan that was recorded first among those that wait, or None; each is handed out once."""
        ready = [p for p, f in self._files.items() if f.ready and p in self._present]
        for path in sorted(ready, key=lambda p: (self._files[p].when, natural(p))):
            if self._may_be_overtaken(self._files[path]):
                return None
            scan = self._hand_out(path, self._files[path])
            if scan is not None:
                return path, scan
        return None

    def _take_in(self, now_s: float) -> None:
        unknown = [path for path in self._present if path not in self._files]
        old = not self._begun or len(unknown) > _BULK
        for path, state in self._present.items():
            file = self._files.get(path)
            if file is None:
                self._files[path] = _File(state, now_s, now_s, self._settings.settle_s)
            elif file.state != state:
                first_s = now_s if file.done else file.first_s
                self._files[path] = _File(state, now_s, first_s, self._settings.settle_s, file.judged, now_s, file.old)
        if old and unknown:
            _LOG.info("%d scan files are there already; of these, %s taken", len(unknown), _TAKEN[self._settings.existing])
            self._pass_over(unknown, now_s)
        self._begun = True

    def _pass_over(self, old: list[Path], now_s: float) -> None:
        """Leave old files alone as the settings say; those that may just be written are none."""
        if self._settings.existing == "all":
            return
        last = set(sorted(old, key=lambda p: (self._files[p].state[1], natural(p)))[-_NEWEST_OF:])
        last |= set(sorted(old, key=natural)[-_NEWEST_OF:])
        for path in old:
            self._files[path].done = path not in last
        for path in last:
            self._files[path].judged, self._files[path].since_s = judge(path, self._zone), now_s
            self._files[path].due_s = now_s + self._settings.settle_s
        whole = sorted((p for p in last if self._files[p].whole), key=lambda p: (self._files[p].when, natural(p)))
        taken = whole.pop() if whole and self._settings.existing == "newest" else None
        for path in whole:
            self._files[path].done = True
            if taken is None or self._essence(path) != self._essence(taken):
                self._note(self._files[path])
        for path in old:
            self._files[path].old = self._files[path].done

    def _essence(self, path: Path) -> str:
        judged = self._files[path].judged
        return judged.essence if judged is not None else ""

    def _judge(self, path: Path, file: _File) -> None:
        """Look at a file again, and say what follows from it."""
        settings = self._settings
        judged = judge(path, self._zone, file.judged)
        now_s = self._wall()
        if file.judged is None or judged.digest != file.judged.digest:
            file.judged, file.since_s, file.pause_s = judged, now_s, settings.settle_s
        file.judged = judged
        held_s = now_s - file.since_s
        if not judged.flaw:
            file.ready = held_s >= (settings.doubt_s if judged.doubtful else settings.settle_s) and not self._left_out(path, file)
        elif judged.curves and held_s >= settings.settle_s:
            file.done = True
            _LOG.info("%s; it is left out", judged.flaw)
        elif held_s >= settings.patience_s:
            file.pause_s = min(2 * file.pause_s, settings.retry_max_s)
            if not file.told:
                self.trouble("file_damaged", f"{judged.flaw}; it is left alone until it changes")
                file.told = True
        file.due_s = now_s + file.pause_s

    def _may_be_overtaken(self, ready: _File) -> bool:
        """Whether a file that has just come is older than one that waits, or may turn out to be."""
        now_s, settings = self._wall(), self._settings
        for path in self._present:
            file = self._files[path]
            if file.ready or file.done:
                continue
            patience_s = 5 * (settings.doubt_s if file.whole else settings.settle_s)
            if now_s - file.first_s < patience_s and not (file.whole and file.when >= ready.when):
                return True
        return False

    def _left_out(self, path: Path, file: _File) -> bool:
        """Whether a whole scan is none to hand out; if so it is done with."""
        assert file.judged is not None  # only a judged file is whole
        same = self._handed_out.get(file.judged.essence)
        if same is not None:
            _LOG.info("%s holds scan %s, which was there before; it is left out", path, same)
        elif self._is_late(file):
            late = f"{path} was recorded before the last scan that was taken; it is left out (see --order)"
            self.trouble("file_late", late)
        else:
            return False
        file.ready, file.done = False, True
        return True

    def _hand_out(self, path: Path, file: _File) -> Scan | None:
        judged = file.judged
        if judged is None or self._left_out(path, file):
            return None
        file.ready, file.done = False, True
        try:
            scan = load(path, self._zone, judged)
        except AdapterError as error:
            _LOG.debug("%s went away: %s", path, error)
            scan = None
        if scan is None:  # changed since it was judged: begin anew with it
            file.judged, file.done, file.due_s = None, False, self._wall()
            return None
        self._note(file)
        return scan

    def _note(self, file: _File) -> None:
        """Remember a scan as taken."""
        if file.judged is not None:
            self._handed_out[file.judged.essence] = file.judged.scan_id
            if self._last is None or file.when >= self._last[0]:
                self._last = (file.when, file.state[1])

    def _is_late(self, file: _File) -> bool:
        """Recorded before one that was taken: by far, or by a little and written before it as well.

        A file of old that was only touched is late in any case.
        """
        if self._last is None:
            return False
        recorded, written_ns = self._last
        if file.old and file.when <= recorded:
            return True
        if self._settings.order == "arrival":
            return False
        return file.when < recorded - _CLOCK_SET_BACK or (file.when < recorded and file.state[1] < written_ns)


_TAKEN: Mapping[Existing, str] = {"none": "none is", "newest": "the newest is", "all": "all are"}


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts scan_9 before scan_10."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path).lower())
    ]

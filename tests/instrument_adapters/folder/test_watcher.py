"""How the watcher copes with what copying programs, clocks, shares and operators do to a folder."""

import logging
import os
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.command_line.time_zone import parse_time_zone
from instrument_adapters.folder import watcher as folder_watch
from instrument_adapters.folder.listing import scan_files
from instrument_adapters.folder.watcher import FolderWatch, WatchSettings
from simulators.controller.ibw import encode_curves
from tests.instrument_adapters.formats.test_igor import patched
from tests.support.data.recordings import write_nsid, write_scan

UTC = parse_time_zone("UTC")
BASE_S = 3.8e9
CURVES = {name: np.linspace(0, 1, 20, dtype=np.float32) for name in ("Bias", "Amp", "Phase")}


class Lab:
    """A folder, its watcher, and a clock that advances by a second at each look."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.now_s = folder, 0.0
        folder.mkdir(exist_ok=True)
        self.watch = FolderWatch(folder, WatchSettings(**settings), UTC, lambda: self.now_s)

    def looks(self, seconds: int) -> list[str]:
        """Names of the files returned during the given number of seconds."""
        found = []
        for _ in range(seconds):
            self.now_s += 1
            self.watch.poll()
            while (scan := self.watch.next_scan()) is not None:
                found.append(scan[0].name)
        return found

    def raw(self, seconds: float = 0.0, value: float = 0.0) -> bytes:
        path = write_scan(self.folder.parent / "made.ibw", BASE_S + seconds, value)
        return path.read_bytes()

    def put(self, name: str, seconds: float = 0.0, value: float = 0.0) -> Path:
        (self.folder / name).write_bytes(self.raw(seconds, value))
        return self.folder / name


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "scans")
    assert made.looks(1) == []
    return made


def test_a_whole_file_is_handed_out_once_after_it_has_stayed_the_same(lab: Lab) -> None:
    lab.put("a.ibw")
    assert lab.looks(2) == []
    assert lab.looks(20) == ["a.ibw"]
    assert lab.looks(200) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.h5", "a.HDF5", "a.hf5"])
def test_nsid_files_are_found_under_each_of_their_endings(lab: Lab, name: str) -> None:
    write_nsid(lab.folder / name)
    assert lab.looks(40) == [name]


@pytest.mark.attack(
    "a scan whose note the wire cannot carry is found out when it is sent",
    promise="what cannot be sent is reported when the file is looked at",
)
def test_a_scan_that_cannot_be_sent_is_found_out_before_the_client_gets_it(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    note = {f"Text{n}": "\x01" * 60_000 for n in range(15)}  # each of these characters takes six bytes as JSON
    write_scan(lab.folder / "a.ibw", BASE_S, **note)
    assert lab.looks(100) == []
    assert "a.ibw cannot be sent to an agent: the header has" in caplog.text


def test_a_file_that_is_written_slowly_is_taken_when_its_end_has_come(lab: Lab) -> None:
    raw, path = lab.raw(), lab.folder / "slow.ibw"
    for length in range(1, len(raw), 97):
        path.write_bytes(raw[:length])
        assert lab.looks(5) == []
    path.write_bytes(raw)
    assert lab.looks(5) == ["slow.ibw"]


@pytest.mark.parametrize("filled", [0, 200, 384, 400, 500, 600], ids=lambda n: f"{n} bytes there")
def test_a_file_whose_size_is_there_before_its_content_waits_for_it(lab: Lab, filled: int) -> None:
    raw, path = lab.raw(), lab.folder / "reserved.ibw"
    path.write_bytes(raw[:filled] + bytes(len(raw) - filled))
    assert lab.looks(20) == []
    path.write_bytes(raw)
    os.utime(path, (1e9, 1e9))  # and the old date is kept
    assert lab.looks(5) == ["reserved.ibw"]


def test_a_hole_in_the_numbers_is_doubted_for_longer_and_then_believed(lab: Lab) -> None:
    raw = bytearray(lab.raw())
    raw[384:444] = bytes(60)  # all numbers: a hole, or a dead channel
    (lab.folder / "hole.ibw").write_bytes(raw)
    assert lab.looks(25) == []
    assert lab.looks(20) == ["hole.ibw"]


@pytest.mark.parametrize(
    "name", [".a.ibw.x7Qc3f", "a.ibw.part", "~$a.ibw", "._a.ibw", "a.ibw~", "a.ibw.filepart", "a.tmp", "a.txt"]
)
def test_a_file_under_a_temporary_name_is_taken_when_it_is_renamed(lab: Lab, name: str) -> None:
    path = lab.put(name)
    assert lab.looks(20) == []
    path.replace(lab.folder / "a.ibw")
    assert lab.looks(5) == ["a.ibw"]


def test_a_folder_under_a_temporary_name_is_not_looked_into(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "scans", subfolders=True)
    lab.looks(1)
    for name in (".rsync-partial", "monday"):
        (lab.folder / name).mkdir()
        lab.put(f"{name}/{name[-6:]}.ibw", value=len(name))
    assert lab.looks(5) == ["monday.ibw"]
    assert [p.parent.name for p in scan_files(lab.folder)] == []


def test_touching_a_file_gives_no_new_scan_and_rewriting_it_does(lab: Lab) -> None:
    path = lab.put("a.ibw")
    assert lab.looks(5) == ["a.ibw"]
    os.utime(path)
    assert lab.looks(20) == []
    lab.put("a.ibw", seconds=100, value=1)
    assert lab.looks(5) == ["a.ibw"]


def test_what_follows_the_wave_makes_no_other_scan_of_it(lab: Lab) -> None:
    path = lab.put("a.ibw")
    assert lab.looks(5) == ["a.ibw"]
    path.write_bytes(path.read_bytes() + b"thumbnails" + b"0422 MFP3D")
    assert lab.looks(50) == []


def test_a_copy_under_another_name_is_the_same_scan(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.put("a.ibw")
    assert lab.looks(5) == ["a.ibw"]
    with caplog.at_level(logging.INFO):
        lab.put("copy of a.ibw")
        assert lab.looks(5) == []
    assert "which was already processed; it is skipped" in caplog.text


def test_scans_that_come_together_are_taken_in_the_order_of_recording(lab: Lab) -> None:
    for number, name in enumerate(["c.ibw", "b.ibw", "a.ibw"]):
        lab.put(name, seconds=10 * number, value=number)
    assert lab.looks(10) == ["c.ibw", "b.ibw", "a.ibw"]


def test_an_older_scan_that_arrives_while_a_newer_one_settles_goes_first(lab: Lab) -> None:
    lab.put("new.ibw", seconds=10)
    assert lab.looks(2) == []
    lab.put("old.ibw", seconds=0, value=1)
    assert lab.looks(10) == ["old.ibw", "new.ibw"]


def test_a_file_that_grows_without_end_holds_no_other_up_for_long(lab: Lab) -> None:
    lab.put("whole.ibw")
    found = []
    for length in range(30):
        (lab.folder / "growing.ibw").write_bytes(bytes(length))
        found += lab.looks(1)
    assert found == ["whole.ibw"]


def test_a_scan_recorded_long_before_the_last_one_is_left_out_and_said_so(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.put("new.ibw", seconds=100_000)
    assert lab.looks(5) == ["new.ibw"]
    lab.put("old.ibw", seconds=0, value=1)
    assert lab.looks(50) == []
    assert "recorded before the last scan that was processed; it is skipped (see --order)" in caplog.text


def test_it_is_taken_where_the_order_of_arrival_counts(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "scans", order="arrival")
    lab.looks(1)
    lab.put("new.ibw", seconds=100_000)
    assert lab.looks(5) == ["new.ibw"]
    lab.put("old.ibw", seconds=0, value=1)
    assert lab.looks(5) == ["old.ibw"]


def test_an_instruments_clock_that_is_set_back_by_an_hour_loses_no_scan(lab: Lab) -> None:
    os.utime(lab.put("summer.ibw", seconds=3600), (1e9, 1e9))
    assert lab.looks(5) == ["summer.ibw"]
    os.utime(lab.put("winter.ibw", seconds=600, value=1), (1e9 + 600, 1e9 + 600))
    assert lab.looks(5) == ["winter.ibw"]


@pytest.mark.parametrize("date", [0.0, 4e9], ids=["in 1970", "in 2096"])
def test_the_clock_of_the_file_server_does_not_matter(lab: Lab, date: float) -> None:
    os.utime(lab.put("a.ibw"), (date, date))
    assert lab.looks(5) == ["a.ibw"]
    os.utime(lab.put("b.ibw", seconds=60, value=1), (1e9, 1e9))
    assert lab.looks(5) == ["b.ibw"]


@pytest.mark.parametrize(
    ("existing", "expected"), [("none", []), ("newest", ["s9.ibw"]), ("all", [f"s{n}.ibw" for n in range(10)])]
)
def test_of_the_files_that_are_there_at_the_start_as_many_are_taken_as_was_said(
    tmp_path: Path, existing: str, expected: list[str]
) -> None:
    lab = Lab(tmp_path / "scans", existing=existing)
    for number in range(10):
        lab.put(f"s{number}.ibw", seconds=60 * number, value=number)
    assert lab.looks(10) == expected
    os.utime(lab.folder / "s3.ibw")  # by a backup
    assert lab.looks(10) == []
    lab.put("new.ibw", seconds=700, value=99)
    assert lab.looks(10) == ["new.ibw"]


def test_of_thousands_of_old_files_few_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, read = Lab(tmp_path / "scans"), []
    raw = lab.raw()
    for number in range(2000):
        (lab.folder / f"s{number}.ibw").write_bytes(raw)
    inspect = folder_watch.inspect_file
    monkeypatch.setattr(folder_watch, "inspect_file", lambda path, *rest: read.append(path) or inspect(path, *rest))
    assert len(lab.looks(5)) == 1
    assert len(read) < 40


def test_a_file_that_is_being_written_at_the_start_is_a_new_scan(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "scans", existing="none")
    lab.put("old.ibw")
    raw = lab.raw(seconds=600, value=1)
    (lab.folder / "new.ibw").write_bytes(raw[:500])
    assert lab.looks(10) == []
    (lab.folder / "new.ibw").write_bytes(raw)
    assert lab.looks(5) == ["new.ibw"]


def test_an_archive_that_is_copied_into_the_folder_is_old(lab: Lab) -> None:
    for number in range(60):
        lab.put(f"s{number}.ibw", seconds=60 * number, value=number)
    assert lab.looks(10) == ["s59.ibw"]


def test_a_share_that_goes_away_and_comes_back_brings_nothing_twice(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.put("a.ibw")
    assert lab.looks(5) == ["a.ibw"]
    away = lab.folder.rename(lab.folder.with_name("away"))
    with caplog.at_level(logging.INFO):
        assert lab.looks(30) == []
        lab.folder.mkdir()  # the mount point is there, and empty
        assert lab.looks(5) == []
        lab.folder.rmdir()
        away.rename(lab.folder)
        lab.put("b.ibw", seconds=60, value=1)
        assert lab.looks(5) == ["b.ibw"]
    assert caplog.text.count("cannot be read (No such file or directory); waiting until it is available again") <= 2
    assert "is available again\n" in caplog.text


def test_curves_are_known_and_left_out_without_a_warning(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        (lab.folder / "loop.ibw").write_bytes(encode_curves(CURVES, {"ScanSize": 1e-6}, datetime(2026, 1, 2, tzinfo=UTC)))
        image = lab.raw()
        (lab.folder / "force.ibw").write_bytes(image + b"IsImage:0;IsARDF:0; 0422 MFP3D")
        assert lab.looks(100) == []
    assert caplog.text.count("it is skipped") == 2
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("what", ["text", "damaged", "empty"])
def test_a_file_that_is_no_scan_is_told_of_once_and_taken_when_it_becomes_one(
    lab: Lab, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = lab.raw()
    content = {"text": b"dear diary", "damaged": raw[:100] + b"\x55" + raw[101:], "empty": b""}[what]
    (lab.folder / "a.ibw").write_bytes(content)
    assert lab.looks(300) == []
    assert caplog.text.count("it is ignored until it changes") == 1
    (lab.folder / "a.ibw").write_bytes(raw)
    assert lab.looks(5) == ["a.ibw"]


def test_a_file_that_is_locked_for_a_while_is_taken_afterwards(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = lab.put("a.ibw"), Path.read_bytes

    def locked(self: Path) -> bytes:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", locked)
        assert lab.looks(30) == []
    assert lab.looks(10) == ["a.ibw"]


def test_files_that_vanish_at_any_moment_do_no_harm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put("a.ibw")
    lab.looks(1)
    (lab.folder / "a.ibw").unlink()
    assert lab.looks(10) == []
    path = lab.put("b.ibw", value=1)
    load = folder_watch.load

    def gone(path: Path, *rest: object) -> object:
        path.unlink()
        return load(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(folder_watch, "load", gone)
        assert lab.looks(5) == []
    assert not path.exists()
    lab.put("b.ibw", value=1)
    assert lab.looks(5) == ["b.ibw"]


def test_a_file_that_changes_between_judgement_and_reading_is_judged_anew(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put("a.ibw")
    new, load = lab.raw(seconds=5, value=5), folder_watch.load

    def changed(path: Path, *rest: object) -> object:
        path.write_bytes(new)
        return load(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(folder_watch, "load", changed)
        assert lab.looks(3) == []
    assert lab.looks(10) == ["a.ibw"]


def test_a_scan_that_the_wire_cannot_carry_is_told_of_and_harms_nobody(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    write_scan(lab.folder / "a.ibw", BASE_S, **{f"Key{n}": n for n in range(5000)})
    assert lab.looks(100) == []
    assert "cannot be sent to an agent: " in caplog.text


@pytest.mark.slow
def test_an_nsid_file_is_a_scan_too(lab: Lab) -> None:
    write_nsid(lab.folder / "a.h5", Seconds=BASE_S)
    assert lab.looks(40) == ["a.h5"]


def test_a_look_ends_when_it_is_told_to(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "scans", existing="all")
    lab.put("a.ibw")
    lab.watch._stopped = lambda: True
    assert lab.looks(10) == []


def test_nothing_is_written_into_the_folder(lab: Lab) -> None:
    path = lab.put("a.ibw")
    before = path.stat().st_mtime_ns, sorted(lab.folder.iterdir()), lab.folder.stat().st_mtime_ns
    lab.looks(20)
    assert before == (path.stat().st_mtime_ns, sorted(lab.folder.iterdir()), lab.folder.stat().st_mtime_ns)


def test_a_header_that_promises_more_than_the_file_holds_is_waited_for(lab: Lab) -> None:
    raw = lab.raw()
    (lab.folder / "a.ibw").write_bytes(patched(raw, {12: ("<i", struct.unpack_from("<i", raw, 12)[0] + 500)}))
    assert lab.looks(30) == []

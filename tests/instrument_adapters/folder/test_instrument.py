"""A watched folder as an instrument: the outbox for the operator, and the results from the inbox."""

import csv
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.command_line.time_zone import parse_time_zone
from instrument_adapters.errors import InstrumentFaultError, LimitError
from instrument_adapters.folder.inbox import Inbox
from instrument_adapters.folder.instrument import FolderSettings, WatchedFolder
from instrument_adapters.folder.naming import sample_name
from instrument_adapters.folder.outbox import Outbox
from instrument_adapters.instrument import Halting, Instrument, Planning
from instrument_adapters.protocol.messages import MeasurementRequest, RecommendationMessage
from tests.instrument_adapters.conftest import NOW, FakeAgent, Runner
from tests.support.data.recordings import write_scan

BASE_S = 3.8e9
LVDT = {"XLVDTSens": -8e-6, "XLVDTOffset": 0.25, "YLVDTSens": 1e-5, "YLVDTOffset": -1.0}


class Desk:
    """A watched folder with an operator, whose actions are given in `at` by the time in seconds."""

    def __init__(self, place: Path, **settings: object) -> None:
        self.folder, self.outbox, self.inbox = place / "scans", place / "out" / "recommendations", place / "in"
        for folder in (self.folder, self.inbox):
            folder.mkdir(parents=True)
        self.now_s, self.stopped = 0.0, False
        self.at: dict[float, Callable[[], object]] = {}
        self.instrument = WatchedFolder(
            FolderSettings(**{"folder": self.folder, "zone": parse_time_zone("UTC"), **settings}),
            Outbox(place / "out", lambda: NOW),
            Inbox(self.inbox, lambda: self.now_s),
            pause=self._pause,
            close=lambda: setattr(self, "stopped", True),
            wall=lambda: self.now_s,
            clock=lambda: NOW + timedelta(seconds=self.now_s),
        )

    def _pause(self, seconds: float) -> bool:
        self.now_s += seconds
        for due in [s for s in self.at if s <= self.now_s]:
            self.at.pop(due)()
        assert self.now_s < 10_000, "nobody ends this"
        return self.stopped

    def save(self, name: str = "a.ibw", seconds: float = 0.0, value: float = 0.0, **note: object) -> None:
        write_scan(self.folder / name, BASE_S + seconds, value, **note)

    def plan(self, scan_id: str = "s", name: str = "r1", points: int = 2, **changes: object) -> tuple[MeasurementRequest, ...]:
        requests = tuple(
            MeasurementRequest(
                request_id=f"{name}-{n}", x_m=-3e-6 + n * 2e-7, y_m=4e-6, row=1, col=2, cluster=n, rank=0, core_distance=0.5
            )
            for n in range(points)
        )
        head = {"id": name, "sent_at": NOW, "seq": 1, "decision_id": "d1", "scan_id": scan_id, "reason": "walls"}
        self.instrument.plan(RecommendationMessage(**{**head, "requests": requests, **changes}))
        return requests

    def table(self, scan_id: str = "s") -> list[dict[str, str]]:
        with (self.outbox / f"{scan_id}.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def answer(self, text: str, name: str = "done.csv") -> None:
        (self.inbox / name).write_text(text, encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_it_is_an_instrument_that_wants_to_see_plans(desk: Desk) -> None:
    instrument: Instrument = desk.instrument
    assert isinstance(instrument, Planning)
    assert isinstance(instrument, Halting)
    assert (instrument.instrument_id, instrument.model) == ("folder", "Watched folder")


def test_a_scan_is_waited_for_and_named_after_file_and_content(desk: Desk) -> None:
    desk.at[20] = desk.save
    scan = desk.instrument.scan()
    assert scan.scan_id.startswith("a-")
    assert (scan.sample_id, scan.finished_at.tzname(), desk.now_s >= 22) == ("sample", "UTC", True)


def test_closing_it_ends_the_wait(desk: Desk) -> None:
    desk.at[5] = desk.instrument.close
    with pytest.raises(InstrumentFaultError, match="no longer watched"):
        desk.instrument.scan()


@pytest.mark.parametrize(
    ("name", "note", "settings", "expected"),
    [
        ("a.ibw", {}, {"sample_id": "bto-3"}, "bto-3"),
        ("a.ibw", {"Sample": "BTO 3/7 µ"}, {"sample_key": "Sample"}, "BTO_3_7"),
        ("a.ibw", {"Sample": "--"}, {"sample_key": "Sample"}, "sample"),
        ("monday/a.ibw", {}, {}, "monday"),
        ("monday/a.ibw", {"Sample": "x"}, {"sample_key": "Sample"}, "x"),
    ],
)
def test_the_sample_is_named_by_option_note_or_folder(
    tmp_path: Path, name: str, note: dict, settings: dict, expected: str
) -> None:
    folder = tmp_path / "scans"
    named = settings.get("sample_id") or sample_name(folder / name, folder, note, settings.get("sample_key"))
    assert named == expected


@pytest.mark.slow
@pytest.mark.parametrize(("text", "hours"), [("UTC", 0), ("+02:00", 2), ("UTC-5", -5), ("+0530", 5.5)])
def test_zones_are_told_by_their_offset(text: str, hours: float) -> None:
    assert parse_time_zone(text).utcoffset(None) == timedelta(hours=hours)
    assert parse_time_zone("local").utcoffset(NOW) is not None


@pytest.mark.parametrize("text", ["Middle/Earth", "+25:00", "", "../UTC", "/etc/passwd"])
def test_a_zone_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone; give one such as local, UTC"):
        parse_time_zone(text)


def test_points_are_written_down_as_a_person_needs_them(desk: Desk) -> None:
    desk.save(**LVDT)
    scan_id = desk.instrument.scan().scan_id
    desk.plan(scan_id, expires_at=NOW + timedelta(hours=1), approved_by="Ada")
    first, second = desk.table(scan_id)
    # the frame of 2 x 1 um is centred at (-3, 4): so is the first point, 1 and 0.5 um from its lower left corner
    assert [float(first[k]) for k in ("x_um", "y_um", "image_x_um", "image_y_um")] == [-3.0, 4.0, 1.0, 0.5]
    assert (float(first["x_V"]), float(first["y_V"])) == pytest.approx((-3e-6 / 8e-6 + 0.25, 4e-6 / 1e-5 - 1.0))
    assert (second["order"], second["cluster"], second["x_um"], second["status"]) == ("2", "1", "-2.8", "")
    assert (first["approved_by"], first["expires_at"]) == ("Ada", "2026-01-02T04:04:05+00:00")
    page = json.loads((desk.outbox / f"{scan_id}.json").read_text(encoding="utf-8"))
    assert (page["reason"], page["points"][1]["request_id"], page["sample_id"]) == ("walls", "r1-1", "sample")
    assert sorted(p.suffix for p in desk.outbox.iterdir()) == [".csv", ".json"]


def test_a_name_that_a_spreadsheet_would_take_for_a_formula_is_none(desk: Desk) -> None:
    desk.plan(approved_by="=1+1")
    assert desk.table()[0]["approved_by"] == "'=1+1"


def test_what_somebody_may_be_filling_in_is_not_written_again(desk: Desk) -> None:
    desk.plan()
    (desk.outbox / "s.csv").write_text("half filled in")
    desk.plan(points=1)
    assert (desk.outbox / "s.csv").read_text() == "half filled in"
    desk.plan(name="r2")
    assert desk.table()[0]["request_id"] == "r2-0"


@pytest.mark.attack(
    "symbolic links under the temporary names of the outbox",
    promise="the points are written, and the targets of the links stay as they are",
)
def test_links_under_the_temporary_names_of_the_outbox_are_not_followed(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    desk.outbox.mkdir(parents=True)
    for name in (".s.csv.part", ".s.json.part"):
        (desk.outbox / name).symlink_to(victim)
    desk.plan()
    assert victim.read_text() == "mine"
    assert [row["request_id"] for row in desk.table()] == ["r1-0", "r1-1"]
    assert sorted(p.name for p in desk.outbox.iterdir()) == ["s.csv", "s.json"]


def test_nothing_to_recommend_writes_nothing(desk: Desk) -> None:
    desk.plan(points=0)
    assert not desk.outbox.exists()


def test_without_waiting_each_point_is_skipped_with_the_place_of_the_table(desk: Desk) -> None:
    with pytest.raises(LimitError, match=r"does not wait for results \(see --wait-results\); the point is listed in .*s\.csv"):
        desk.instrument.measure(desk.plan()[0])


def test_an_outbox_that_cannot_be_written_skips_the_points(desk: Desk) -> None:
    desk.outbox.parent.parent.joinpath("out").write_text("a file")
    request, _ = desk.plan()
    with pytest.raises(LimitError, match="points cannot be written to"):
        desk.instrument.measure(request)


@pytest.mark.slow
def test_a_point_outside_the_range_is_refused(desk: Desk) -> None:
    request = desk.plan()[0].model_copy(update={"x_m": 1.0})
    with pytest.raises(LimitError, match="outside the stage's range"):
        desk.instrument.measure(request)


def test_the_filled_in_table_gives_results(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    done, left, failed = desk.plan(points=3)
    desk.at[30] = lambda: desk.answer(
        "request_id,x_um,status,reason,coercive_V,order\nr1-0,-2.99,ok,fine,2.5,1\nr1-1,,Skipped,a scratch,,2\nr1-2,,failed,,,3\n"
    )
    measured = desk.instrument.measure(done)
    assert 30 <= desk.now_s < 40
    assert (measured.x_m, measured.y_m, measured.parameters, measured.remark) == (
        pytest.approx(-2.99e-6), 4e-6, {"coercive_V": 2.5}, "fine",
    )  # fmt: skip
    with pytest.raises(LimitError, match="a scratch"):
        desk.instrument.measure(left)
    with pytest.raises(InstrumentFaultError, match="gave no reason"):
        desk.instrument.measure(failed)


def test_a_table_can_be_saved_again_and_again_while_it_fills(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    first, second = desk.plan()
    desk.at[10] = lambda: desk.answer("request_id,status,a_V\nr1-0,ok,1\nr1-1,,\n")
    desk.at[20] = lambda: desk.answer("request_id,status,a_V\nr1-0,ok,1\nr1-1,ok,2\n")
    assert desk.instrument.measure(first).parameters == {"a_V": 1.0}
    assert desk.instrument.measure(second).parameters == {"a_V": 2.0}


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    request, _ = desk.plan()
    whole = '[{"request_id": "r1-0", "status": "ok", "parameters": {"a_V": 1}}]'
    for second in range(10, 20):
        desk.at[second] = lambda n=second: desk.answer(whole[: 3 * (n - 9)], "a.json")
    desk.at[20] = lambda: desk.answer(whole, "a.json")
    assert desk.instrument.measure(request).parameters == {"a_V": 1.0}
    assert not [r for r in caplog.records if r.levelname != "INFO"]  # other tests may have set the level of the root logger


def test_a_loop_comes_along_as_a_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    request, _ = desk.plan()
    desk.answer("bias_V,response\n-1,0\n1,2.5\n", "loop.csv")
    desk.answer("request_id,status,loop_file\nr1-0,ok,loop.csv\n")
    arrays = desk.instrument.measure(request).arrays
    np.testing.assert_array_equal(arrays["response"], [0, 2.5])


def test_waiting_ends_when_the_time_has_passed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=100)
    first, second = desk.plan()
    for request in (first, second):
        with pytest.raises(LimitError, match="no result was given for this point: 100 s have passed"):
            desk.instrument.measure(request)
    assert desk.now_s < 105, "it is counted from the recommendation, not for each point"


@pytest.mark.attack(
    "the outbox's table filled in and saved where it is",
    promise="a table that is filled in in the outbox is reported, with where to save it",
)
def test_a_table_filled_in_in_the_outbox_is_reported_when_waiting_ends(tmp_path: Path) -> None:
    desk, reported = Desk(tmp_path, wait_results_s=100), []
    desk.instrument.tell_troubles(lambda event, sentence: reported.append((event, sentence)))
    first, second = desk.plan()
    table = desk.outbox / "s.csv"
    desk.at[10] = lambda: table.write_text(table.read_text("utf-8-sig").replace("policy,,", "policy,ok,"), "utf-8")
    for request in (first, second):
        with pytest.raises(LimitError, match="100 s have passed"):
            desk.instrument.measure(request)
    assert reported == [("results_unused", f"{table} is filled in, but results are read from {desk.inbox} only; save it there")]


def test_waiting_ends_when_the_recommendation_expires(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    request, _ = desk.plan(expires_at=NOW + timedelta(seconds=50))
    with pytest.raises(LimitError, match="has expired"):
        desk.instrument.measure(request)
    assert desk.now_s < 60


def test_waiting_ends_when_a_newer_scan_is_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    desk.save()
    request, _ = desk.plan(desk.instrument.scan().scan_id)
    desk.at[60] = lambda: desk.save("b.ibw", 600, 1)
    with pytest.raises(LimitError, match="a newer scan has appeared"):
        desk.instrument.measure(request)
    assert 60 < desk.now_s < 80
    assert desk.instrument.scan().scan_id.startswith("b-")


def test_closing_it_ends_the_wait_for_results(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    request, _ = desk.plan()
    desk.at[5] = desk.instrument.close
    with pytest.raises(InstrumentFaultError, match="stopped while it waited"):
        desk.instrument.measure(request)


def test_an_emergency_stop_ends_every_wait_until_it_is_released(tmp_path: Path) -> None:
    desk = Desk(tmp_path, wait_results_s=3600)
    request, _ = desk.plan()
    desk.at[5] = desk.instrument.halt
    for wait in (lambda: desk.instrument.measure(request), desk.instrument.scan):
        with pytest.raises(InstrumentFaultError, match="until it is resumed"):
            wait()
    assert desk.now_s <= 6
    desk.instrument.release()
    desk.save()
    assert desk.instrument.scan().scan_id.startswith("a-")


def test_a_client_sees_a_whole_cycle_through(tmp_path: Path, agent: FakeAgent, client: Runner) -> None:
    desk, stop = Desk(tmp_path), threading.Event()
    desk.save()
    instrument = WatchedFolder(
        FolderSettings(folder=desk.folder, zone=parse_time_zone("UTC"), poll_s=0.01),
        Outbox(tmp_path / "out", lambda: NOW),
        Inbox(desk.inbox, Clock()),
        pause=stop.wait,
        close=stop.set,
        wall=Clock(),
        clock=lambda: NOW,
    )
    report = client(instrument, agent.address, cycles=1, clock=lambda: NOW)
    assert replace(report, scans_sent=0) == replace(report, scans_sent=0, cycles=1, results_skipped=2)
    (table,) = desk.outbox.glob("*.csv")
    assert table.read_text(encoding="utf-8-sig").count("\n") == 3


class Clock:
    """A clock that advances by a second at each call."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        self.s += 1
        return self.s


def test_what_is_wrong_with_files_is_told_to_who_listens_in_place_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk, reported = Desk(tmp_path, wait_results_s=60.0), []
    desk.instrument.tell_troubles(lambda event, sentence: reported.append((event, sentence)))
    desk.at = {
        2.0: lambda: (desk.folder / "torn.ibw").write_bytes(b"no wave"),
        3.0: lambda: (desk.inbox / "r.csv").write_text("request_id,status\nr,great\n"),
        2000.0: desk.save,
    }
    desk.instrument.scan()
    (torn,) = reported
    assert torn[0] == "file_damaged"
    assert "torn.ibw" in torn[1]
    assert torn[1].endswith("it is ignored until it changes")
    (request, _) = desk.plan()
    with pytest.raises(LimitError):
        desk.instrument.measure(request)
    assert [event for event, _ in reported] == ["file_damaged", "results_unreadable"]
    assert not [r for r in caplog.records if r.levelname == "WARNING"]

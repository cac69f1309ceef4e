"""Recorded data as an instrument: results, refusals and timing."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.errors import InstrumentFaultError, LimitError, ScanFileError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import Instrument, Streaming
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import MeasurementRequest, ResultMessage
from instrument_adapters.replay.instrument import LOOP_S, Loops, RecordedScan, Replay
from instrument_adapters.replay.mexpsimu import data_folder
from instrument_adapters.replay.pacing import Pace
from instrument_adapters.replay.sources import open_source
from instrument_adapters.scan import Scan
from tests.support.data.recordings import BIAS_V, SIDE, spectra, write_films, write_nsid, write_scan

FRAME = Frame(size_fast_m=4e-6, size_slow_m=3e-6, x_offset_m=1e-6, rows=4, cols=5)  # a pixel is 1 um
THEN = datetime(2020, 5, 6, tzinfo=UTC)


def at(x_m: float, y_m: float) -> MeasurementRequest:
    return MeasurementRequest(request_id="r", x_m=x_m, y_m=y_m, row=0, col=0, cluster=0, rank=0, core_distance=0.0)


def recording(scan_id: str = "s", loops: Loops | None = None, **fields: object) -> RecordedScan:
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    return RecordedScan(Scan({"Amplitude": image}, {"Amplitude": "m"}, FRAME, scan_id), line_s=2.0, loops=loops, **fields)


def replay(*recordings: RecordedScan, **options: object) -> Replay:
    return Replay([lambda one=one: one for one in recordings], **options)


TWO_LOOPS = Loops(
    xy_m=np.array([[0.0, 0.0], [2e-6, 0.0]]),
    bias_V=np.array([0.0, 1.0, -1.0]),
    responses=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    parameters={"area_auV": np.array([7.0, 8.0])},
)


class Wall:
    """A wall clock that advances only during sleep."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def test_it_is_an_instrument_that_can_be_seen_at_work() -> None:
    instrument: Instrument = replay(recording())
    assert isinstance(instrument, Streaming)
    assert instrument.limits.spacing_min_m == 0


def test_a_point_is_answered_by_the_nearest_record_at_the_records_place_with_the_distance() -> None:
    measured = replay(recording(loops=TWO_LOOPS)).measure(at(1.6e-6, 0.3e-6))
    assert (measured.x_m, measured.y_m) == (2e-6, 0.0)
    assert measured.remark == "recorded 500.0 nm from the point"
    assert measured.arrays["response"].tolist() == [4.0, 5.0, 6.0]
    assert measured.arrays["bias_V"].tolist() == [0.0, 1.0, -1.0]
    assert measured.parameters == {"area_auV": 8.0}


def test_on_a_record_there_is_nothing_to_remark() -> None:
    assert replay(recording(loops=TWO_LOOPS)).measure(at(2e-6, 0.0)).remark == ""


@pytest.mark.parametrize(
    ("point", "options", "reason"),
    [
        ((3.1e-6, 0.0), {}, "x = 3.100 um is outside the stage's range -1.0 to 3.0 um"),
        ((-0.5e-6, 1.4e-6), {}, r"nearest to \(-0.500, 1.400\) um is 1486.6 nm away, at most 1000.0 nm are allowed"),
        ((0.4e-6, 0.0), {"farthest_m": 0.3e-6}, "is 400.0 nm away, at most 300.0 nm"),
    ],
)
def test_outside_the_frame_or_far_from_any_record_a_point_is_refused(point, options, reason: str) -> None:
    instrument = replay(recording(loops=TWO_LOOPS), **options)
    with pytest.raises(LimitError, match=reason):
        instrument.measure(at(*point))
    assert instrument.pace.elapsed_s == 0


def test_inside_the_range_of_all_frames_but_outside_the_latest_a_point_is_refused() -> None:
    far = recording("far", TWO_LOOPS)
    moved = FRAME.model_copy(update={"x_offset_m": 20e-6})
    other = RecordedScan(Scan(far.scan.channels, {}, moved, "other"), 1.0, loops=TWO_LOOPS)
    instrument = replay(far, other)
    assert instrument.limits.x_max_m == pytest.approx(22e-6)
    with pytest.raises(LimitError, match="no scan has been replayed since the replay was started"):
        instrument.measure(at(0, 0))
    instrument.scan()
    with pytest.raises(LimitError, match="outside the recorded frame"):
        instrument.measure(at(20e-6, 0))
    instrument.measure(at(0, 0))


def test_the_corners_of_a_turned_frame_are_within_the_limits() -> None:
    turned = FRAME.model_copy(update={"angle_rad": 0.7})
    one = RecordedScan(Scan(recording().scan.channels, {}, turned, "turned"), 1.0)
    instrument = replay(one)
    corners = turned.to_metres(np.array([[0.0, 0], [0, 4], [3, 0], [3, 4]]))
    for x_m, y_m in corners:
        with pytest.raises(LimitError, match="holds no loops"):
            instrument.measure(at(float(x_m), float(y_m)))


def test_without_loops_every_point_is_refused_with_the_reason() -> None:
    with pytest.raises(LimitError, match="this recording holds no loops"):
        replay(recording()).measure(at(0, 0))


def test_after_the_last_recording_the_first_comes_again_under_a_new_id() -> None:
    instrument = replay(recording("a"), recording("b" * 96), first_scan=2)
    ids = [instrument.scan().scan_id for _ in range(4)]
    assert ids == ["b" * 96, "a-2", "b" * 94 + "-2", "a-3"]


def test_times_go_on_from_the_recording() -> None:
    timed = Scan(recording().scan.channels, {}, FRAME, "s", started_at=THEN - timedelta(seconds=8), finished_at=THEN)
    instrument = replay(RecordedScan(timed, 2.0, loops=TWO_LOOPS))
    first = instrument.scan()
    assert (first.started_at, first.finished_at) == (timed.started_at, THEN)
    assert instrument.measure(at(0, 0)).measured_at == THEN + timedelta(seconds=LOOP_S)
    again = instrument.scan()
    assert again.started_at == THEN + timedelta(seconds=LOOP_S)
    assert again.finished_at == THEN + timedelta(seconds=LOOP_S + 8)


@pytest.mark.parametrize(("downwards", "rows"), [(False, [0, 1, 2, 3]), (True, [3, 2, 1, 0])])
def test_lines_come_one_by_one_in_the_order_and_at_the_time_of_recording(downwards: bool, rows: list[int]) -> None:
    wall, seen = Wall(), []

    def on_lines(lines: Lines) -> None:
        seen.append((wall.now_s, lines.first_row))
        assert np.array_equal(lines.channels["Amplitude"], scan_of.channels["Amplitude"][[lines.first_row]])

    one = recording(downwards=downwards)
    scan_of = one.scan
    instrument = replay(one, pace=Pace(4.0, sleep=wall.sleep, wall=wall))
    assert instrument.scan_in_lines(on_lines).scan_id == "s"
    assert seen == list(zip([0.5, 1.0, 1.5, 2.0], rows, strict=True))
    assert instrument.pace.elapsed_s == 8.0


def test_the_time_that_showing_a_line_takes_is_made_up_for() -> None:
    wall = Wall()

    def slow(_: Lines) -> None:
        wall.now_s += 0.3

    replay(recording(), pace=Pace(4.0, sleep=wall.sleep, wall=wall)).scan_in_lines(slow)
    assert wall.slept == pytest.approx([0.5, 0.2, 0.2, 0.2])


def test_at_once_nothing_waits_and_no_lines_are_told() -> None:
    instrument = replay(recording(), pace=Pace(sleep=lambda _: pytest.fail("it waited")))
    instrument.scan_in_lines(lambda _: pytest.fail("a line was sent"))
    assert instrument.pace.elapsed_s == 8.0


def test_closing_wakes_a_replay_that_waits_and_it_stays_closed() -> None:
    instrument = replay(recording(loops=TWO_LOOPS), pace=Pace(1e-3))
    threading.Timer(0.05, instrument.close).start()
    with pytest.raises(InstrumentFaultError, match="the replay was stopped"):
        instrument.scan()
    with pytest.raises(InstrumentFaultError, match="the replay was stopped"):
        instrument.measure(at(0, 0))


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pace_that_makes_no_sense_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        Pace(speed)


def test_a_film_is_replayed_with_its_causal_image_and_the_loops_of_the_later_cycles(tmp_path: Path) -> None:
    (read,) = open_source("mexpsimu:1d3um", write_films(tmp_path))
    instrument = Replay([read])
    scan = instrument.scan()
    assert (scan.scan_id, scan.sample_id, scan.frame.size_fast_m) == ("mexpsimu-1d3um", "mexpsimu-1d3um", pytest.approx(1.3e-6))
    assert np.array_equal(scan.channels["Amplitude"], np.abs(spectra()[:, :, 0]).astype(np.float32))
    (x_m, y_m) = scan.frame.to_metres(np.array([[3.0, 7.0]]))[0]
    pitch_m = scan.frame.pitch_m[0]
    measured = instrument.measure(at(float(x_m) + 0.3 * pitch_m, float(y_m)))
    assert (measured.x_m, measured.y_m) == pytest.approx((x_m, y_m))
    assert np.allclose(measured.arrays["response"], spectra()[3, 7, 16:32])
    assert np.array_equal(measured.arrays["bias_V"], BIAS_V[:16])
    height = 1 + (3 * SIDE + 7) / SIDE**2
    assert measured.parameters["span_au"] == pytest.approx(2 * height)
    assert measured.parameters["switching_up_V"] == pytest.approx(6, abs=1.5)
    assert measured.parameters["switching_down_V"] == pytest.approx(-6, abs=1.5)
    assert abs(measured.parameters["area_auV"]) == pytest.approx(2 * height * 12, rel=0.2)


def test_a_loop_with_a_gap_answers_for_no_point(tmp_path: Path) -> None:
    values = spectra()
    values[3, 7, 20] = np.nan
    (read,) = open_source("mexpsimu:3um", write_films(tmp_path, values))
    instrument = Replay([read], farthest_m=1e-9)
    (x_m, y_m) = instrument.scan().frame.to_metres(np.array([[3.0, 7.0]]))[0]
    with pytest.raises(LimitError, match=r"130\.4 nm away"):
        instrument.measure(at(float(x_m), float(y_m)))


def test_the_films_come_in_turn_each_as_a_sample_of_its_own(tmp_path: Path) -> None:
    instrument = Replay(open_source("mexpsimu", write_films(tmp_path)))
    assert [instrument.scan().sample_id for _ in range(3)] == ["mexpsimu-1d3um", "mexpsimu-1d7um", "mexpsimu-3um"]


def test_a_folder_is_replayed_in_the_order_of_recording_whatever_its_files_are_called(tmp_path: Path) -> None:
    for name, seconds in (("b", 3.8e9), ("a", 3.8e9 + 900), ("c", 3.8e9 - 900)):
        write_scan(tmp_path / f"{name}.ibw", seconds, value=seconds)
    (tmp_path / "notes.txt").write_text("no scan")
    instrument = Replay(open_source(str(tmp_path), sample_id="pzt"))
    scans = [instrument.scan() for _ in range(3)]
    assert [scan.scan_id[:2] for scan in scans] == ["c-", "b-", "a-"]
    assert {scan.sample_id for scan in scans} == {"pzt"}


@pytest.mark.slow
def test_files_that_do_not_say_when_they_were_recorded_come_by_name_and_9_before_10(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        write_nsid(tmp_path / f"scan_{number}.h5", OldScanSize=float(number))
    instrument = Replay(open_source(str(tmp_path)))
    assert [instrument.scan().scan_id.split("-")[0] for _ in range(3)] == ["scan_9", "scan_10", "scan_100"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("note", "line_s"),
    [
        ({"Seconds": 3.8e9}, 0.5),
        ({}, 0.5),
        ({"NapMode": 1}, 1.0),
        ({"Seconds": 3.8e9, "NapMode": 1}, 1.0),
        ({"ScanRate": "?"}, 1.0),
    ],
)
def test_a_line_takes_as_long_as_its_note_says(tmp_path: Path, note: dict[str, object], line_s: float) -> None:
    (read,) = open_source(str(write_nsid(tmp_path / "a.h5", **note)))
    assert read().line_s == pytest.approx(line_s)
    assert read().downwards
    assert read().loops is None


SHORT = BIAS_V[:16]
BAD_FILMS = [
    (lambda folder: None, "is missing; fetch mexpsimu with: make reference"),
    (lambda folder: (folder / "PTO_BEPS_3um.npz").write_bytes(b"no zip"), "is damaged or not a file of mexpsimu"),
    (lambda folder: np.savez(folder / "PTO_BEPS_3um.npz", image=np.zeros(3)), "is damaged or not a file of mexpsimu"),
    (lambda folder: write_films(folder, np.array([{"code": 1}], dtype=object)), "is damaged or not a file of mexpsimu"),
    (lambda folder: write_films(folder, np.zeros((4, 4, 7))), "spectra of shape"),
    (lambda folder: write_films(folder, np.zeros((4, 4, 16)), SHORT), "not consist of two or more equal cycles"),
    (lambda folder: write_films(folder, np.zeros((4, 4, 32)), np.zeros(32)), "not consist of two or more equal cycles"),
    (lambda folder: write_films(folder, np.zeros((4, 4, 48)), -BIAS_V), "not consist of two or more equal cycles"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("write", "reason"), BAD_FILMS, ids=[str(i) for i in range(len(BAD_FILMS))])
def test_a_film_that_is_none_is_refused_in_one_sentence(tmp_path: Path, write, reason: str) -> None:
    write(tmp_path)
    with pytest.raises(ScanFileError, match=reason) as refused:
        Replay(open_source("mexpsimu:3um", tmp_path))
    assert "\n" not in str(refused.value)


def test_what_cannot_be_replayed_is_refused_before_anything_is_replayed(tmp_path: Path) -> None:
    with pytest.raises(ScanFileError, match="there is no file or folder"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(ScanFileError, match="holds no scan files"):
        open_source(str(tmp_path))
    with pytest.raises(ScanFileError, match="--data is allowed only with the source 'mexpsimu'"):
        open_source(str(tmp_path), tmp_path)
    with pytest.raises(ScanFileError, match="mexpsimu has no film '9um'; it has 1d3um, 1d7um, 3um"):
        Replay(open_source("mexpsimu:9um", tmp_path))
    write_scan(tmp_path / "good.ibw", 3.8e9)
    (tmp_path / "bad.ibw").write_bytes(b"nothing")
    with pytest.raises(ScanFileError, match=r"bad\.ibw is not an Igor binary wave"):
        open_source(str(tmp_path))


def test_a_client_sends_what_a_replay_measured_and_what_it_refused(agent, client, tmp_path: Path) -> None:
    agent.points = lambda _: [(0.01e-6, 0.0), (0.7e-6, 0.0)]
    instrument = Replay(open_source("mexpsimu:1d3um", write_films(tmp_path)))
    report = client(instrument, agent.address, cycles=2)
    assert (report.scans_sent, report.results_ok, report.results_skipped) == (2, 2, 2)
    ok, skipped = agent.got(ResultMessage)[:2]
    assert ok.reason.endswith("nm from the point")
    assert set(ok.parameters) == {"area_auV", "span_au", "mean_au", "switching_down_V", "switching_up_V"}
    assert "outside the stage's range" in skipped.reason


def test_of_the_real_films_the_image_that_knows_the_loops_is_not_shown() -> None:
    try:
        folder = data_folder()
    except ScanFileError as error:
        pytest.skip(str(error))
    (read,) = open_source("mexpsimu:1d3um")
    scan, loops = read().scan, read().loops
    assert loops is not None
    assert loops.responses.shape == (65 * 65, 64)
    with np.load(folder / "PTO_BEPS_1d3um.npz") as data:
        leaking, mean = data["image"].ravel(), np.abs(data["spectra"]).mean(axis=2).ravel()
    assert np.corrcoef(leaking, mean)[0, 1] > 0.99
    assert np.corrcoef(scan.channels["Amplitude"].ravel(), mean)[0, 1] < 0.95


@pytest.mark.slow
def test_the_real_scans_are_replayed_as_they_are_read(shared_data: Path) -> None:
    (ibw,) = open_source(str(shared_data / "scan_0001.ibw"))
    assert ibw().line_s == pytest.approx(1 / 0.40064, rel=1e-4)
    pzt = Replay([partial(read) for read in open_source(str(shared_data))][-1:])
    assert pzt.scan().frame.rows == 256

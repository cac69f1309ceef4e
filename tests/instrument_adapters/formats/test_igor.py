import io
import math
import struct
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import igor2.binarywave
import numpy as np
import pytest

from instrument_adapters.errors import NoImageError, ScanFileError
from instrument_adapters.folder.file_content import inspect_file
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.instrument_note import parse_note
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.formats.source import DECODED_BYTES_MAX
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.controller.ibw import encode_curves, encode_ibw, write_ibw
from tests.support.cpu import scaled

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "scan_0001.ibw"
needs_real_file = pytest.mark.skipif(not REAL.exists(), reason="no recorded scan on this machine: ../shared/data is missing")

UNITS = {"HeightRetrace": "m", "Phase1Retrace": "deg", "FrequencyRetrace": "Hz", "UserIn0Trace": "V"}


def make_scan(frame: Frame, **changes: object) -> Scan:
    rng = np.random.default_rng(0)
    images = {name: rng.normal(size=(frame.rows, frame.cols)).astype(np.float32) for name in UNITS}
    return replace(Scan(images, UNITS, frame, "scan"), **changes)


FRAME = Frame(size_fast_m=4e-6, size_slow_m=2e-6, x_offset_m=10e-6, y_offset_m=-5e-6, rows=3, cols=5)
SCAN = make_scan(FRAME)


def with_note(raw: bytes, note: bytes) -> bytes:
    """`raw` with another note; its size and the checksum are corrected."""
    wave, old, labels = (struct.unpack_from("<i", raw, at)[0] for at in (4, 12, 44))
    data_end = 64 + wave
    assert len(raw) == data_end + old + labels
    return patched(raw[:data_end] + note + raw[data_end + old :], {12: ("<i", len(note))})


def patched(raw: bytes, fields: dict[int, tuple[str, object]]) -> bytes:
    """`raw` with header fields (offset -> format, value) replaced; the checksum is corrected."""
    out = bytearray(raw)
    for at, (form, value) in {**fields, 2: ("<h", 0)}.items():
        struct.pack_into(form, out, at, value)
    words = int(np.frombuffer(bytes(out[:384]), "<i2").sum(dtype=np.int64))
    struct.pack_into("<h", out, 2, int(np.int64(-words).astype(np.int16)))
    return bytes(out)


def note_of(**changes: object) -> bytes:
    entries = {"FastScanSize": 4e-6, "SlowScanSize": 2e-6, "XOffset": 0, "YOffset": 0, "ScanAngle": 0, **changes}
    return "".join(f"{key}: {value}\r" for key, value in entries.items() if value is not None).encode()


def read_raw(tmp_path: Path, raw: bytes) -> Scan:
    path = tmp_path / "some.ibw"
    path.write_bytes(raw)
    return read_ibw(path)


def test_a_bright_pixel_lands_at_its_hand_computed_place(tmp_path: Path) -> None:
    image = np.zeros((3, 5), np.float32)
    image[0, 4] = 7.0  # lower right: +2 µm along fast, -1 µm along slow from the centre
    write_ibw(tmp_path / "a.ibw", replace(SCAN, channels={"HeightRetrace": image}))
    scan = read_ibw(tmp_path / "a.ibw")
    where = np.argwhere(scan.channels["HeightRetrace"] == 7.0)
    np.testing.assert_allclose(scan.frame.to_metres(where.astype(float)), [[12e-6, -6e-6]], atol=1e-15)


def test_a_bright_pixel_of_a_rotated_scan_lands_at_its_hand_computed_place(tmp_path: Path) -> None:
    image = np.zeros((3, 5), np.float32)
    image[2, 4] = 7.0  # f = +2 µm, s = +1 µm; at 90 degrees x = s + 10 µm, y = -f - 5 µm
    turned = FRAME.model_copy(update={"angle_rad": np.pi / 2})
    write_ibw(tmp_path / "a.ibw", replace(SCAN, channels={"HeightRetrace": image}, frame=turned))
    scan = read_ibw(tmp_path / "a.ibw")
    where = np.argwhere(scan.channels["HeightRetrace"] == 7.0)
    np.testing.assert_allclose(scan.frame.to_metres(where.astype(float)), [[11e-6, -7e-6]], atol=1e-15)


def test_the_first_number_in_the_file_runs_along_the_fast_axis(tmp_path: Path) -> None:
    """The bytes are written by hand here, so that reader and writer cannot share a mistake."""
    raw = bytearray(encode_ibw(replace(SCAN, channels={"HeightRetrace": np.zeros((3, 5), np.float32)})))
    raw[384 : 384 + 60] = np.arange(15, dtype="<f4").tobytes()  # Igor: the first index, fast, changes first
    image = read_raw(tmp_path, bytes(raw)).channels["HeightRetrace"]
    assert image[0, 1] == 1.0
    assert image[1, 0] == 5.0
    assert image[2, 4] == 14.0


def test_times_come_back_and_the_zone_is_the_readers_choice(tmp_path: Path) -> None:
    end = datetime(2024, 8, 20, 8, 30, 46, tzinfo=UTC)
    write_ibw(tmp_path / "a.ibw", replace(SCAN, started_at=end - timedelta(seconds=6), finished_at=end))
    scan = read_ibw(tmp_path / "a.ibw")
    assert (scan.started_at, scan.finished_at) == (end - timedelta(seconds=6), end)
    there = read_ibw(tmp_path / "a.ibw", timezone(timedelta(hours=-4)))
    assert there.finished_at == end + timedelta(hours=4)


def test_a_scan_without_a_clock_has_no_times(tmp_path: Path) -> None:
    for seconds in (None, "nan", "-5", "1e300", "yesterday"):
        scan = read_raw(tmp_path, with_note(encode_ibw(SCAN), note_of(Seconds=seconds)))
        assert (scan.started_at, scan.finished_at) == (None, None)


def test_nap_mode_leaves_the_beginning_open(tmp_path: Path) -> None:
    note = note_of(Seconds=3806987446.857, ScanRate=1.0, NapMode=2)
    scan = read_raw(tmp_path, with_note(encode_ibw(SCAN), note))
    assert scan.started_at is None
    assert scan.finished_at == datetime(2024, 8, 20, 8, 30, 46, 857000, tzinfo=UTC)


@pytest.mark.slow
def test_nan_survives(tmp_path: Path) -> None:
    image = np.full((3, 5), np.nan, np.float32)
    image[1, 2] = 1.0
    write_ibw(tmp_path / "a.ibw", replace(SCAN, channels={"HeightRetrace": image}))
    np.testing.assert_array_equal(read_ibw(tmp_path / "a.ibw").channels["HeightRetrace"], image)


def test_a_single_layer_saved_as_a_matrix_is_a_scan(tmp_path: Path) -> None:
    raw = encode_ibw(replace(SCAN, channels={"HeightRetrace": np.ones((3, 5), np.float32)}))
    assert list(read_raw(tmp_path, patched(raw, {140: ("<i", 0)})).channels) == ["HeightRetrace"]


def test_the_tail_of_an_older_label_is_not_read(tmp_path: Path) -> None:
    raw = bytearray(encode_ibw(replace(SCAN, channels={"Phase1": np.ones((3, 5), np.float32)}, units={})))
    raw[-32:] = b"Phase1\0Retracece".ljust(32, b"\0")
    assert list(read_raw(tmp_path, bytes(raw)).channels) == ["Phase1"]


def test_scan_size_and_ratios_stand_in_for_missing_sides(tmp_path: Path) -> None:
    """A SlowRatio / FastRatio above 1 divides the fast side, below 1 it multiplies the slow side; the wave has no scaling."""
    raw = patched(encode_ibw(SCAN), {216: ("<8s", bytes(8))})
    for fast, slow, expected in ((1, 0.5, (4e-6, 2e-6)), (1, 4, (1e-6, 4e-6)), (None, None, (4e-6, 4e-6))):
        note = note_of(FastScanSize=None, SlowScanSize=None, ScanSize=4e-6, FastRatio=fast, SlowRatio=slow)
        frame = read_raw(tmp_path, with_note(raw, note)).frame
        assert (frame.size_fast_m, frame.size_slow_m) == pytest.approx(expected)


def test_the_waves_scaling_stands_in_for_sizes_that_the_note_lacks(tmp_path: Path) -> None:
    frame = read_raw(tmp_path, with_note(encode_ibw(SCAN), note_of(FastScanSize=None, SlowScanSize=None))).frame
    assert (frame.size_fast_m, frame.size_slow_m) == pytest.approx((4e-6, 2e-6))


BAD_NOTES = [
    (note_of(XOffset=None), "has no XOffset"),
    (note_of(YOffset="nan"), "YOffset: 'nan'"),
    (note_of(ScanAngle="steep"), "ScanAngle: 'steep'"),
    (note_of(FastScanSize=-1e-6), "must be positive"),
    (note_of(FastScanSize=5e-6), "must agree to 0.01 %"),
    (note_of(SlowScanSize=3e-6), "must agree to 0.01 %"),
    (b"", "has no XOffset"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("note", "message"), BAD_NOTES)
def test_a_note_that_does_not_place_the_pixels_is_refused(tmp_path: Path, note: bytes, message: str) -> None:
    with pytest.raises(ScanFileError, match=message):
        read_raw(tmp_path, with_note(encode_ibw(SCAN), note))


def test_neither_note_nor_wave_giving_a_size_is_refused(tmp_path: Path) -> None:
    raw = patched(encode_ibw(SCAN), {216: ("<8s", bytes(8))})
    with pytest.raises(ScanFileError, match="neither FastScanSize nor ScanSize"):
        read_raw(tmp_path, with_note(raw, note_of(FastScanSize=None)))


@pytest.mark.parametrize("pitch", [float("nan"), float("inf"), -1e-6, 0.0])
def test_a_senseless_pitch_is_refused(tmp_path: Path, pitch: float) -> None:
    with pytest.raises(ScanFileError, match="axis"):
        read_raw(tmp_path, patched(encode_ibw(SCAN), {148: ("<d", pitch)}))


def test_a_file_cut_at_any_length_is_refused(tmp_path: Path) -> None:
    raw = encode_ibw(SCAN)
    for length in range(len(raw)):
        with pytest.raises(ScanFileError):
            read_raw(tmp_path, raw[:length])
    read_raw(tmp_path, raw + b"thumbnails follow in real files")


def test_a_file_cut_short_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScanFileError, match="wait until the instrument has finished"):
        read_raw(tmp_path, encode_ibw(SCAN)[:-1])


RAW = encode_ibw(SCAN)
BAD_HEADERS = [
    (b"Just some text, renamed.\n" * 40, "not an Igor binary wave"),
    (b"", "not an Igor binary wave"),
    (b"\x02\x00" + RAW[2:], "one-dimensional wave"),
    (RAW[:100] + b"\x55" + RAW[101:], "checksum"),
    (patched(RAW, {136: ("<i", 0), 140: ("<i", 0), 132: ("<i", 60)}), "not a curve"),
    (patched(RAW, {80: ("<h", 3)}), r"holds complex numbers \(type 3\); save amplitude and phase as two layers"),
    (patched(RAW, {80: ("<h", 129)}), r"complex numbers \(type 129\)"),
    (patched(RAW, {80: ("<h", 0)}), "holds text"),
    (patched(RAW, {80: ("<h", 256)}), "data of the unknown type 256"),
    (patched(RAW, {80: ("<h", 4)}), "contradicts itself"),
    (patched(RAW, {76: ("<i", 2**31 - 1)}), "contradicts itself"),
    (patched(RAW, {132: ("<i", 6)}), "contradicts itself"),
    (patched(RAW, {12: ("<i", 2**31 - 1)}), "at most 1048576"),
    (patched(RAW, {12: ("<i", -1)}), "at most 1048576"),
    (patched(RAW, {12: ("<i", 100_000)}), "by its header"),
    (patched(RAW, {52: ("<i", 8)}), "damaged"),
]


@pytest.mark.parametrize(("raw", "message"), BAD_HEADERS)
def test_a_damaged_or_foreign_file_is_refused_with_the_reason(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(ScanFileError, match=message):
        read_raw(tmp_path, raw)


def test_a_wave_of_one_line_is_refused(tmp_path: Path) -> None:
    raw = patched(RAW, {132: ("<i", 1), 136: ("<i", 15)})
    with pytest.raises(ScanFileError, match="15 lines of 1 points"):
        read_raw(tmp_path, raw)


def test_the_longest_note_that_is_read_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    """igor2 would take 1.3 s and 180 MB for the note, so it never gets it."""
    note = note_of(Flattening="1," * 500_000)
    tracemalloc.start()
    begun_s = time.process_time()
    scan = read_raw(tmp_path, with_note(encode_ibw(SCAN), note))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - begun_s < scaled(0.5)
    assert peak < 30e6
    assert len(scan.metadata["Flattening"]) == 1_000_000


@pytest.mark.parametrize("sides", [(2**31 - 1, 2, 0), (65536, 65536, 256), (-5, 3, 4)], ids=str)
def test_a_header_that_claims_more_than_there_is_is_refused_before_anything_is_made(tmp_path: Path, sides: tuple) -> None:
    points = math.prod(n for n in sides if n > 0)
    fields = {132: ("<i", sides[0]), 136: ("<i", sides[1]), 140: ("<i", sides[2]), 76: ("<i", points & 0x7FFFFFFF)}
    with pytest.raises(ScanFileError):
        read_raw(tmp_path, patched(RAW, {**fields, 4: ("<i", 2**31 - 1)}))


@pytest.mark.parametrize(
    ("kind", "dtype", "value"),
    [(128, "<i8", -(2**40)), (192, "<u8", 2**63), (32, "<i4", -(2**20)), (72, "<u1", 200), (4, "<f8", 1e-12)],
    ids=["signed 64", "unsigned 64", "signed 32", "unsigned 8", "double"],
)
@pytest.mark.attack(
    "a wave of 64-bit integers, which was called 'text or complex numbers'",
    promise="every real wave is read; complex ones are refused as such",
)
def test_waves_of_every_real_type_are_read(tmp_path: Path, kind: int, dtype: str, value: float) -> None:
    raw = encode_ibw(replace(SCAN, channels={"HeightRetrace": np.zeros((3, 5), np.float32)}))
    numbers = np.zeros(15, dtype)
    numbers[1] = value  # Igor: the first index, fast, changes first
    raw = raw[:384] + numbers.tobytes() + raw[384 + 60 :]
    image = read_raw(tmp_path, patched(raw, {80: ("<h", kind), 4: ("<i", 320 + numbers.nbytes)})).channels["HeightRetrace"]
    assert (image[0, 1], image.sum(dtype=float)) == (np.float32(value), np.float32(value))


def sparse_wave(path: Path, shape: tuple[int, ...], kind: int, size: int, after: int = 0) -> Path:
    """A wave of zeros that takes no room on the disk: its header, then a hole."""
    sides = {132 + 4 * axis: ("<i", points) for axis, points in enumerate((*shape, 0, 0)[:4])}
    count = math.prod(shape)
    fields = {**sides, 76: ("<i", count), 80: ("<h", kind), 4: ("<i", 320 + size * count), 12: ("<i", 0), 44: ("<i", 0)}
    with path.open("wb") as file:
        file.write(patched(RAW[:384], fields))
        file.truncate(384 + size * count + after)
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "size", "after", "sentence"),
    [
        ((30000, 30000), 8, 1, 0, "holds 900000000 pixels, 3600000000 bytes as float32; at most 536870912 are read"),
        ((4096, 4096, 33), 8, 1, 0, "holds 553648128 pixels"),
        ((100, 100), 2, 4, 900 << 20, "has 943718400 bytes after its wave, at most 67108864 are read"),
        ((30000, 30000, 2), 8, 1, 0, "has 1800000384 bytes, at most 1073741824 are read|holds 1800000000 pixels"),
    ],
    ids=["0.9 GB of bytes", "531 MiB of bytes", "a small wave in a large file", "more than is ever read"],
)
@pytest.mark.attack(
    "a sparse wave of 0.9 GB (7.7 GB of memory), or of 531 MiB (4.8 GB, and the adapter ended)",
    promise="a file that is too large is refused by its header, before it is read",
)
def test_a_huge_wave_is_refused_before_it_is_read(
    tmp_path: Path, shape: tuple[int, ...], kind: int, size: int, after: int, sentence: str
) -> None:
    path = sparse_wave(tmp_path / "a.ibw", shape, kind, size, after)
    tracemalloc.start()
    with pytest.raises(ScanFileError, match=sentence):
        read_ibw(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.slow
def test_looking_at_a_large_wave_takes_its_file_and_its_images_in_memory(tmp_path: Path) -> None:
    path = sparse_wave(tmp_path / "a.ibw", (4096, 4096, 1), 8, 1)
    note = note_of(SlowScanSize=4e-6)
    with path.open("r+b") as file:
        header = file.read(384)
        file.seek(0)
        file.write(patched(header, {12: ("<i", len(note)), 216: ("<8s", bytes(8))}))
        file.seek(0, 2)
        file.write(note)
    tracemalloc.start()
    inspection = inspect_file(path, UTC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert inspection.problem == ""
    assert peak < 1.1 * (1 + 4) * 4096**2


def test_no_more_is_read_than_the_wire_carries() -> None:
    assert DECODED_BYTES_MAX == codec.MAX_ARRAY_BYTES


def test_curves_are_no_image_even_with_the_note_of_one(tmp_path: Path) -> None:
    columns = {name: np.linspace(0, 1, 6, dtype=np.float32) for name in ("Bias", "Amp", "Phase")}
    note = {"ScanSize": 1e-6, "XOffset": 0.0, "YOffset": 0.0, "ScanAngle": 0.0}
    with pytest.raises(NoImageError, match="curves of shape"):
        read_raw(tmp_path, encode_curves(columns, note, datetime(2026, 1, 2, tzinfo=UTC)))


@needs_real_file
def test_note_and_labels_are_those_that_igor2_reads() -> None:
    raw = REAL.read_bytes()
    wave = igor2.binarywave.load(io.BytesIO(raw))["wave"]
    scan = read_scan(REAL)
    assert scan.metadata == parse_note(wave["note"])
    np.testing.assert_array_equal(scan.channels["FrequencyRetrace"], wave["wData"][:, :, 5].T)


@pytest.mark.slow
def test_random_damage_is_refused_and_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for _ in range(400):
        raw = bytearray(RAW)
        for at in rng.integers(0, 384, size=3):
            raw[at] = rng.integers(256)
        try:
            read_raw(tmp_path, patched(bytes(raw), {}))
        except ScanFileError:
            continue


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.ibw").mkdir()
    with pytest.raises(ScanFileError, match="there is no file"):
        read_ibw(tmp_path / "nothing.ibw")
    with pytest.raises(ScanFileError, match="folder"):
        read_ibw(tmp_path / "folder.ibw")


def test_the_scan_id_fits_the_wire_and_tells_files_of_one_name_apart(tmp_path: Path) -> None:
    ids = []
    for number, name in enumerate(["Ünter Füßen 0001", "Ünter Füßen 0001", "_", "x" * 200]):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = replace(SCAN, frame=FRAME.model_copy(update={"x_offset_m": number * 1e-6}))
        write_ibw(folder / f"{name}.ibw", changed)
        ids.append(read_ibw(folder / f"{name}.ibw").scan_id)
    assert len(set(ids)) == 4
    for scan_id in ids:
        MeasurementRequest(request_id=scan_id, x_m=0, y_m=0, row=0, col=0, cluster=0, rank=0, core_distance=0)


def test_the_suffix_chooses_the_reader_and_others_are_refused(tmp_path: Path) -> None:
    write_ibw(tmp_path / "a.IBW", SCAN)
    assert list(read_scan(tmp_path / "a.IBW").channels) == list(UNITS)
    for name, message in (
        ("a.txt", ".ibw, .h5, .hdf5, .hf5"),
        ("a", ".ibw, .h5, .hdf5, .hf5"),
        ("b.ibw", "there is no file"),
        (".", "folder"),
    ):
        with pytest.raises(ScanFileError, match=message):
            read_scan(tmp_path / name)


@needs_real_file
def test_the_recorded_scan_reads_as_measured() -> None:
    scan = read_scan(REAL)
    assert list(scan.channels) == [
        *("HeightRetrace", "Amplitude1Retrace", "Amplitude2Retrace"),
        *("Phase1Retrace", "Phase2Retrace", "FrequencyRetrace"),
    ]
    assert list(scan.units.values()) == ["m", "m", "m", "deg", "deg", "Hz"]
    expected = Frame(size_fast_m=5e-6, size_slow_m=5e-6, x_offset_m=-2.5933e-6, y_offset_m=-6.07e-6, rows=256, cols=256)
    assert scan.frame == expected
    assert scan.frame.pitch_m == pytest.approx((1.9608e-8, 1.9608e-8), rel=1e-4)
    assert scan.finished_at == datetime(2024, 8, 20, 8, 30, 46, 857000, tzinfo=UTC)
    assert scan.metadata["Channel1DataType"] == "Height"
    assert 540e-12 < float(scan.channels["Amplitude1Retrace"].mean()) < 600e-12


@needs_real_file
def test_the_recorded_scans_lines_run_along_the_columns_from_the_bottom() -> None:
    """The instrument's list of one offset for each line correlates with the rows in ascending order (see `igor`)."""
    scan = read_scan(REAL)
    offsets = np.array([float(x) for x in str(scan.metadata["Flatten Offsets 0"]).strip(",").split(",")])
    lines = np.abs(np.diff(scan.channels["FrequencyRetrace"].mean(axis=1, dtype=np.float64)))
    steps = np.abs(np.diff(offsets))
    assert np.corrcoef(lines, steps)[0, 1] > 0.4
    assert np.corrcoef(lines, steps[::-1])[0, 1] < 0.1


@needs_real_file
def test_the_recorded_scan_survives_our_writer(tmp_path: Path) -> None:
    scan = read_scan(REAL)
    write_ibw(tmp_path / "copy.ibw", scan)
    copy = read_ibw(tmp_path / "copy.ibw")
    assert (copy.frame, copy.units, copy.finished_at) == (scan.frame, scan.units, scan.finished_at)
    for name, image in scan.channels.items():
        np.testing.assert_array_equal(copy.channels[name], image)

"""Files with the oddities of real ones, late files and damaged files, and how the reader copes with them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import igor2.binarywave
import numpy as np
import pytest

from instrument_adapters.errors import ScanDataError, ScanFileError
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.formats.instrument_note import parse_note
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH
from simulators.controller.files import FileWriter
from simulators.controller.ibw import encode_curves, encode_ibw
from simulators.faults.quirks import Quirks
from simulators.physics.dart import CHANNELS
from simulators.physics.spectroscopy import Loop

FRAME = Frame(size_fast_m=4e-6, size_slow_m=2e-6, x_offset_m=10e-6, y_offset_m=-5e-6, rows=3, cols=5)
IMAGES = {name: np.full((3, 5), number, np.float32) for number, name in enumerate(CHANNELS)}
SCAN = Scan(IMAGES, CHANNELS, FRAME, "0001", finished_at=EPOCH + timedelta(seconds=60), metadata={"ScanRate": 0.1, "ScanDown": 1})
LOOP = Loop(np.array([0.0, 8.5, 0.0, -8.5]), np.array([1.5, 3.25, -2.5, 0.0]))
DOUBLED = ["Channel1DataType", "Initial Parms", "Log File", "NapMode", "NapParms", "NapPhaseOffset", "SaveImage"]


def doubled(note: bytes) -> list[str]:
    keys = [line.partition(":")[0] for line in note.decode("iso-8859-1").split("\r")]
    return sorted({key for key in keys if key and keys.count(key) == 2})


@pytest.fixture
def quirks() -> Quirks:
    return Quirks()


@pytest.fixture
def writer(tmp_path: Path, quirks: Quirks) -> FileWriter:
    return FileWriter(tmp_path / "made if needed", quirks, traps=False)


def test_a_file_full_of_traps_reads_as_the_scan_that_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.ibw").write_bytes(encode_ibw(SCAN, traps=True))
    scan = read_ibw(tmp_path / "a.ibw")
    assert list(scan.channels) == list(CHANNELS)
    assert scan.units == CHANNELS
    assert scan.frame == FRAME
    assert (scan.started_at, scan.finished_at) == (EPOCH + timedelta(seconds=30), SCAN.finished_at)
    for name, image in IMAGES.items():
        np.testing.assert_array_equal(scan.channels[name], image)


def test_the_traps_are_there(tmp_path: Path) -> None:
    raw = encode_ibw(SCAN, traps=True)
    (tmp_path / "a.ibw").write_bytes(raw)
    wave = igor2.binarywave.load(str(tmp_path / "a.ibw"))["wave"]
    assert doubled(wave["note"]) == DOUBLED
    with pytest.raises(UnicodeDecodeError):
        wave["note"].decode("utf-8")
    assert {b"Phase1Retracece", b"Phase2Retraceace"} <= {bytes(label) for label in wave["labels"][2]}
    note = parse_note(wave["note"])
    assert note["StartHeadTemp"] == "32.125 °C"
    assert [note[f"Channel{n}DataType"] for n in (1, 3, 4)] == ["Height", "Phase1", "Frequency"], "not the order of the layers"
    assert note["SaveImage"].startswith("C:Users:")
    assert b"".join(wave["wave_header"]["dataUnits"]) == b"m"


def test_the_traps_are_those_of_a_real_file(shared_data: Path) -> None:
    real = igor2.binarywave.load(str(shared_data / "scan_0001.ibw"))["wave"]
    assert doubled(real["note"]) == DOUBLED
    assert {b"Phase1Retracece", b"Phase2Retraceace"} <= {bytes(label) for label in real["labels"][2]}
    real_note = parse_note(real["note"])
    trapped = parse_note(encode_ibw(SCAN, traps=True)[384 + 360 :])
    order = [f"Channel{n}DataType" for n in range(2, 9)]
    assert [trapped[key] for key in order] == [real_note[key] for key in order]


def test_a_loop_comes_back_with_its_sign_and_without_a_place(writer: FileWriter) -> None:
    writer.save_loop(LOOP, {"ARDoIVAmp": 8.5}, 0.0)
    path = writer.folder / "SSPFM0000.ibw"
    bias_V, response_pm = read_loop(path)
    np.testing.assert_array_equal(bias_V, LOOP.bias_V)
    np.testing.assert_allclose(response_pm, LOOP.response_pm, rtol=1e-6)
    np.testing.assert_allclose(read_loop(path, phase_zero_deg=180.0)[1], -LOOP.response_pm, rtol=1e-6)
    with pytest.raises(ScanFileError, match="give a scan, not a curve"):
        read_ibw(path)


def test_a_frame_is_no_loop_and_columns_need_their_names(tmp_path: Path) -> None:
    (tmp_path / "frame.ibw").write_bytes(encode_ibw(SCAN))
    (tmp_path / "other.ibw").write_bytes(encode_curves({"Bias": LOOP.bias_V, "Defl": LOOP.bias_V}, {}, EPOCH))
    for name, says in (("frame.ibw", "no labelled columns"), ("other.ibw", "has Bias, Defl")):
        with pytest.raises(ScanFileError, match=says):
            read_loop(tmp_path / name)
    with pytest.raises(ScanDataError, match="31"):
        encode_curves({"x" * 32: LOOP.bias_V}, {}, EPOCH)


def test_the_name_appears_before_the_file_is_complete(writer: FileWriter, quirks: Quirks) -> None:
    quirks.saving_s = 3.0
    writer.save_frame(SCAN, 7, 60.0)
    path = writer.folder / "simulated0007.ibw"
    with pytest.raises(ScanFileError, match="wait until the instrument has finished"):
        read_ibw(path)
    writer.finish_due(62.9)
    half = path.stat().st_size
    assert writer.due_s == [63.0]
    writer.finish_due(63.0)
    assert path.stat().st_size > half
    assert read_ibw(path).frame == FRAME
    assert datetime.fromtimestamp(path.stat().st_mtime, UTC) == EPOCH + timedelta(seconds=63)
    assert writer.due_s == []


def test_a_frame_is_altered_before_it_is_saved_and_its_bytes_are_spoiled_on_the_way(writer: FileWriter, quirks: Quirks) -> None:
    def in_nanometres(scan: Scan) -> Scan:
        return replace(scan, units={**scan.units, "Amplitude1Retrace": "nm"})

    quirks.altered = in_nanometres
    writer.save_frame(SCAN, 1, 60.0)
    assert read_ibw(writer.folder / "simulated0001.ibw").units["Amplitude1Retrace"] == "nm"
    quirks.spoiled = lambda raw: raw[:500]
    writer.save_frame(SCAN, 2, 120.0)
    assert (writer.folder / "simulated0002.ibw").stat().st_size == 500

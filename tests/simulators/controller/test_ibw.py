import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from instrument_adapters.errors import ScanDataError
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from simulators.controller.ibw import encode_ibw, write_ibw

UNITS = {"HeightRetrace": "m", "Phase1Retrace": "deg", "FrequencyRetrace": "Hz", "UserIn0Trace": "V"}
FRAME = Frame(size_fast_m=4e-6, size_slow_m=2e-6, x_offset_m=10e-6, y_offset_m=-5e-6, rows=3, cols=5)
SCAN = Scan({name: np.ones((3, 5), np.float32) for name in UNITS}, UNITS, FRAME, "scan")


def test_the_wave_says_its_pitch_in_metres_over_n_minus_one(tmp_path: Path) -> None:
    raw = encode_ibw(SCAN)
    assert struct.unpack_from("<4i", raw, 132) == (5, 3, 4, 0)
    np.testing.assert_allclose(struct.unpack_from("<2d", raw, 148), (1e-6, 1e-6), rtol=1e-12)
    assert np.frombuffer(raw[:384], "<i2").sum(dtype=np.int64) & 0xFFFF == 0


sides = st.floats(1e-9, 1e-4)
offsets = st.floats(-1e-4, 1e-4)
frames = st.builds(
    Frame,
    size_fast_m=sides,
    size_slow_m=sides,
    x_offset_m=offsets,
    y_offset_m=offsets,
    angle_rad=st.floats(-7, 7),
    rows=st.integers(2, 7),
    cols=st.integers(2, 7),
)


@pytest.mark.slow
@given(frame=frames, data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_writing_and_reading_gives_the_scan_back(tmp_path: Path, frame: Frame, data: st.DataObject) -> None:
    numbers = arrays(np.float32, (frame.rows, frame.cols), elements=st.floats(width=32))  # NaN and infinities too
    names = data.draw(st.lists(st.sampled_from(sorted(UNITS)), min_size=1, max_size=4, unique=True))
    scan = Scan({n: data.draw(numbers) for n in names}, {n: UNITS[n] for n in names}, frame, "x", metadata={"key": "värde"})
    write_ibw(tmp_path / "a.ibw", scan)
    back = read_ibw(tmp_path / "a.ibw")
    assert list(back.channels) == names
    assert back.units == scan.units
    assert back.metadata["key"] == "värde"
    assert back.frame.model_copy(update={"angle_rad": 0}) == frame.model_copy(update={"angle_rad": 0})
    assert back.frame.angle_rad == pytest.approx(frame.angle_rad, rel=1e-14, abs=1e-300)
    for name in names:
        np.testing.assert_array_equal(back.channels[name], scan.channels[name])


def test_a_unit_that_the_name_does_not_tell_travels_in_the_note(tmp_path: Path) -> None:
    scan = replace(SCAN, channels={"ModulusRetrace": np.ones((3, 5), np.float32)}, units={"ModulusRetrace": "Pa"})
    write_ibw(tmp_path / "a.ibw", scan)
    assert read_ibw(tmp_path / "a.ibw").units == {"ModulusRetrace": "Pa"}


def test_an_unsuitable_name_or_note_is_refused_by_the_writer() -> None:
    with pytest.raises(ScanDataError, match="31"):
        encode_ibw(replace(SCAN, channels={"x" * 32: np.ones((3, 5), np.float32)}))
    for key, value in (("a:b", "c"), ("a", "b\rc"), ("", "c")):
        with pytest.raises(ScanDataError, match="one 'key: value' line"):
            encode_ibw(replace(SCAN, metadata={key: value}))

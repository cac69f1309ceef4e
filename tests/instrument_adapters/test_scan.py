import numpy as np
import pytest

from instrument_adapters.errors import ScanDataError, UnknownChannelError
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

FRAME = Frame(size_fast_m=1e-6, size_slow_m=2e-6, rows=2, cols=3)


def scan_of(*names: str) -> Scan:
    return Scan({name: np.zeros((2, 3), np.float32) for name in names}, {}, FRAME, "scan-1")


FOUND = [
    (("HeightRetrace", "AmplitudeRetrace"), None, "AmplitudeRetrace"),
    (("HeightRetrace", "AmplitudeTrace", "AmplitudeRetrace"), None, "AmplitudeRetrace"),
    (("Amplitude1Retrace", "Amplitude2Retrace"), None, "Amplitude1Retrace"),
    (("AmplitudeTrace",), None, "AmplitudeTrace"),
    (("HeightRetrace", "PhaseRetrace"), "phase", "PhaseRetrace"),
    (("PhaseTrace", "PhaseRetrace"), "PhaseTrace", "PhaseTrace"),
    (("Phase1Retrace", "Phase2Retrace"), "Phase2", "Phase2Retrace"),
    (("Phase", "Phase2Retrace"), "Phase", "Phase"),
    (("ZSensorTrace", "ZSensorRetrace"), "zs", "ZSensorRetrace"),
]


@pytest.mark.parametrize(("held", "wanted", "expected"), FOUND)
def test_a_channel_is_found_by_name_by_beginning_or_by_default(held: tuple[str, ...], wanted: str | None, expected: str) -> None:
    assert scan_of(*held).find_channel(wanted) == expected


UNCLEAR = [
    (("HeightRetrace",), None, "no channel begins with 'Amplitude'"),
    (("HeightRetrace", "PhaseRetrace"), "Current", "this scan holds HeightRetrace, PhaseRetrace"),
    (("Phase1Retrace", "Phase2Retrace"), "Phase", "could be any of Phase1Retrace, Phase2Retrace"),
]


@pytest.mark.parametrize(("held", "wanted", "message"), UNCLEAR)
def test_an_unknown_or_ambiguous_channel_is_refused_with_the_choice(
    held: tuple[str, ...], wanted: str | None, message: str
) -> None:
    with pytest.raises(UnknownChannelError, match=message):
        scan_of(*held).find_channel(wanted)


def test_a_scan_without_channels_is_refused() -> None:
    with pytest.raises(ScanDataError, match="holds no channel"):
        scan_of()


def test_a_channel_of_another_size_is_refused() -> None:
    images = {"HeightRetrace": np.zeros((2, 3), np.float32), "PhaseRetrace": np.zeros((3, 2), np.float32)}
    with pytest.raises(ScanDataError, match=r"PhaseRetrace .* is \(3, 2\), but the frame is \(2, 3\)"):
        Scan(images, {}, FRAME, "scan-1")


def test_a_channel_of_another_type_is_refused() -> None:
    # If beartype checks the shapes, it raises its own TypeError first.
    with pytest.raises((ScanDataError, TypeError), match=r"float64, expected float32|f64"):
        Scan({"HeightRetrace": np.zeros((2, 3))}, {}, FRAME, "scan-1")


def test_nan_is_data() -> None:
    image = np.full((2, 3), np.nan, np.float32)
    assert np.isnan(Scan({"HeightRetrace": image}, {}, FRAME, "scan-1").channels["HeightRetrace"]).all()

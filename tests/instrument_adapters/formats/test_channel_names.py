import pytest

from instrument_adapters.formats.channel_names import channel_names, channel_unit
from instrument_adapters.formats.instrument_note import parse_note

NAMES = [
    (["Phase1Retracece", "Phase2Retraceace"], ["Phase1Retrace", "Phase2Retrace"]),
    (["HeightTracece", "heightretrace"], ["HeightTrace", "heightRetrace"]),
    (["", "HeightRetrace", " "], ["Channel1", "HeightRetrace", "Channel3"]),
    (["HeightRetrace"] * 3, ["HeightRetrace", "HeightRetrace_2", "HeightRetrace_3"]),
    (["", "Channel1"], ["Channel1", "Channel1_2"]),
    (["Modulus\x07", "x" * 99], ["Modulus", "x" * 56]),
]


@pytest.mark.parametrize(("labels", "names"), NAMES)
def test_mangled_missing_and_repeated_labels_become_unique_names(labels: list[str], names: list[str]) -> None:
    assert channel_names(labels) == names


def test_units_follow_the_quantity_and_not_the_file() -> None:
    note = {"UserCalcUnit": "°", "UserIn0Unit": "", "LateralUnit": "nN"}
    names = ["HeightTrace", "Phase2Retrace", "FrequencyRetrace", "NapPhaseRetrace", "UserIn0Retrace", "UserCalcTrace", "Lateral"]
    assert [channel_unit(n, note) for n in names] == ["m", "deg", "Hz", "deg", "V", "deg", "nN"]
    assert channel_unit("Modulus", {}) == ""


def test_the_last_of_a_repeated_key_wins_and_spaces_do_not_matter() -> None:
    note = parse_note(
        b"Channel1DataType: 1\rImagingMode:PFM Mode\rChannel1DataType: Height\r\rno colon\rSaveImage: C:Users:x\r: 3\r"
    )
    assert note == {"Channel1DataType": "Height", "ImagingMode": "PFM Mode", "SaveImage": "C:Users:x"}


def test_notes_are_read_in_utf_8_and_in_latin_1() -> None:
    for encoding in ("utf-8", "iso-8859-1"):
        assert parse_note("StartHeadTemp: 32.125 °C\r".encode(encoding)) == {"StartHeadTemp": "32.125 °C"}

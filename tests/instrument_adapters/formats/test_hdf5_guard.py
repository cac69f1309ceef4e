"""HDF5 files of unknown origin: read in a child process first, which may hang or crash."""

import sys
from pathlib import Path

import h5py
import pytest

from instrument_adapters.errors import ScanDataError, ScanFileError
from instrument_adapters.formats.hdf5_guard import parse_guarded
from instrument_adapters.formats.scan_file import read_scan
from tests.support.data.recordings import write_nsid

NAME = Path("a.h5")


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; sys.stdin.buffer.read(); {code}")


@pytest.mark.slow
def test_a_sound_file_is_read(tmp_path: Path) -> None:
    assert list(read_scan(write_nsid(tmp_path / "a.h5")).channels) == ["AmplitudeRetrace"]


@pytest.mark.slow
def test_an_error_in_a_file_has_the_same_message_as_without_the_guard(tmp_path: Path) -> None:
    with h5py.File(write_nsid(tmp_path / "a.h5"), "a") as file:
        del file["Measurement_000/Channel_0/Channel_0/original_metadata"].attrs["XOffset"]
    with pytest.raises(ScanFileError, match="has no XOffset"):
        read_scan(tmp_path / "a.h5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("import time; time.sleep(60)", ScanFileError, r"is damaged \(reading it took longer than 0.5 s\)"),
        ("import os; os.abort()", ScanFileError, r"is damaged \(reading it ended with exit code -6\)"),
        ("raise MemoryError", ScanFileError, r"cannot be read \(the process that tried ended with exit code 1: .*MemoryError\)"),
        ("import nosuch", ScanFileError, r"ended with exit code 1: .*No module named 'nosuch'\); if others can be read"),
        ("sys.stdout.write('no'); sys.exit(3)", ScanFileError, "^no$"),
        ("sys.stdout.write('sizes'); sys.exit(4)", ScanDataError, "^sizes$"),
    ],
    ids=["hangs", "crashes", "runs out of memory", "cannot work", "refuses the file", "refuses the data"],
)
def test_any_end_of_the_child_process_gives_one_sentence(code: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        parse_guarded(b"\x89HDF\r\n\x1a\n", NAME, deadline_s=0.5 if "sleep" in code else 30.0, command=child(code))

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from instrument_adapters.errors import ScanDataError, ScanFileError
from instrument_adapters.formats import nsid
from instrument_adapters.formats.hdf5_heap import heaps_are_sound
from instrument_adapters.formats.nsid import read_nsid
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.geometry import Frame

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
FILES = ["PTO_Funakubo0001.h5", "PTO_Funakubo0002.h5", "PZT_final0001.h5", "PZT_final0002.h5"]
needs_real_files = pytest.mark.skipif(not DATA.exists(), reason="no recorded scan on this machine: ../shared/data is missing")

NOTE: Mapping[str, object] = {
    "FastScanSize": 4e-6,
    "SlowScanSize": 2e-6,
    "XOffset": 1e-5,
    "YOffset": -5e-6,
    "ScanAngle": np.int64(0),
    "NapMode": np.int64(0),
    "ScanRate": 1.0,
    "Seconds": 3806987446.857,
    "OldScanSize": "NaN",
    "OrcaGain": float("nan"),
}


def write_nsid(
    path: Path,
    images: Sequence[tuple[str, str, np.ndarray]],
    note: Mapping[str, object] | None = NOTE,
    sizes: tuple[float, float] | None = (4e-6, 2e-6),
    labels: Sequence[str] | None = ("x", "y"),
    numbers: Sequence[int] | None = None,
) -> Path:
    """Write (quantity, unit, image [x, y]) to `path` in the layout of SciFiReaders and pyNSID, and return the path."""
    with h5py.File(path, "w") as file:
        for number, (quantity, unit, image) in zip(numbers or range(len(images)), images, strict=True):
            name = f"Channel_{number}"
            group = file.create_group(f"Measurement_000/{name}/{name}")
            data = group.create_dataset(name, data=image)
            data.attrs.update({"quantity": quantity, "units": unit, "data_type": "IMAGE"})
            if labels is not None:
                data.attrs["DIMENSION_LABELS"] = list(labels)
            for axis, size, points in zip("xy", sizes or (), image.shape, strict=False):
                group[axis] = np.linspace(0, size, points)
            if note is not None:
                group.create_group("original_metadata").attrs.update(note)
    return path


def image(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_bright_pixel_lands_at_its_hand_computed_place(tmp_path: Path) -> None:
    data = np.zeros((5, 3), np.float32)  # [x, y]
    data[4, 0] = 7.0  # f = +2 µm, s = -1 µm
    scan = read_nsid(write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", data)]))
    where = np.argwhere(scan.channels["HeightRetrace"] == 7.0).astype(float)
    np.testing.assert_array_equal(where, [[0, 4]])
    np.testing.assert_allclose(scan.frame.to_metres(where), [[12e-6, -6e-6]], atol=1e-15)


@pytest.mark.slow
def test_the_note_gives_angle_times_and_metadata(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", image(5, 3))], {**NOTE, "ScanAngle": 90.0})
    scan = read_scan(path)
    assert scan.frame.angle_rad == pytest.approx(np.pi / 2)
    assert scan.finished_at == datetime(2024, 8, 20, 8, 30, 46, 857000, tzinfo=UTC)
    assert scan.started_at == datetime(2024, 8, 20, 8, 30, 43, 857000, tzinfo=UTC)
    assert scan.metadata["ScanRate"] == 1.0
    assert (scan.metadata["OldScanSize"], scan.metadata["OrcaGain"]) == ("NaN", "nan")
    assert scan.scan_id.startswith("a-")


def test_channels_come_in_the_order_of_their_numbers_with_units_by_name(tmp_path: Path) -> None:
    names = [("NapPhaseRetrace", "m"), ("UserIn0Retrace", "m"), ("Modulus", "GPa"), ("Mystery", "m"), ("", "")]
    images = [(quantity, unit, image(5, 3)) for quantity, unit in names]
    scan = read_nsid(write_nsid(tmp_path / "a.hdf5", images, numbers=[2, 10, 11, 12, 13]))
    expected = {"NapPhaseRetrace": "deg", "UserIn0Retrace": "V", "Modulus": "GPa", "Mystery": "", "Channel5": ""}
    assert scan.units == expected
    assert list(scan.channels) == list(expected)


def test_nan_survives_and_wider_numbers_become_float32(tmp_path: Path) -> None:
    data = image(5, 3).astype(np.float64)
    data[1, 2], data[0, 0] = np.nan, 1e300
    back = read_nsid(write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", data)])).channels["HeightRetrace"]
    assert back.dtype == np.float32
    assert np.isnan(back[2, 1])
    assert np.isposinf(back[0, 0])


def test_channels_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", image(5, 3)), ("PhaseRetrace", "deg", image(4, 3))])
    with pytest.raises(ScanDataError, match=r"PhaseRetrace .* is \(3, 4\), but HeightRetrace is \(3, 5\)"):
        read_nsid(path)


def test_the_axes_stand_in_for_sizes_that_the_note_lacks(tmp_path: Path) -> None:
    note = {key: value for key, value in NOTE.items() if "Size" not in key}
    frame = read_nsid(write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", image(5, 3))], note)).frame
    assert (frame.size_fast_m, frame.size_slow_m) == pytest.approx((4e-6, 2e-6))


def test_the_note_is_enough_without_axes_and_labels(tmp_path: Path) -> None:
    frame = read_nsid(write_nsid(tmp_path / "a.h5", [("H", "m", image(5, 3))], sizes=None, labels=None)).frame
    assert frame == Frame(size_fast_m=4e-6, size_slow_m=2e-6, x_offset_m=1e-5, y_offset_m=-5e-6, rows=3, cols=5)


ONE = [("HeightRetrace", "m", image(5, 3))]
BAD = [
    ({"images": ONE, "sizes": (4e-6, 4e-6)}, "SlowScanSize 2e-06 m, but its axis spans 4e-06 m"),
    ({"images": ONE, "note": None}, "has no XOffset"),
    ({"images": ONE, "note": {"XOffset": "far", "YOffset": 0, "ScanAngle": 0}}, "XOffset: 'far'"),
    ({"images": ONE, "labels": ("y", "x")}, "instead of x, y"),
    ({"images": []}, "there is no group Measurement_000"),
    ({"images": [("Curve", "m", image(5))]}, "image of real numbers is needed"),
    ({"images": [("HeightRetrace", "m", image(5, 3).astype(complex))]}, "image of real numbers is needed"),
    ({"images": [("HeightRetrace", "m", image(5, 1))]}, "1 lines of 5 points"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message for _, message in BAD])
def test_a_file_that_is_no_placed_scan_is_refused(tmp_path: Path, content: dict[str, object], message: str) -> None:
    with pytest.raises(ScanFileError, match=message):
        read_nsid(write_nsid(tmp_path / "a.h5", **content))


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    for layout in ("Other", "Measurement_000/Image", "Measurement_000/Channel_0/Other", "Measurement_000/Channel_0/Channel_0/x"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[layout] = image(5, 3)
        with pytest.raises(ScanFileError, match="is not laid out as"):
            read_nsid(tmp_path / "a.h5")


def test_an_axis_of_another_length_is_refused(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE)
    with h5py.File(path, "a") as file:
        del file["Measurement_000/Channel_0/Channel_0/x"]
        file["Measurement_000/Channel_0/Channel_0/x"] = np.zeros(7)
    with pytest.raises(ScanFileError, match=r"axis x .* for 5 pixels"):
        read_nsid(path)


@pytest.mark.slow
def test_many_images_that_unpack_to_far_more_than_their_file_are_refused_before_they_are(tmp_path: Path) -> None:
    path, packed = tmp_path / "a.h5", {"compression": "gzip", "chunks": (2048, 2048)}
    with h5py.File(path, "w") as file:
        for number in range(6):  # each is harmless alone: 16 MB unpacked from 16 kB
            name = f"Measurement_000/Channel_{number}/Channel_{number}/Channel_{number}"
            file.create_dataset(name, data=np.zeros((2048, 2048), np.float32), **packed)
    assert path.stat().st_size < 400_000
    with pytest.raises(ScanFileError, match="200 times the file are read"):
        read_nsid(path)


def test_no_more_of_a_note_is_read_than_the_wire_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nsid._KEYS_MAX == 4000
    monkeypatch.setattr(nsid, "_KEYS_MAX", 7)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("Measurement_000/Channel_0/Channel_0")
        group.create_dataset("Channel_0", data=np.zeros((5, 3), np.float32))
        group.create_group("original_metadata").attrs.update({**NOTE, **{f"Z{n}": n for n in range(20)}})
    with h5py.File(path) as file:
        assert len(nsid._read_note(file["Measurement_000/Channel_0/Channel_0"], path)) == 7


def test_an_image_far_larger_than_its_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("Measurement_000/Channel_0/Channel_0/Channel_0", shape=(65536, 65536), dtype="f4", chunks=(64, 64))
    with pytest.raises(ScanFileError, match="65536"):
        read_nsid(path)


def test_damaged_text_storage_is_refused_before_it_can_hang_the_hdf5_library(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE)
    raw = bytearray(path.read_bytes())
    first_object_size = raw.index(b"GCOL") + 16 + 8
    assert heaps_are_sound(bytes(raw))
    for at in (first_object_size, first_object_size + 3, first_object_size + 7):
        damaged = bytearray(raw)
        damaged[at] = 255
        path.write_bytes(damaged)
        with pytest.raises(ScanFileError, match="its texts overlap"):
            read_nsid(path)


def test_a_text_that_claims_to_be_longer_than_the_file_is_refused_before_room_is_made_for_it(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE)
    raw = bytearray(path.read_bytes())
    reference = raw.index(raw.index(b"GCOL").to_bytes(8, "little"))
    raw[reference - 1] = 0x70  # the last byte of its length: 1.9 GB
    path.write_bytes(raw)
    with pytest.raises(ScanFileError, match="its texts overlap"):
        read_nsid(path)


CHANNEL = "Measurement_000/Channel_0/Channel_0"
AT = [
    "Measurement_000",
    "Measurement_000/Channel_0",
    CHANNEL,
    f"{CHANNEL}/Channel_0",
    f"{CHANNEL}/x",
    f"{CHANNEL}/original_metadata",
]


def foreign_link(file: h5py.File, at: str, other: Path) -> None:
    file[at] = h5py.ExternalLink(str(other), at)


def foreign_link_behind_a_soft_one(file: h5py.File, at: str, other: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(other), at)
    file["detour"] = h5py.SoftLink("/elsewhere")
    file[at] = h5py.SoftLink("/detour")


def virtual(file: h5py.File, at: str, other: Path) -> None:
    with h5py.File(other) as source:
        shape, dtype = source[at].shape, source[at].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(other), at, shape)
    file.create_virtual_dataset(at, layout)


def raw_storage(file: h5py.File, at: str, other: Path) -> None:
    with h5py.File(other) as source:
        shape = source[at].shape
    file.create_dataset(at, shape, "u1", external=[("/etc/passwd", 0, int(np.prod(shape)))])


WAYS = [(way, at) for way in (foreign_link, foreign_link_behind_a_soft_one) for at in AT]
WAYS += [(way, at) for way in (virtual, raw_storage) for at in AT[3:5]]


@pytest.mark.parametrize(("way", "at"), WAYS, ids=[f"{way.__name__} at {at[-12:]}" for way, at in WAYS])
@pytest.mark.attack(
    "an NSID file that shows another file through a link, a virtual data set or external storage",
    promise="only what lies in the file itself is read",
)
def test_what_lies_in_another_file_is_refused_wherever_it_would_be_read(
    tmp_path: Path, way: Callable[[h5py.File, str, Path], None], at: str
) -> None:
    other, path = write_nsid(tmp_path / "other.h5", ONE), write_nsid(tmp_path / "a.h5", ONE)
    with h5py.File(path, "a") as file:
        attributes = dict(file[at].attrs)
        del file[at]
        way(file, at, other)
        if way in (virtual, raw_storage) and at.endswith("Channel_0"):
            file[at].attrs.update(attributes)
    with pytest.raises(ScanFileError, match="does not hold all of its data"):
        read_nsid(path)


def test_soft_links_inside_a_file_are_followed_unless_they_lead_in_a_circle(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE)
    with h5py.File(path, "a") as file:
        file.move(f"{CHANNEL}/x", "axes/fast")
        file[f"{CHANNEL}/x"] = h5py.SoftLink("/axes/here")
        file["axes/here"] = h5py.SoftLink("fast")
        file.move("Measurement_000", "first")
        file["Measurement_000"] = h5py.SoftLink("first")
    assert list(read_nsid(path).channels) == ["HeightRetrace"]
    with h5py.File(path, "a") as file:
        del file["axes/fast"]
        file["axes/fast"] = h5py.SoftLink("/axes/here")
    with pytest.raises(ScanFileError, match="its links lead in a circle"):
        read_nsid(path)


@pytest.mark.parametrize("at", [f"{CHANNEL}/Channel_0", f"{CHANNEL}/x"])
def test_references_to_regions_are_not_followed(tmp_path: Path, at: str) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE)
    with h5py.File(path, "a") as file:
        region, shape = file[f"{CHANNEL}/Channel_0"].regionref[:2], file[at].shape
        if at.endswith("x"):
            del file[at]
        else:
            file.move(at, "kept")
        file.create_dataset(at, shape, h5py.regionref_dtype)[...] = region
    with pytest.raises(ScanFileError, match="and type object"):
        read_nsid(path)


@pytest.mark.parametrize(
    ("parts", "quantities", "names"),
    [
        (["Channel_000/Amplitude1Retrace", "Channel_001/Phase1Retrace"], ["Amplitude1Retrace", "Phase1Retrace"], None),
        (["Channel_000/Amplitude1Retrace", "Channel_001/Phase1Retrace"], ["generic", ""], None),
        (["Amplitude1Retrace", "Phase1Retrace"], ["generic", "generic"], None),
        (["Channel_1/nDim_Data", "Channel_0/nDim_Data"], ["Phase1Retrace", "Amplitude1Retrace"], None),
        (["Channel_0/nDim_Data", "Channel_1/nDim_Data"], ["", ""], ["nDim_Data", "nDim_Data_2"]),
    ],
    ids=["titles", "titles without a quantity", "no Channel_N", "out of order", "nothing is named"],
)
@pytest.mark.attack(
    "an NSID file as pyNSID writes it by default, refused with the advice to use pyNSID",
    promise="whatever pyNSID names its data sets, they are read",
)
def test_data_sets_are_found_whatever_pynsid_calls_them(
    tmp_path: Path, parts: list[str], quantities: list[str], names: list[str] | None
) -> None:
    path = tmp_path / "a.hf5"
    with h5py.File(path, "w") as file:
        for part, quantity in zip(parts, quantities, strict=True):
            group = file.create_group(f"Measurement_000/{part}")
            name = part.rpartition("/")[2]
            data = group.create_dataset(name, data=image(5, 3))
            data.attrs.update({"quantity": quantity, "units": "generic", "main_data_name": name, "DIMENSION_LABELS": ["x", "y"]})
            group.create_group("original_metadata").attrs.update(NOTE)
            group.create_group("provenance/sidpy")
    scan = read_nsid(path)
    assert list(scan.channels) == (names or ["Amplitude1Retrace", "Phase1Retrace"])
    np.testing.assert_array_equal(next(iter(scan.channels.values())), image(5, 3).T)


def test_two_images_in_one_channel_are_refused_because_either_may_be_meant(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("raw", "flattened"):
            file[f"Measurement_000/Channel_000/{name}/{name}"] = image(5, 3)
    with pytest.raises(ScanFileError, match="holds several images: Channel_000/flattened, Channel_000/raw"):
        read_nsid(tmp_path / "a.h5")


@pytest.mark.attack(
    "60 axes in chunks of 128 MB each, packed to nothing",
    promise="axes count toward the size that a file may unpack to",
)
def test_axes_whose_chunks_unpack_to_far_more_than_the_file_are_refused(tmp_path: Path) -> None:
    path = write_nsid(tmp_path / "a.h5", [("HeightRetrace", "m", image(5, 3))] * 30)
    with h5py.File(path, "a") as file:
        for number in range(30):
            for axis, points in (("x", 5), ("y", 3)):
                group = file[f"Measurement_000/Channel_{number}/Channel_{number}"]
                del group[axis]
                group.create_dataset(axis, (points,), "f8", maxshape=(None,), chunks=(1 << 24,), compression="gzip")
    with pytest.raises(ScanFileError, match="200 times the file are read"):
        read_nsid(path)


def test_more_channels_and_objects_than_a_scan_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nsid(tmp_path / "a.h5", ONE * 33)
    with pytest.raises(ScanFileError, match="more than 32 channels"):
        read_nsid(path)
    monkeypatch.setattr(nsid, "_LINKS_MAX", 10)
    with pytest.raises(ScanFileError, match="holds 33 objects in /Measurement_000, at most 10"):
        read_nsid(path)


def test_a_note_of_endless_texts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of variable length lie outside the attribute, so that many attributes could name the same long one."""
    path = write_nsid(tmp_path / "a.h5", ONE, {**NOTE, **{f"Z{n}": "x" * 1000 for n in range(20)}, "Many": ["y" * 99] * 65})
    assert read_nsid(path).metadata["Many"] == ""
    monkeypatch.setattr(nsid, "_NOTE_MAX", 10_000)
    with pytest.raises(ScanFileError, match="more than 10000 characters"):
        read_nsid(path)


def test_missing_foreign_and_cut_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanFileError, match="there is no file"):
        read_nsid(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("renamed")
    with pytest.raises(ScanFileError, match="not an HDF5 file"):
        read_nsid(tmp_path / "text.h5")
    whole = write_nsid(tmp_path / "a.h5", ONE).read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(whole), 97), len(whole) - 1]:
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(ScanFileError):
            read_nsid(tmp_path / "cut.h5")


@pytest.mark.slow
@needs_real_files
@pytest.mark.parametrize("name", FILES)
def test_in_recorded_files_the_rows_are_the_scan_lines(name: str) -> None:
    """Steps common to a whole line occur between rows only (the numbers are in `nsid`)."""
    scan = read_scan(DATA / name)
    assert scan.frame.rows == scan.frame.cols == 256
    height = scan.channels["HeightRetrace"].astype(np.float64)
    steps = [np.std(np.median(np.diff(height, axis=axis), axis=1 - axis)) for axis in (0, 1)]
    assert steps[0] > 3 * steps[1]


@pytest.mark.slow
@needs_real_files
@pytest.mark.parametrize(("name", "first"), [(FILES[0], 255), (FILES[1], 255), (FILES[3], 0)])
def test_in_recorded_files_a_frame_scanned_down_starts_in_the_last_row(name: str, first: int) -> None:
    """The transient at the start of a frame: the largest height step is within two lines of the border where the scan began."""
    scan = read_scan(DATA / name)
    assert scan.metadata["ScanDown"] == float(first == 255)
    assert (scan.metadata["TopLine"], scan.metadata["BottomLine"]) == (255, 0)
    steps = np.abs(np.median(np.diff(scan.channels["HeightRetrace"], axis=0), axis=1))
    bottom, top = steps[:2].max(), steps[-2:].max()
    assert (top > 2 * bottom) if first == 255 else (bottom > 2 * top)


@pytest.mark.slow
@needs_real_files
def test_recorded_rescans_are_256_seconds_apart_and_have_true_units() -> None:
    one, two = (read_scan(DATA / name) for name in FILES[2:])
    assert one.finished_at is not None
    assert two.finished_at is not None
    assert (two.finished_at - one.finished_at).total_seconds() == 256
    assert one.started_at is None  # nap mode
    assert one.units["NapPhaseRetrace"] == "deg"
    assert one.units["UserIn0Retrace"] == "V"
    assert one.frame == Frame(size_fast_m=2e-6, size_slow_m=2e-6, rows=256, cols=256)

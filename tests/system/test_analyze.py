import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from instrument_adapters import exit_codes
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from simulators.controller.ibw import write_ibw
from tests.support.data.images import two_textures
from tests.system.commands import quick_config, vaestar

OFFSET_M = (4e-6, -2e-6)
SIZE_M = 2e-6


def scan_of(image: np.ndarray, *, angle_rad: float = 0.0) -> Scan:
    rows, cols = image.shape
    frame = Frame(
        size_fast_m=SIZE_M,
        size_slow_m=SIZE_M * (rows - 1) / (cols - 1),
        x_offset_m=OFFSET_M[0],
        y_offset_m=OFFSET_M[1],
        angle_rad=angle_rad,
        rows=rows,
        cols=cols,
    )
    channels = {"HeightRetrace": np.zeros_like(image), "Amplitude1Retrace": image * np.float32(1e-10)}
    return Scan(channels, {"HeightRetrace": "m", "Amplitude1Retrace": "m"}, frame, "scan-1")


def written(path: Path, image: np.ndarray, **frame: float) -> Path:
    write_ibw(path, scan_of(image, **frame))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], tuple[Path, str]]:
    """Function that analyses one scan into a directory of its own; returns (directory, standard output)."""
    directory = tmp_path_factory.mktemp("analysed")
    scan, config = written(directory / "scan.ibw", two_textures(96)), quick_config(directory)

    @functools.cache
    def run(name: str, seed: int) -> tuple[Path, str]:
        done = vaestar("analyze", scan, "--out", directory / name, "--seed", seed, "--config", config, "--json")
        assert done.returncode == 0, done.stderr
        return directory / name, done.stdout

    return run


def test_a_scan_becomes_places_a_record_and_figures_and_again_the_same(
    analysed: Callable[[str, int], tuple[Path, str]],
) -> None:
    (one, _), (two, _) = analysed("one", 3), analysed("two", 3)
    names = {p.name for p in one.iterdir()}
    figures = {"scan.png", "latent.png", "reward.png", "latent_grid.png", "patches.png", "pareto.png"}
    assert names == {"recommendations.csv", "decision.json"} | figures
    table = rows_of(one / "recommendations.csv")
    assert list(table[0]) == ["id", "cluster", "rank", "x_m", "y_m", "row", "col", "core_distance"]
    for row in table:
        assert abs(float(row["x_m"]) - OFFSET_M[0]) <= SIZE_M / 2
        assert abs(float(row["y_m"]) - OFFSET_M[1]) <= SIZE_M / 2
    for name in ("recommendations.csv", "decision.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_another_seed_gives_another_decision(analysed: Callable[[str, int], tuple[Path, str]]) -> None:
    one, other = (json.loads(analysed(name, seed)[1]) for name, seed in (("one", 3), ("other", 4)))
    assert one["candidates"] != other["candidates"]
    assert one["decision_id"] != other["decision_id"]


def test_json_goes_to_standard_output_alone_and_is_the_record(analysed: Callable[[str, int], tuple[Path, str]]) -> None:
    out, printed = analysed("one", 3)
    assert json.loads(printed) == json.loads((out / "decision.json").read_text())


def test_an_asymmetric_pattern_is_recommended_where_it_really_lies(tmp_path: Path) -> None:
    # Walls only in the lower right quarter (small row, large column): every place must lie at large x and small y.
    image = np.ones((160, 160), np.float32) + 0.001 * np.random.default_rng(0).standard_normal((160, 160)).astype(np.float32)
    image[:80, 80:] = two_textures(80)
    head = 'keypoints = "sato_ridges"\n[keypoints_options]\nquantile = 0.9\n[scan]\nspacing_px = 2\n'
    done = vaestar(
        "analyze",
        written(tmp_path / "scan.ibw", image),
        "--out",
        tmp_path / "out",
        "--config",
        quick_config(tmp_path, head=head),
    )
    assert done.returncode == 0, done.stderr
    table = rows_of(tmp_path / "out" / "recommendations.csv")
    assert table
    assert all(float(r["x_m"]) > OFFSET_M[0] - 0.05e-6 for r in table)
    assert all(float(r["y_m"]) < OFFSET_M[1] + 0.05e-6 for r in table)


@pytest.mark.parametrize(
    ("shape", "angle_rad"), [((80, 128), 0.0), ((96, 96), 0.5)], ids=["scan that is not square", "rotated scan"]
)
def test_frames_of_other_shapes_and_angles_are_analysed(shape: tuple[int, int], angle_rad: float, tmp_path: Path) -> None:
    image = two_textures(128)[: shape[0], : shape[1]]
    scan = written(tmp_path / "scan.ibw", image, angle_rad=angle_rad)
    done = vaestar("analyze", scan, "--out", tmp_path / "out", "--config", quick_config(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    frame = Frame.model_validate(record["frame"])
    assert frame.angle_rad == pytest.approx(angle_rad)
    for request in record["requests"]:
        (xy,) = frame.to_metres(np.array([[request["row"], request["col"]]], dtype=float))
        assert (request["x_m"], request["y_m"]) == pytest.approx(tuple(xy))


def test_lines_that_were_lost_are_left_out_and_counted(tmp_path: Path) -> None:
    image = two_textures(128)
    image[60:64] = np.nan
    done = vaestar(
        "analyze", written(tmp_path / "scan.ibw", image), "--out", tmp_path / "out", "--config", quick_config(tmp_path), "--json"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["keypoints_dropped"]["invalid pixels in the window"] > 0
    assert all(not 57 <= r["row"] <= 66 for r in record["requests"])


def as_text(path: Path) -> Path:
    path.write_text("this is not a wave")
    return path


def truncated(path: Path) -> Path:
    written(path, two_textures(96))
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def with_two_sizes(path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for n, size in enumerate((64, 96)):
            group = file.create_group(f"Measurement_000/Channel_{n}/Channel_{n}")
            data = group.create_dataset(f"Channel_{n}", data=np.zeros((size, size), np.float32))
            data.attrs["quantity"] = f"Amplitude{n + 1}Retrace"
            data.attrs["units"] = "m"
            axis = np.linspace(0, 1e-6, size)
            for name in "xy":
                group.create_dataset(name, data=axis)
            meta = group.create_group("original_metadata")
            meta.attrs.update({"XOffset": 0.0, "YOffset": 0.0, "ScanAngle": 0.0, "FastScanSize": 1e-6, "SlowScanSize": 1e-6})
    return path.with_suffix(".h5")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p, "there is no file .*scan.ibw"),
        (as_text, "not an Igor|no Igor|not a"),
        (truncated, "bytes|truncated|incomplete"),
        (lambda p: written(p, np.full((96, 96), np.nan, np.float32)), "only 0% of the image's pixels hold a number"),
        (lambda p: written(p, np.ones((96, 96), np.float32)), "the image is constant"),
        (lambda p: written(p, two_textures(128)[:6, :]), "window of 7 px does not fit into an image of 6 x 128 px"),
        (with_two_sizes, "Channel|channel"),
        (lambda p: as_text(p.with_suffix(".txt")), r"\.txt"),
    ],
    ids=["missing", "text", "truncated", "all NaN", "constant", "too small", "two sizes", "other suffix"],
)
def test_bad_input_gets_one_sentence_and_exit_code_two(make, says: str, tmp_path: Path) -> None:
    path = make(tmp_path / "scan.ibw")
    done = vaestar("analyze", path, "--out", tmp_path / "out", "--config", quick_config(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("vaestar: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert __import__("re").search(says, done.stderr), done.stderr


def test_an_unknown_channel_is_answered_with_those_there_are(tmp_path: Path) -> None:
    scan = written(tmp_path / "scan.ibw", two_textures(96))
    done = vaestar("analyze", scan, "--channel", "Current", "--config", quick_config(tmp_path), cwd=None, timeout_s=60)
    assert done.returncode == 2
    assert "no channel 'Current'; this scan holds HeightRetrace, Amplitude1Retrace" in done.stderr


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    scan = written(tmp_path / "scan.ibw", two_textures(96))
    (tmp_path / "file").write_text("")
    done = vaestar("analyze", scan, "--out", tmp_path / "file" / "out", "--config", quick_config(tmp_path))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_a_real_scan_of_the_shared_data_is_read_by_name(shared_data: Path, tmp_path: Path) -> None:
    done = vaestar(
        "analyze", shared_data / "scan_0001.ibw", "--out", tmp_path / "out", "--config", quick_config(tmp_path), "--json"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["channel"] == "Amplitude1Retrace"
    assert len(record["requests"]) > 0
    for r in record["requests"]:
        assert abs(r["x_m"] + 2.5933e-6) <= 2.5e-6
        assert abs(r["y_m"] + 6.07e-6) <= 2.5e-6


@pytest.mark.attack(
    "`vaestar analyze --deadline` ends before the first model", promise="the decision is written, and says why it has no type"
)
def test_a_deadline_before_the_first_model_leaves_a_decision(tmp_path: Path) -> None:
    scan, out = written(tmp_path / "scan.ibw", two_textures(96)), tmp_path / "out"
    done = vaestar("analyze", scan, "--out", out, "--config", quick_config(tmp_path), "--deadline", "0.000001")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "decision.json").read_text())["outcome"] == "not_resolvable"
    assert {p.name for p in out.iterdir()} == {"recommendations.csv", "decision.json", "scan.png"}


@pytest.mark.attack(
    "matplotlib cannot even be loaded", promise="record, table and explanation are complete; exit code 5 says what is missing"
)
def test_a_decision_does_not_die_of_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "a backend that nobody has")
    scan, out = written(tmp_path / "scan.ibw", two_textures(96)), tmp_path / "out"
    done = vaestar("analyze", scan, "--out", out, "--config", quick_config(tmp_path))
    assert done.returncode == exit_codes.INCOMPLETE, done.stderr
    explanation = json.loads((out / "decision.json").read_text())["explanation"]
    assert explanation[:40] in done.stdout
    assert len(rows_of(out / "recommendations.csv")) > 0
    assert [line.startswith("vaestar: ") for line in done.stderr.splitlines()] == [True, True]
    assert "no figure of decision" in done.stderr

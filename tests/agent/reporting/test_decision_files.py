import csv
import os
from io import FileIO
from pathlib import Path

import pytest

from agent.errors import AgentError, ReportError
from agent.reporting import decision_files
from agent.reporting.decision_files import COLUMNS, place_rows, places_csv, write_report
from agent.schema.decision import DecisionRecord
from instrument_adapters.new_file import open_new
from tests.support.history.decision_records import make_decision, make_scan, make_unresolved

FIGURE_FILES = {"scan.png", "latent.png", "reward.png", "latent_grid.png", "patches.png", "pareto.png"}
ALL = {"recommendations.csv", "decision.json"} | FIGURE_FILES
HEADER = "id,cluster,rank,x_m,y_m,row,col,core_distance\n"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.slow
def test_a_report_is_the_table_the_record_and_the_figures(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    written = write_report(make_scan(), make_decision(), out)
    assert {path.name for path in written.files} == names(out) == ALL
    assert all(path.parent == out for path in written.files)
    for png in out.glob("*.png"):
        content = png.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert b"tEXt" not in content  # no date, no version


def test_numbers_in_the_table_read_back_exactly() -> None:
    record = make_decision().record
    text = places_csv(record)
    assert text.startswith(HEADER)
    assert "\r" not in text
    read = list(csv.DictReader(text.splitlines()))
    assert len(read) == len(record.requests) == 6
    for line, r in zip(read, record.requests, strict=True):
        assert line["id"] == r.request_id
        assert [int(line[key]) for key in ("cluster", "rank", "row", "col")] == [r.cluster, r.rank, r.row, r.col]
        assert [float(line[key]) for key in ("x_m", "y_m", "core_distance")] == [r.x_m, r.y_m, r.core_distance]


def test_rows_are_in_the_order_of_measuring_and_as_wide_as_the_header() -> None:
    record = make_decision().record
    rows = list(place_rows(record))
    assert [row[0] for row in rows] == [r.request_id for r in record.requests]
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_without_recommendations_the_table_is_only_its_header(tmp_path: Path) -> None:
    write_report(make_scan(), make_unresolved(), tmp_path)
    assert (tmp_path / "recommendations.csv").read_bytes() == HEADER.encode()
    assert names(tmp_path) == {"recommendations.csv", "decision.json", "scan.png"}


def test_the_record_reads_back(tmp_path: Path) -> None:
    decision = make_unresolved()
    write_report(make_scan(), decision, tmp_path)
    assert DecisionRecord.model_validate_json((tmp_path / "decision.json").read_bytes()) == decision.record


@pytest.mark.slow
def test_the_same_decision_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(make_scan(), make_decision(), tmp_path / name)
    for name in ALL:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.slow
def test_an_earlier_report_is_replaced_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("latent.png", "decision.json"):
        (tmp_path / name).write_text("of an earlier decision")
    (tmp_path / "notes.txt").write_text("mine")
    write_report(make_scan(), make_unresolved(), tmp_path)
    assert names(tmp_path) == {"recommendations.csv", "decision.json", "scan.png", "notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "decision.json").read_text().startswith("{")


@pytest.mark.parametrize("inside", [(), ("deeper",)], ids=["the path", "its parent"])
def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path, inside: tuple[str, ...]) -> None:
    file = tmp_path / "report"
    file.write_text("mine")
    with pytest.raises(ReportError, match="a file with that name exists; name a folder") as caught:
        write_report(make_scan(), make_unresolved(), file.joinpath(*inside))
    assert isinstance(caught.value, AgentError)
    assert isinstance(caught.value, OSError)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ReportError, match="name a folder that can be written to"):
            write_report(make_scan(), make_unresolved(), tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_fails_midway_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "decision.json").write_text("old")

    class HalfWritten(FileIO):
        def write(self, content: bytes) -> int:
            super().write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(decision_files, "open_new", lambda path: HalfWritten(path, "w"))
    with pytest.raises(ReportError, match="No space left on device"):
        write_report(make_scan(), make_unresolved(), tmp_path)
    assert (tmp_path / "decision.json").read_text() == "old"
    assert names(tmp_path) == {"decision.json"}


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "decision.json").write_text("old")

    def refuse(path: Path, target: Path) -> Path:
        assert path.parent == target.parent
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ReportError, match="Permission denied; name a folder that can be written to"):
        write_report(make_scan(), make_unresolved(), tmp_path)
    assert (tmp_path / "decision.json").read_text() == "old"
    assert names(tmp_path) == {"decision.json"}


@pytest.mark.attack(
    "the disk refuses the figures of a decision", promise="record and table are written first, and each figure is named"
)
def test_a_disk_that_refuses_figures_leaves_record_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_figures(path: Path) -> FileIO:
        if ".png" in path.name:
            raise OSError(28, "No space left on device")
        return open_new(path)

    monkeypatch.setattr(decision_files, "open_new", refuse_figures)
    (tmp_path / "scan.png").write_text("of an earlier decision")
    written = write_report(make_scan(), make_unresolved(), tmp_path)
    assert {path.name for path in written.files} == names(tmp_path) == {"recommendations.csv", "decision.json"}
    assert len(written.problems) == 1
    assert "scan.png cannot be written: No space left on device" in written.problems[0]

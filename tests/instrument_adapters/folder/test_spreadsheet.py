"""Tables as spreadsheet programs save them, and numbers and dates that could mean two things."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_adapters.folder.inbox import Inbox, parse_results
from instrument_adapters.folder.spreadsheet import ResultFileError, read_number, read_time

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases"
HEAD = ["request_id", "order", "x_um", "approved_by", "status", "reason", "coercive_plus_V", "imprint_V"]
ROWS = [
    ["d-1-000", "1", "-0.799182", "policy", "ok", "", "2.5", "-1234.5"],
    ["d-1-001", "2", "-4.446241", "policy", "skipped", "a scratch", "", ""],
    ["d-1-002", "3", "-3.26", "policy", "", "", "", ""],
    ["d-1-003", "4", "12.5", "policy", "failed", "tip, lost", "", ""],
]


def saved(
    rows: list[list[str]] = ROWS,
    *,
    head: list[str] = HEAD,
    separator: str = ",",
    encoding: str = "utf-8",
    end: str = "\r\n",
    before: str = "",
    after: str = "",
    quoted: bool = False,
    number: Callable[[str], str] = str,
) -> bytes:
    """The table as a program writes it: `number` shows the numbers, `before` and `after` stand around the table."""
    shown = [[number(cell) if n in (2, 6, 7) else cell for n, cell in enumerate(row)] for row in rows]
    lines = [
        separator.join(f'"{cell}"' if quoted or separator in cell else cell for cell in row) + after.partition("\n")[0]
        for row in [head, *shown]
    ]
    return (before + end.join([*lines, ""]) + after.partition("\n")[2].replace("\n", end)).encode(encoding)


def german(cell: str) -> str:
    return cell.replace(".", ",")


def german_grouped(cell: str) -> str:
    return german(cell).replace("1234,5", "1.234,5")


def english_grouped(cell: str) -> str:
    return cell.replace("1234.5", "1,234.5")


SAVED = {
    "CSV of a program": saved(),
    "CSV UTF-8 of Excel": saved(encoding="utf-8-sig"),
    "UTF-16, little end first": saved(encoding="utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + saved(encoding="utf-16-be"),
    "UTF-16 without a mark": saved(encoding="utf-16-le"),
    "Unicode text of Excel": saved(separator="\t", encoding="utf-16"),
    "Unicode text of a German Excel": saved(separator="\t", encoding="utf-16", number=german_grouped),
    "CSV of a German Excel": saved(separator=";", encoding="cp1252", number=german),
    "German, thousands": saved(separator=";", number=german_grouped),
    "English, thousands": saved(number=english_grouped, quoted=True),
    "French, thousands": saved(separator=";", number=lambda cell: german(cell).replace("1234", "1\u202f234")),
    "Swiss, thousands": saved(separator=";", number=lambda cell: cell.replace("1234", "1'234")),
    "typeset minus": saved(encoding="utf-8", number=lambda cell: cell.replace("-", "\u2212")),
    "a separator line": saved(before="sep=,\r\n"),
    "a separator line with semicolons": saved(separator=";", before="SEP=;\r\n", number=german),
    "a separator line after a mark": saved(separator=";", before="sep=;\r\n", encoding="utf-8-sig", number=german),
    "an unusual separator": saved(separator="|", before="sep=|\r\n"),
    "everything in quotes": saved(quoted=True),
    "old Mac line ends": saved(end="\r"),
    "Unix line ends": saved(end="\n"),
    "empty columns": saved(after=",,,,"),
    "empty rows": saved(after="\n,,,,,\n\n,,,\n"),
    "empty rows before": saved(before="\r\n,,,\r\n"),
    "names and status with capitals": saved(
        [[cell.upper() if cell in ("ok", "failed", "skipped") else cell for cell in row] for row in ROWS],
        head=["Request ID", "Order", "X_um", "Approved_By", "Status", "REASON", *HEAD[6:]],
    ),
    "spaces": saved([[f" {cell} " for cell in row] for row in ROWS], head=[f" {name} " for name in HEAD]),
}


@pytest.mark.parametrize("raw", SAVED.values(), ids=SAVED)
@pytest.mark.attack(
    "a table of results that a spreadsheet program saved in its own way (50 of 50 lost)",
    promise="tables are read as Excel and LibreOffice save them; what is not understood is reported",
)
def test_a_table_is_read_as_spreadsheets_save_it(raw: bytes) -> None:
    found, problems = parse_results(raw, Path("/nowhere/a.csv"))
    assert problems == []
    assert [(r.request_id, r.status, r.reason) for r in found] == [
        ("d-1-000", "ok", ""),
        ("d-1-001", "skipped", "a scratch"),
        ("d-1-003", "failed", "tip, lost"),
    ]
    assert found[0].parameters == {"coercive_plus_V": 2.5, "imprint_V": -1234.5}
    assert [r.x_m for r in found] == pytest.approx([-0.799182e-6, -4.446241e-6, 12.5e-6])


@pytest.mark.skipif(not CASES.exists(), reason="../shared/cases is absent")
def test_the_table_that_excel_saved_is_read() -> None:
    path = CASES / "measured_utf16.csv"
    found, problems = parse_results(path.read_bytes(), path)
    assert problems == []
    assert found
    assert found[0].parameters == {"coercive_plus_V": 2.0}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"request_id,status\nr,ok,\x81\n", "unknown character set"),
        ("request_id,status\nr,ok\n".encode("utf-16")[:-1], "unknown character set"),
        (b"request_id,status\nr,o\0k\n", "holds zero bytes"),
    ],
    ids=["no Windows-1252", "half a character", "zero bytes"],
)
def test_what_is_no_text_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(ResultFileError, match=sentence):
        parse_results(raw, Path("/nowhere/a.csv"))


CLEAR = [
    ("2.5", 2.5),
    ("2,5", 2.5),
    ("-0,125", -0.125),
    (",125", 0.125),
    ("1,2345", 1.2345),
    ("1234,567", 1234.567),
    ("1,5E-06", 1.5e-6),
    ("1,234e-6", 1.234e-6),
    ("1.234,5", 1234.5),
    ("1,234.5", 1234.5),
    ("1.234.567", 1234567.0),
    ("1,234,567.25", 1234567.25),
    ("1 234", 1234.0),
    ("1\u00a0234,567", 1234.567),
    ("12'345.6", 12345.6),
    ("+7", 7.0),
]


@pytest.mark.parametrize(("text", "number"), CLEAR, ids=[text for text, _ in CLEAR])
def test_a_number_that_can_mean_one_thing_only_is_read_whatever_the_table(text: str, number: float) -> None:
    assert [read_number(text, mark) for mark in (".", ",", "")] == [number] * 3


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1,23,456", "1,234.567,8", "12 34", "1 23.4", ".", "-", "1e999", "nan", "0x1", "٣", "5%"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give a finite number or leave it empty"):
        read_number(text, ".")


@given(st.integers(1, 999), st.integers(0, 999), st.sampled_from([".", ","]))
def test_a_number_with_one_mark_and_three_digits_is_read_only_with_the_mark_of_its_column(
    left: int, right: int, mark: str
) -> None:
    text = f"{left}{mark}{right:03d}"
    assert read_number(text, mark) == float(f"{left}.{right:03d}")
    for other in ("", ",.".replace(mark, "")):
        with pytest.raises(ValueError, match=f"that could be {left}.{right:03d} or {left}{right:03d}; give"):
            read_number(text, other)


@pytest.mark.parametrize(
    ("table", "number"),
    [
        ("request_id,status,a_V\nr,ok,1.234\n", 1.234),
        ("request_id;status;a_V\nr;ok;1,234\n", 1.234),
        ('request_id,status,a_V\nr,ok,"1,234"\ns,ok,"2,5"\n', 1.234),
        ("request_id;status;a_V;b_V\nr;ok;1.234;2.5\n", 1.234),
        ("request_id\tstatus\ta_V\tb_V\nr\tok\t1,234\t0,5\n", 1.234),
        ('request_id,x_um,status,a_V\nr,-0.5,ok,"1,234"\n', None),
        ("request_id;x_um;status;a_V\nr;-0,5;ok;1.234\n", None),
        ("request_id\tstatus\ta_V\nr\tok\t1.234\n", None),
        ("request_id;status;a_V\nr;ok;1,234\ns;ok;2,5\nt;ok;2.5\n", None),
    ],
    ids=[
        "commas between columns",
        "semicolons between columns",
        "another number of the column",
        "another number of the table",
        "another number, tabs",
        "a comma among points",
        "a point among commas",
        "tabs tell nothing",
        "a column of both",
    ],
)
@pytest.mark.attack("1,234 in a table, which is 1.234 or 1234", promise="an ambiguous number is refused, never guessed")
def test_a_number_that_could_mean_two_things_is_read_by_its_column_or_refused(table: str, number: float | None) -> None:
    found, problems = parse_results(table.encode(), Path("/nowhere/a.csv"))
    read = {r.request_id: r.parameters["a_V"] for r in found}
    assert read.get("r") == number
    assert bool(problems) == (number is None)
    assert all("that could be 1.234 or 1234; give 1234, or 1.2340" in sentence for sentence in problems)


@pytest.fixture
def utc_clock() -> Iterator[None]:
    """A computer whose local time is UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


MORNING = datetime(2026, 3, 13, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-13T14:05:00+00:00",
        "2026-03-13T15:05+01:00",
        "13.03.2026 14:05",
        "13.3.2026, 14:05:00",
        "13/03/2026 14:05",
        "3/13/2026 2:05 PM",
        "2026/03/13 14:05",
        "2026-03-13 14:05:00",
        "13-03-2026 14:05",
        "3/13/2026 2:05:00 p.m.",
    ],
)
@pytest.mark.usefixtures("utc_clock")
def test_a_time_is_read_as_spreadsheets_show_it(text: str) -> None:
    assert read_time(text) == MORNING


@pytest.mark.usefixtures("utc_clock")
def test_midnight_and_noon_are_told_apart_and_an_empty_cell_is_no_time() -> None:
    assert [read_time(f"3/13/2026 12:05 {half}").hour for half in ("AM", "PM")] == [0, 12]
    assert read_time("  ") is None


@pytest.mark.parametrize("text", ["3/1/2026 14:05", "1-3-2026 2:05 pm", "01/03/2026 14:05"])
def test_a_date_that_could_be_two_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="that could be two dates; give a time such as 2026-03-01T14:05"):
        read_time(text)


@pytest.mark.parametrize("text", ["46094.58", "13.03.26 14:05", "3/13/2026 14:05 PM", "31.02.2026 14:05", "noon", "02. Mai"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^give a time such as"):
        read_time(text)


def inbox_after(
    folder: Path, *files: tuple[str, bytes], expected: tuple[str, ...] = ("d-1-000", "d-1-001")
) -> tuple[Inbox, list]:
    """An inbox that has looked at the files, saved one after another, and what it reported."""
    inbox, said = Inbox(folder, count().__next__), []
    inbox.report_problem = lambda event, sentence: said.append((event, sentence))
    inbox.expect(expected)
    for name, raw in files:
        (folder / name).write_bytes(raw)
        for _ in range(5):
            inbox.poll()
    return inbox, said


ONE = b"request_id,status,a_V\nd-1-000,ok,1.5\n"


def test_rows_that_are_understood_are_taken_and_the_others_are_reported_in_one_sentence(tmp_path: Path) -> None:
    rows = b"".join(b"d-1-%03d,done,\n" % n for n in range(2, 8))
    inbox, said = inbox_after(tmp_path, ("a.csv", ONE + rows))
    assert list(inbox.results) == ["d-1-000"]
    ((event, sentence),) = said
    assert event == "results_unreadable"
    assert sentence.count("has the status 'done'") == 3
    assert sentence.endswith("; 3 more rows like these; correct it and save it again")


@pytest.mark.parametrize(
    ("name", "raw", "sentence"),
    [
        ("a.xlsx", b"PK", "is not read: results are tables"),
        ("notes.txt", b"the tip is new", "has no column request_id and no column status"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"request_id,status\n" + b",,\n" * 6_000_000, "has 18000018 bytes, at most 16777216 are allowed"),
        ("a.csv", b"request_id,status\nd-9-000,ok\n", "holds 1 results of points that are not waited for, such as d-9-000"),
        ("a.csv", b"request_id,status,a_V\nd-1-000,,2.5\n", "has a value for 'a_V' but no status"),
    ],
    ids=["a workbook", "a note", "an empty file", "endless empty rows", "another run's table", "no status"],
)
@pytest.mark.attack("a file in the inbox that holds no result", promise="what is not understood is reported, always")
def test_whatever_gives_no_result_is_reported_once(tmp_path: Path, name: str, raw: bytes, sentence: str) -> None:
    _, said = inbox_after(tmp_path, (name, raw))
    assert len(said) == 1
    assert sentence in said[0][1]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "loop.csv", "loop.ibw"])
@pytest.mark.attack(
    "a link in the inbox to a file outside it", promise="links in the inbox are refused, and nothing of their targets is reported"
)
def test_a_link_in_the_inbox_is_refused_and_shows_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("bias_V,response,password\n1,2,hunter2\n")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "secret")
    inbox, said = inbox_after(folder, ("done.csv", f"request_id,status,loop_file\nd-1-000,ok,{name}\n".encode()))
    assert inbox.results == {}
    assert any("is a symbolic link" in sentence for _, sentence in said)
    assert not any("password" in sentence for _, sentence in said)


def test_a_mistake_that_comes_back_after_it_was_corrected_is_reported_again(tmp_path: Path) -> None:
    wrong = ONE.replace(b"ok", b"done")
    _, said = inbox_after(tmp_path, ("a.csv", wrong), ("a.csv", wrong + b"\n"), ("a.csv", ONE), ("a.csv", wrong))
    assert [event for event, _ in said] == ["results_unreadable"] * 2


@pytest.mark.parametrize("line", ['sep="', "sep=\t\t"])
def test_a_separator_line_that_does_not_fit_the_table_is_refused(line: str) -> None:
    with pytest.raises(ResultFileError, match=r"/nowhere/a.csv (has no column request_id|is not a table)"):
        parse_results(f"{line}\n".encode() + ONE, Path("/nowhere/a.csv"))


def test_an_empty_separator_line_leaves_the_separator_to_the_table() -> None:
    assert parse_results(b"sep=\n" + ONE, Path("/nowhere/a.csv"))[0][0].parameters == {"a_V": 1.5}


def test_the_tables_of_a_tab_separated_text_file_are_read(tmp_path: Path) -> None:
    inbox, said = inbox_after(tmp_path, ("a.txt", SAVED["Unicode text of Excel"]), expected=("d-1-000", "d-1-001", "d-1-003"))
    assert list(inbox.results) == ["d-1-000", "d-1-001", "d-1-003"]
    assert said == []


def test_a_result_is_corrected_until_it_is_collected_and_a_later_change_is_reported(tmp_path: Path) -> None:
    inbox, said = inbox_after(tmp_path, ("a.csv", ONE), ("a.csv", ONE.replace(b"1.5", b"1.6")))
    assert inbox.results.pop("d-1-000").parameters == {"a_V": 1.6}
    assert said == []
    for raw in (b"request_id;status;a_V\nd-1-000;OK;1,60\n", ONE.replace(b"1.5", b"1.7")):
        assert said == []
        (tmp_path / "a.csv").write_bytes(raw)
        for _ in range(5):
            inbox.poll()
    ((event, sentence),) = said
    assert event == "results_unused"
    assert "changes 1 results that were already sent, such as that of d-1-000" in sentence
    assert inbox.results == {}


def test_endless_empty_rows_do_not_count_as_results() -> None:
    found, problems = parse_results(ONE + b",,\n" * 20_000, Path("/nowhere/a.csv"))
    assert ([r.request_id for r in found], problems) == (["d-1-000"], [])

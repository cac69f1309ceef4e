"""Text from elsewhere, as it is shown to people."""

import json

import pytest

from instrument_adapters.plain_text import as_cell, as_html, as_json, visible

PROMISE = "What comes from elsewhere cannot steer a terminal, add lines, or hide; the history keeps what was said."


@pytest.mark.attack("Names and reasons hold escape sequences, C1 characters, bidi overrides and new lines", promise=PROMISE)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07\x1b[2J", r"\x1b]0;owned\x07\x1b[2J"),
        ("\x9b31m red", r"\x9b31m red"),
        ("ok\r\n0 faults", r"ok\r\n0 faults"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("bt\u200bo \ufeff\u2028", r"bt\u200bo \ufeff\u2028"),
        ("\udcff.ibw", r"\udcff.ibw"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_what_a_terminal_obeys_or_an_eye_does_not_see_is_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert as_html(text) == shown.replace(r"\r\n", "\\r\n")


@pytest.mark.parametrize("text", ["", "µm, σ ± 0.1 → 畴壁", "50\u00a0µm", "Łukasz [bold]", "\\x1b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_only_a_text_of_several_lines_keeps_its_new_lines() -> None:
    assert visible("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert as_html("<b>\n&") == "&lt;b&gt;\n&amp;"


@pytest.mark.attack(
    "A reason, a name or a column begins as a spreadsheet's formula", promise="A table holds text, never a formula."
)
@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "＝1"])
def test_a_cell_is_never_a_formula(text: str) -> None:
    assert as_cell(text) == "'" + visible(text, keep="\n")
    assert [as_cell(value) for value in (-1.5, 3, None, "d-1", "a=b")] == [-1.5, 3, None, "d-1", "a=b"]


def test_json_is_ascii_and_reads_back() -> None:
    value = {"reason": "\x1b[2J \x9b \u202e µ \udcff"}
    assert as_json(value).isascii()
    assert json.loads(as_json(value)) == value

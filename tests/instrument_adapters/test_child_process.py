"""What a child process wrote last."""

from pathlib import Path

import pytest

from instrument_adapters.child_process import last_words, module_command, module_environment

TRACE = b'Traceback (most recent call last):\n  File "a.py", line 1\n\nModuleNotFoundError: No module named \x1b[31mh5py\n'
CRASH = (
    b"noise\nFatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n"
    b'  File "a.py", line 2 in f\n  File "b.py", line 9\n'
)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"", ""),
        (b" \n\n", ""),
        (TRACE, r'Traceback (most recent call last): / File "a.py", line 1 / ModuleNotFoundError: No module named \x1b[31mh5py'),
        (b"x\n" * 99 + b"\xff", "x / x / \ufffd"),
        (CRASH, 'Fatal Python error: Aborted / Current thread 0x1 (most recent call first): / File "a.py", line 2 in f'),
    ],
)
def test_the_last_lines_are_quoted_in_one_line(output: bytes, said: str, tmp_path: Path) -> None:
    assert last_words(output) == said
    (tmp_path / "log").write_bytes(output)
    assert last_words(tmp_path / "log") == said


def test_a_long_line_is_cut_and_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert len(last_words(b"x" * 1_000_000)) == 300
    assert last_words(tmp_path / "no.log") == ""


def test_our_modules_run_without_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["", "/ours", "/libraries"])
    assert module_command("simulators", "--help")[1:] == ["-P", "-m", "simulators", "--help"]
    environment = module_environment()
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["PYTHONPATH"].split(":" if ":" in environment["PYTHONPATH"] else ";") == ["/ours", "/libraries"]

"""What is written for Igor and how its answers are read, with another program in place of Igor."""

import itertools
import math
import sys
import threading
from pathlib import Path

import pytest

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.mfp3d.igor_transport import IgorTransport
from instrument_adapters.mfp3d.transport import NoAnswerError, Transport

# Records every command and answers a query with the content of reply.txt.
FAKE = """
import pathlib, re
here = pathlib.Path({here!r})
text = (here / "vaestar.arcmd").read_bytes().decode()
with open(here / "heard.txt", "a", newline="") as heard:
    heard.write(text)
found = re.search(r'Open vaestarFile as "(.*?)"', text)
if found and (here / "reply.txt").exists():
    pathlib.Path(found[1].replace(chr(92) * 2, chr(92))).write_bytes((here / "reply.txt").read_bytes())
"""
IGOR = Path(r"C:\AsylumResearch\v16\Igor Pro Folder\Igor.exe")


def transport(folder: Path, program: str | None = None, deadline_s: float = 10.0) -> IgorTransport:
    launch = [sys.executable, "-S", "-c", program or FAKE.format(here=str(folder))]
    return IgorTransport(IGOR, folder, folder, deadline_s=deadline_s, launch=launch, wall=itertools.count().__next__)


def heard(folder: Path) -> list[str]:
    return (folder / "heard.txt").read_bytes().decode().split("\r\n")[:-1]


def test_it_is_a_transport(tmp_path: Path) -> None:
    way: Transport = transport(tmp_path)
    assert way.folder == tmp_path
    assert way.now().tzinfo is not None


def test_the_batch_file_starts_igor_with_the_command_file(tmp_path: Path) -> None:
    workspace = tmp_path / "100% ours"
    IgorTransport(IGOR, tmp_path, workspace)
    commands = str(workspace / "vaestar.arcmd").replace("%", "%%")
    assert (workspace / "vaestar.bat").read_bytes().decode() == f'@echo off\r\n"{IGOR}" "{commands}"\r\n'


def test_a_command_reaches_igor_as_it_was_said(tmp_path: Path) -> None:
    text = 'ARExecuteControl("DownScan_0","MasterPanel",0,"")'
    transport(tmp_path).execute(text)
    assert heard(tmp_path) == [text]


@pytest.mark.parametrize(("reply", "value"), [("5.0000000000000004e-06\r\n", 5e-6), ("-1.16\r\n", -1.16), ("INF\r\n", math.inf)])
def test_an_answer_is_read_from_a_file_of_its_own_and_removed(tmp_path: Path, reply: str, value: float) -> None:
    (tmp_path / "reply.txt").write_bytes(reply.encode())
    way = transport(tmp_path)
    assert way.read('GV("ScanSize")') == value
    way.read('GV("ScanSize")')
    first, second = heard(tmp_path)
    assert first.startswith("Variable/G vaestarFile;Open vaestarFile as ")
    assert first.endswith('fprintf vaestarFile,"%.17g\\r\\n",GV("ScanSize");Close vaestarFile')
    assert first != second
    assert not list(tmp_path.glob("answer-*"))


def test_a_nan_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "reply.txt").write_bytes(b"NaN\r\n")
    assert math.isnan(transport(tmp_path).read('GV("Nothing")'))


@pytest.mark.parametrize("reply", [None, "5e-06", ""], ids=["no answer", "unfinished line", "empty file"])
def test_without_a_whole_answer_the_deadline_ends_the_wait(tmp_path: Path, reply: str | None) -> None:
    if reply is not None:
        (tmp_path / "reply.txt").write_bytes(reply.encode())
    with pytest.raises(NoAnswerError, match=r'did not answer GV\("ScanSize"\) within 3 s'):
        transport(tmp_path, deadline_s=3.0).read('GV("ScanSize")')


def test_an_answer_that_is_no_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "reply.txt").write_bytes(b"expected a number\r\n")
    with pytest.raises(NoAnswerError, match="answered 'expected a number'"):
        transport(tmp_path).read('GV("ScanSize")')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import threading; threading.Event().wait(60)", "within 0.3 s; start the instrument's software"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
    ids=["hangs", "fails"],
)
def test_a_program_that_hangs_or_fails_is_told(tmp_path: Path, program: str, says: str) -> None:
    deadline_s = 0.3 if "wait" in program else 10.0
    with pytest.raises(NoAnswerError, match=says):
        transport(tmp_path, program, deadline_s).execute("PV()")


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    way = IgorTransport(IGOR, tmp_path, tmp_path, launch=[str(tmp_path / "no such program")])
    with pytest.raises(NoAnswerError, match="cannot be started"):
        way.execute("PV()")


@pytest.mark.slow
def test_closing_wakes_a_sleeper_and_commands_are_still_executed(tmp_path: Path) -> None:
    way = transport(tmp_path)
    way.sleep(0.0)
    closing = threading.Thread(target=way.close)
    closing.start()
    with pytest.raises(InstrumentFaultError, match="was closed"):
        way.sleep(60.0)
    closing.join()
    way.execute("StopScan")
    assert heard(tmp_path) == ["StopScan"]

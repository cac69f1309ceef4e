"""A `Transport` to a real MFP-3D through Igor Pro on the microscope's PC. It was NOT tried on a real instrument.

A command is written to a `.arcmd` file and handed to the running Igor by a `.bat` file that starts `Igor.exe` with it; to read
a number, Igor is told to write it to a text file. Both ways were read in public drivers; the tests check what is written and
how answers are read, with a program in place of Igor. Every call has a deadline, since with Igor not running a naive wait hangs
for ever.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.mfp3d.igor_commands import SAFE
from instrument_adapters.mfp3d.transport import NoAnswerError

_POLL_S = 0.02


class IgorTransport:
    """The way to Igor on this PC.

    Parameters
    ----------
    igor
        `Igor.exe` of the manufacturer's software.
    folder
        Where that software saves its files; not changed here.
    workspace
        A folder of our own for commands and answers; it is made.
    deadline_s
        How long a command or an answer may take.
    launch
        What is run for each command; by default the `.bat` file.
    wall
        Wall seconds from any origin, for the deadline of an answer.
    """

    def __init__(
        self,
        igor: Path,
        folder: Path,
        workspace: Path,
        *,
        deadline_s: float = 10.0,
        launch: Sequence[str] | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._workspace, self._deadline_s, self._wall = folder, workspace, deadline_s, wall
        self._closed, self._halted, self._woken = threading.Event(), threading.Event(), threading.Event()
        self._one_at_a_time = threading.Lock()
        self._questions = 0
        workspace.mkdir(parents=True, exist_ok=True)
        self._commands, batch = workspace / "vaestar.arcmd", workspace / "vaestar.bat"
        batch.write_bytes(f"@echo off\r\n{_quoted(igor)} {_quoted(self._commands)}\r\n".encode())
        self._launch = tuple(launch) if launch is not None else ("cmd", "/c", str(batch))

    @property
    def folder(self) -> Path:
        """Where files appear."""
        return self._folder

    def execute(self, text: str) -> None:
        """Hand one line to Igor; whether the controller accepts it, nobody says.

        Raises
        ------
        NoAnswerError
            If Igor did not take it before the deadline, or could not be started.
        InstrumentFaultError
            If this transport was halted; only what brings the instrument to rest is then handed over.
        """
        with self._one_at_a_time:
            self._refuse_if_halted(text)
            self._hand_over(text)

    def _hand_over(self, text: str) -> None:
        written = self._commands.with_suffix(".new")
        written.write_bytes(f"{text}\r\n".encode())
        written.replace(self._commands)
        try:
            done = subprocess.run(  # noqa: S603 - the program is the configuration's, nothing of it comes from the wire
                self._launch, timeout=self._deadline_s, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(
                f"Igor did not take {text!r} within {self._deadline_s:g} s; start the instrument's software, then connect again"
            ) from error
        except OSError as error:
            raise NoAnswerError(f"{self._launch[0]} cannot be started ({error.strerror}); give the path of Igor.exe") from error
        if done.returncode != 0:
            raise NoAnswerError(
                f"handing {text!r} to Igor ended with exit code {done.returncode}; see whether the path of Igor.exe is right"
            )

    def read(self, expression: str) -> float:
        """Value of a numeric expression, written by Igor to a text file of its own, so that no late answer is mistaken.

        Raises
        ------
        NoAnswerError
            If no number was there before the deadline.
        """
        self._questions += 1
        answer = self._workspace / f"answer-{os.getpid()}-{self._questions}.txt"
        answer.unlink(missing_ok=True)
        self.execute(_question(expression, answer))
        due = self._wall() + self._deadline_s
        while (value := _answered(answer)) is None:
            self._refuse_if_halted(expression)
            if self._wall() >= due:
                raise NoAnswerError(
                    f"Igor did not answer {expression} within {self._deadline_s:g} s; see whether it shows an error or is busy"
                )
            time.sleep(_POLL_S)
        answer.unlink(missing_ok=True)
        return value

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        InstrumentFaultError
            If this transport was closed or halted before or meanwhile.
        """
        self._woken.wait(seconds)
        if self._closed.is_set():
            raise InstrumentFaultError("the connection to the instrument was closed; connect again to go on")
        self._refuse_if_halted("waiting")

    def elapsed_s(self) -> float:
        """Wall seconds."""
        return self._wall()

    def now(self) -> datetime:
        """Wall time in UTC."""
        return datetime.now(UTC)

    def halt(self) -> None:
        """Wake whoever sleeps, from any thread; only what brings the instrument to rest can be executed until `release`."""
        self._halted.set()
        self._woken.set()

    def release(self) -> None:
        """Let everything be executed again."""
        self._halted.clear()
        if not self._closed.is_set():
            self._woken.clear()

    def close(self) -> None:
        """Wake whoever sleeps, from any thread; commands can still be executed."""
        self._closed.set()
        self._woken.set()

    def _refuse_if_halted(self, text: str) -> None:
        if self._halted.is_set() and text not in SAFE:
            raise InstrumentFaultError(f"the instrument was halted ({text!r} was not done); release it to go on")


def _quoted(path: Path) -> str:
    """A path for a `.bat` file, where a per cent sign would begin a variable."""
    return '"' + str(path).replace("%", "%%") + '"'


def _question(expression: str, answer: Path) -> str:
    """Igor's text for writing the value of an expression to a file; its strings double the backslash."""
    path = str(answer).replace("\\", "\\\\")
    return f'Variable/G vaestarFile;Open vaestarFile as "{path}";fprintf vaestarFile,"%.17g\\r\\n",{expression};Close vaestarFile'


def _answered(answer: Path) -> float | None:
    """The number in the file, or None while its line is not complete."""
    try:
        text = answer.read_bytes().decode("ascii", "replace")
    except OSError:  # not there yet, or Igor holds it
        return None
    if not text.endswith("\n"):
        return None
    try:
        return float(text)
    except ValueError as error:
        raise NoAnswerError(f"Igor answered {text.strip()[:40]!r} where a number is needed; see what its window shows") from error

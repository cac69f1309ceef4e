"""A `Transport` to a real MFP-3D through Igor Pro on the microscope's PC. NOT tested on a real instrument.

A command is written to a `.arcmd` file, and a `.bat` file passes it to the running Igor by starting `Igor.exe` with it. To read a
number, Igor is made to write it to a text file. Both methods come from public drivers. The tests check what is written and how
answers are read, with another program in place of Igor. Every call has a deadline, since without one it would hang forever if
Igor were not running.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from instrument_adapters.child_process import last_words
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.mfp3d.igor_commands import SAFE_COMMANDS
from instrument_adapters.mfp3d.transport import NoAnswerError
from instrument_adapters.new_file import open_new

_POLL_S = 0.02


class IgorTransport:
    """Connection to Igor on this PC.

    Parameters
    ----------
    igor
        Path of the manufacturer's `Igor.exe`.
    folder
        Folder to which that software saves its files; it is only read.
    workspace
        Folder for commands and answers; created if missing.
    deadline_s
        Longest time for a command or an answer, in seconds.
    launch
        Command line that is run for each command; by default the `.bat` file.
    wall
        Monotonic clock in seconds from any origin, for the deadline of an answer.
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
        self._closed, self._halted, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._queries = 0
        workspace.mkdir(parents=True, exist_ok=True)
        self._commands, batch = workspace / "vaestar.arcmd", workspace / "vaestar.bat"
        with open_new(batch) as file:
            file.write(f"@echo off\r\n{_quoted(igor)} {_quoted(self._commands)}\r\n".encode())
        self._launch = tuple(launch) if launch is not None else ("cmd", "/c", str(batch))

    @property
    def folder(self) -> Path:
        """Folder to which the controller saves its files."""
        return self._folder

    def execute(self, text: str) -> None:
        """Pass one line to Igor; there is no reply, so whether the controller accepted it is not known.

        Raises
        ------
        NoAnswerError
            If Igor did not take the line before the deadline, or could not be started.
        InstrumentFaultError
            If this transport is halted; only `SAFE_COMMANDS` are passed on then.
        """
        with self._lock:
            self._refuse_if_halted(text)
            self._send(text)

    def _send(self, text: str) -> None:
        written = self._commands.with_suffix(".new")
        with open_new(written) as file:
            file.write(f"{text}\r\n".encode())
        written.replace(self._commands)
        try:
            done = subprocess.run(  # noqa: S603 - the program comes from the configuration, never from the wire
                self._launch, timeout=self._deadline_s, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(
                f"Igor did not take {text!r} within {self._deadline_s:g} s; start the instrument's software and connect again"
            ) from error
        except OSError as error:
            raise NoAnswerError(f"{self._launch[0]} cannot be started ({error.strerror}); give the path of Igor.exe") from error
        if done.returncode != 0:
            said = last_words(done.stderr or done.stdout)
            how = f"exit code {done.returncode}" + (f" ({said})" if said else "")
            raise NoAnswerError(f"passing {text!r} to Igor ended with {how}; check the path of Igor.exe")

    def read(self, expression: str) -> float:
        """Value of a numeric expression; each query has its own file, so that a late answer is never assigned to another query.

        Raises
        ------
        NoAnswerError
            If Igor wrote no number before the deadline.
        """
        self._queries += 1
        answer = self._workspace / f"answer-{os.getpid()}-{self._queries}.txt"
        answer.unlink(missing_ok=True)
        self.execute(_query_command(expression, answer))
        due = self._wall() + self._deadline_s
        while (value := _read_answer(answer)) is None:
            self._refuse_if_halted(expression)
            if self._wall() >= due:
                raise NoAnswerError(
                    f"Igor did not answer {expression} within {self._deadline_s:g} s; check whether it shows an error or is busy"
                )
            time.sleep(_POLL_S)
        answer.unlink(missing_ok=True)
        return value

    def sleep(self, seconds: float) -> None:
        """Wait the given seconds.

        Raises
        ------
        InstrumentFaultError
            If this transport was closed or halted before or during the wait.
        """
        self._wake.wait(seconds)
        if self._closed.is_set():
            raise InstrumentFaultError("the connection to the instrument was closed; connect again to continue")
        self._refuse_if_halted("waiting")

    def elapsed_s(self) -> float:
        """Wall time in seconds, from an arbitrary origin."""
        return self._wall()

    def now(self) -> datetime:
        """Wall time in UTC."""
        return datetime.now(UTC)

    def halt(self) -> None:
        """End every wait, from any thread; until `release` only `SAFE_COMMANDS` can be executed."""
        self._halted.set()
        self._wake.set()

    def release(self) -> None:
        """Allow all commands and waits again."""
        self._halted.clear()
        if not self._closed.is_set():
            self._wake.clear()

    def close(self) -> None:
        """End every wait, from any thread; commands can still be executed."""
        self._closed.set()
        self._wake.set()

    def _refuse_if_halted(self, text: str) -> None:
        if self._halted.is_set() and text not in SAFE_COMMANDS:
            raise InstrumentFaultError(f"the instrument was halted ({text!r} was not executed); release it to continue")


def _quoted(path: Path) -> str:
    """Path quoted for a `.bat` file, in which a per cent sign would begin a variable."""
    return '"' + str(path).replace("%", "%%") + '"'


def _query_command(expression: str, answer: Path) -> str:
    """Igor command that writes the value of an expression to a file; backslashes are doubled in Igor's strings."""
    path = str(answer).replace("\\", "\\\\")
    return f'Variable/G vaestarFile;Open vaestarFile as "{path}";fprintf vaestarFile,"%.17g\\r\\n",{expression};Close vaestarFile'


def _read_answer(answer: Path) -> float | None:
    """The number in the file, or None while its line is not complete."""
    try:
        text = answer.read_bytes().decode("ascii", "replace")
    except OSError:  # does not exist yet, or Igor has it open
        return None
    if not text.endswith("\n"):
        return None
    try:
        return float(text)
    except ValueError as error:
        raise NoAnswerError(f"Igor answered {text.strip()[:40]!r} instead of a number; look at its window") from error

"""Starts, kills, monitors and restarts agent and instruments as the processes that a user runs."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.commandline import REPOSITORY
from benchmarks.harness.processes import descendants

STATE_FILE = "service.json"
_START_S = 180.0
_STOP_S = 60.0
_POLL_S = 0.02

SMALL_SEARCH = """
[search]
windows_px = [9]
invariances = ["v"]
families = ["vae", "polar"]
seeds = 2
workers = 2
[train]
steps = 60
[recommend]
points = 6
spacing_m = 60e-9
[service]
heartbeat_s = 1.0
messages_per_s = 1000.0
http = ""
"""
#: A search without training.
TINY_SEARCH = """
[search]
windows_px = [7]
families = ["polar"]
seeds = 1
workers = 1
[recommend]
points = 10
spacing_m = 60e-9
[service]
heartbeat_s = 2.0
messages_per_s = 1000.0
http = ""
"""


class BrokenLoopError(RuntimeError):
    """A loop makes no progress any more; the message says what was expected."""


class Daemon:
    """A process that can be killed and started again.

    Parameters
    ----------
    name
        Name in messages and of the log file.
    command
        Function that returns the arguments after `python -m`; called at each start, since options may change.
    directory
        Working directory, and directory of the log.

    Attributes
    ----------
    lives
        Number of starts.
    ended
        Exit codes of processes that ended without being killed.
    """

    def __init__(self, name: str, command: Callable[[], Sequence[str]], directory: Path) -> None:
        self.name, self._command, self._directory = name, command, directory
        self.log = directory / f"{name}.log"
        self.lives = 0
        self.ended: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the current process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        if self._process is not None and self._process.poll() is not None and self._process.returncode != -signal.SIGKILL:
            self.ended.append(self._process.returncode)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command()],
                cwd=self._directory,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C ends only the benchmark, which then stops these processes
            )
        self.lives += 1

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code; a process that does not end is killed."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self.wait(_STOP_S)

    def wait(self, seconds: float) -> int:
        """Wait for the exit code; a process that does not end within `seconds` is killed."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def tail(self, lines: int = 15) -> str:
        """Last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Site:
    """A run directory with its agent and any number of instruments; leaving the context stops all processes.

    Parameters
    ----------
    directory
        Directory of the run, the logs and the spools; it is created.
    config
        Configuration of the agent, as TOML.
    """

    def __init__(self, directory: Path, config: str = SMALL_SEARCH) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.run = directory, directory / "run"
        (directory / "agent.toml").write_text(config)
        # The ports stay the same after a restart, so that clients find the agent again.
        self.bind, self.telemetry = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        self.agent = Daemon("agent", self._agent_command, directory)
        self.adapters: dict[str, Daemon] = {}

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *exc: object) -> None:
        for daemon in (*self.adapters.values(), self.agent):
            if daemon.running:
                daemon.stop()

    def _agent_command(self) -> list[str]:
        options = {"--run": "run", "--config": "agent.toml", "--bind": self.bind, "--telemetry": self.telemetry}
        return ["agent", "serve", *(text for pair in options.items() for text in pair)]

    def start_agent(self) -> None:
        """Start the agent and wait until it listens."""
        self.agent.start()
        self.wait_for(lambda: self.announced().get("pid") == self.agent.pid, _START_S, "the agent to listen")

    def announced(self) -> Mapping[str, Any]:
        """Contents of the agent's state file in the run directory; empty if there is none."""
        with contextlib.suppress(OSError, ValueError):
            found: Mapping[str, Any] = json.loads((self.run / STATE_FILE).read_text())
            return found
        return {}

    def adapter(self, name: str, options: Callable[[], Sequence[str]], config: str = "") -> Daemon:
        """An instrument, not yet started; its actions are recorded in `NAME.diary.jsonl` (`benchmarks.service.adapter`)."""
        (self.directory / f"{name}.toml").write_text(config)
        fixed = ["--connect", self.bind, "--instrument-id", name, "--config", f"{name}.toml", "--spool", f"{name}.spool"]

        def command() -> list[str]:
            return ["benchmarks.service.adapter", f"{name}.diary.jsonl", *fixed, *options()]

        self.adapters[name] = Daemon(name, command, self.directory)
        return self.adapters[name]

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until a condition holds; `what` describes it in the error message.

        Raises
        ------
        BrokenLoopError
            If it does not hold within `seconds`.
        """
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise BrokenLoopError(
                    f"waited {seconds:.0f} s for {what}, without success; last lines of the agent's log:\n{self.agent.tail()}"
                )
            time.sleep(_POLL_S)


def free_ports(count: int) -> list[int]:
    """Free TCP ports of this computer."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(s.getsockname()[1]) for s in sockets]


def workers_of(pid: int) -> list[int]:
    """Process ids of the training workers of an agent."""
    return [child for child in descendants(pid) if b"spawn_main" in _read(child, "cmdline")]


def footprint(pid: int) -> dict[str, float]:
    """Resident memory in MiB, open files and threads of one process; zeros if it has ended."""
    status = dict(_split(line) for line in _read(pid, "status").decode(errors="replace").splitlines() if ":" in line)
    try:
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        files = 0
    memory = float(status.get("VmRSS", "0 kB").split()[0]) / 1024
    return {"rss_mb": memory, "files": files, "threads": int(status.get("Threads", "0"))}


@contextlib.contextmanager
def emptied(directory: Path) -> Iterator[Path]:
    """A new, empty directory; one of the same name, left by an interrupted unit, is renamed."""
    if directory.exists():
        directory.rename(directory.with_name(f"{directory.name}.interrupted-{time.time_ns()}"))
    directory.mkdir(parents=True)
    yield directory


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""

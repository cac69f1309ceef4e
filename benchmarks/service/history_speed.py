"""What takes longer on a long history: start, `history list`, `history verify`, the page, and what the event loop does?

The histories are written by `benchmarks.service.long_history`. Each figure is that of a process of its own, as a user starts it:
wall time, and processor time, which other work on the computer disturbs less. "Deciding" and "a message" are the processor time
that the event loop spends on one decision (without its search) and on one message, medians of the last 50.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.commandline import REPOSITORY
from benchmarks.service.long_history import SCANS_A_DAY, Generator
from benchmarks.service.processes import STATE_FILE, BrokenLoopError, emptied, footprint
from benchmarks.service.random_loops import quiet_logs

_CONFIG = """
[search]
windows_px = [7]
families = ["polar"]
seeds = 1
workers = 1
"""
_LAST = 50
_TIMEOUT_S = 300.0
_IDLE_S, _IDLE_CPU_S = 3.0, 0.2  # idle: less processor time than this in so many seconds
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def speeds(directory: Path, seed: int, sizes: Sequence[int], candidates: int) -> dict[str, Any]:
    """Times on a history at several lengths.

    Parameters
    ----------
    directory
        Directory for the history; it is created.
    seed
        Seed of the history.
    sizes
        Numbers of events, ascending.
    candidates
        Candidates of each decision.

    Returns
    -------
    dict
        `rows`, one for each length; `agent_mb_per_day`, growth of a started agent's memory per `SCANS_A_DAY` scans.
    """
    quiet_logs()
    with emptied(directory):
        run = directory / "run"
        (directory / "agent.toml").write_text(_CONFIG)
        generator = Generator(run, seed, candidates=candidates)
        rows = []
        try:
            for size in sizes:
                generator.write(size)
                rows.append(_row(directory, run, generator))
        finally:
            generator.close()
    first, last = rows[0], rows[-1]
    days = (last["scans"] - first["scans"]) / SCANS_A_DAY
    return {"rows": rows, "agent_mb_per_day": (last["agent_mb"] - first["agent_mb"]) / days}


def _row(directory: Path, run: Path, generator: Generator) -> dict[str, Any]:
    steps = {name: float(np.median(values[-_LAST:])) for name, values in generator.steps_ms.items()}
    found: dict[str, Any] = {
        "events": generator.dispatcher.recorder.newest_seq,
        "scans": len(generator.dispatcher.ledger.scans),
        "mb": sum(path.stat().st_size for path in run.glob("history.sqlite*")) / 1e6,
        "deciding_ms": steps["deciding"],
        "message_ms": steps["message"],
    }
    copy = directory / "copy"
    subprocess.run(["cp", "-r", str(run), str(copy)], check=True)  # the generator still holds the run
    try:
        for command in ("list", "verify"):
            found |= {f"{command}_{name}": value for name, value in _command(copy, command).items()}
        found |= _agent(directory, copy)
    finally:
        subprocess.run(["rm", "-r", str(copy)], check=True)
    return found


def _command(run: Path, command: str) -> dict[str, float]:
    started = time.monotonic()
    process = _started("history", command, "--run", str(run))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BrokenLoopError(f"`vaestar history {command}` ended with code {process.returncode}")
    return {"s": time.monotonic() - started, "cpu_s": usage.ru_utime + usage.ru_stime}


def _agent(directory: Path, run: Path) -> dict[str, float]:
    """Start of an agent with its page, the first answer of the page with data, and memory before and after."""
    started = time.monotonic()
    options = ("--bind", "tcp://127.0.0.1:*", "--telemetry", "", "--http", "127.0.0.1:0", "--dashboard", "--log-level", "error")
    process = _started("serve", "--run", str(run), "--config", str(directory / "agent.toml"), *options)
    try:
        state = _announced(run, process)
        found = {"start_s": time.monotonic() - started, "start_cpu_s": _cpu_s(process.pid)}
        _wait_until_idle(process.pid)
        found["agent_mb"] = footprint(process.pid)["rss_mb"]
        asked, cpu_s = time.monotonic(), _cpu_s(process.pid)
        for path in ("/api/view", "/api/view/timeline"):
            with urllib.request.urlopen(state["http"] + path, timeout=_TIMEOUT_S) as answer:
                answer.read()
        found |= {"page_s": time.monotonic() - asked, "page_cpu_s": _cpu_s(process.pid) - cpu_s}
        return found | {"page_mb": footprint(process.pid)["rss_mb"]}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_TIMEOUT_S)


def _wait_until_idle(pid: int) -> None:
    """Wait until the jobs that run at the start, such as retention, are done."""
    until, before = time.monotonic() + _TIMEOUT_S, -1.0
    while (now := _cpu_s(pid)) - before > _IDLE_CPU_S and time.monotonic() < until:
        before = now
        time.sleep(_IDLE_S)


def _announced(run: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    until = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            state: dict[str, Any] = json.loads((run / STATE_FILE).read_text())
        except (OSError, ValueError):
            time.sleep(0.01)
            continue
        if state["pid"] == process.pid:
            return state
    raise BrokenLoopError(f"no agent started on {run}")


def _started(*arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "agent", *arguments], env=environment, stdout=subprocess.DEVNULL)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


if __name__ == "__main__":
    print(json.dumps(speeds(Path(sys.argv[1]), 0, [int(text) for text in sys.argv[3:]], int(sys.argv[2])), indent=1))

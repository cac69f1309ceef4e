"""`vaestar demo`: runs the agent and a simulated microscope as two processes and shows their progress."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from rich.box import SIMPLE
from rich.table import Table

from agent.cli.exit_handling import ENDING_SIGNALS
from agent.config.model import load_config
from agent.errors import DemoError, HistoryError, IncompleteError
from agent.history.event_log import History
from agent.history.readers import decided_scan, decision_in
from agent.history.run_directory import DATABASE, STATE_FILE, new_run_directory, page_address
from agent.ledger.ledger import Ledger
from agent.reporting.terminal import OUT, print_line, search_progress
from agent.schema import event_kinds as kinds
from instrument_adapters.child_process import last_words, module_command, module_environment
from instrument_adapters.command_line.output import write_error
from instrument_adapters.errors import plain_reason
from instrument_adapters.plain_text import visible

#: A smaller search than the default, so that a cycle takes well under a minute on two cores.
DEMO_CONFIG = """# Written by `vaestar demo`: a small search, quick to watch.
[search]
windows_px = [11, 15, 21]
seeds = 2

[train]
steps = 500

[recommend]
points_per_cluster = 3
"""
_START_S = 60.0
_STOP_S = 30.0
_PARAMETERS_SHOWN = 4


def run_demo(run: Path | None, *, cycles: int, seed: int, config_path: Path | None, dask: str | None = None) -> None:
    """Run and show `cycles` closed-loop cycles, and leave history and figures in the run directory.

    Raises
    ------
    DemoError
        If the agent or the simulator does not start, or ends with an error.
    IncompleteError
        If figures could not be drawn.
    KeyboardInterrupt
        After SIGINT, SIGTERM or SIGHUP; both processes have then ended.
    HistoryError
        If the run directory already holds a run.
    """
    directory = run or new_run_directory("demo-")
    if (directory / DATABASE).exists():
        raise HistoryError(f"{directory} already holds a run; choose a new directory")
    load_config(config_path)
    config = config_path or directory / "demo.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if config_path is None:
            config.write_text(DEMO_CONFIG, encoding="utf-8")
    except OSError as error:
        raise HistoryError(
            f"{directory} cannot be the run directory: {plain_reason(error)}; choose another one with --run"
        ) from error
    started = time.monotonic()
    with _noted_signals() as raise_if_ended:
        _run_processes(directory, config, cycles=cycles, seed=seed, dask=dask, raise_if_ended=raise_if_ended)
    _summarise(directory, cycles, time.monotonic() - started)


def _run_processes(
    directory: Path, config: Path, *, cycles: int, seed: int, dask: str | None, raise_if_ended: Callable[[], None]
) -> None:
    """Run agent and simulator until the simulator has finished its cycles; both have ended when this returns or raises."""
    agent_command = ["agent", "serve", "--run", str(directory), "--config", str(config), "--seed", str(seed)]
    agent_command += ["--bind", "tcp://127.0.0.1:*", "--telemetry", "tcp://127.0.0.1:*", "--http", "127.0.0.1:0", "--dashboard"]
    agent_command += ["--dask", dask] if dask else []
    with _process(agent_command, directory / "agent.log") as agent:
        state = _wait_for_agent(agent, directory, raise_if_ended)
        print_line(f"dashboard: {page_address(state['http'], directory)}")
        simulator_command = ["simulators", "--connect", state["bind"], "--cycles", str(cycles), "--seed", str(seed)]
        simulator_command += ["--speed", "event", "--spool", str(directory / "spool")]
        with _process(simulator_command, directory / "simulator.log") as simulator:
            print_line(f"agent {state['bind']}, simulated MFP-3D, {cycles} cycles; run directory {directory}")
            _watch(state["telemetry"], agent, simulator, directory / "agent.log", raise_if_ended)
            if simulator.wait() != 0:
                raise DemoError(f"the simulator ended with an error{_said(directory / 'simulator.log')}")
        if _terminate(agent) != 0:
            raise DemoError(f"the agent did not shut down cleanly{_said(directory / 'agent.log')}")


@contextlib.contextmanager
def _noted_signals() -> Iterator[Callable[[], None]]:
    """Note signals that would end the demo; yields a function that raises KeyboardInterrupt if one has come.

    An exception raised at once could come between the start of a process and the `try` that ends it, or break off that ending,
    and would leave a process behind.
    """
    noted: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup: the demo outlives its terminal
            signal.signal(number, lambda number, _frame: noted.append(number))

    def raise_if_ended() -> None:
        if noted:
            raise KeyboardInterrupt

    try:
        yield raise_if_ended
        raise_if_ended()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module as a process that writes its output to a file and is ended when the context is left."""
    with log.open("wb") as file:
        # A session of its own: Ctrl-C reaches only the demo, which then ends both processes.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            module_command(*command), env=module_environment(), stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield process
        finally:
            _terminate(process)


def _said(log: Path) -> str:
    """What a process said last, and where it said it, as the end of a message."""
    said = last_words(log)
    return f": {said} (see {log})" if said else f"; see {log}"


def _terminate(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # its workers too: it leads a session of its own
        else:
            process.kill()
        return process.wait()


def _wait_for_agent(agent: subprocess.Popen[bytes], directory: Path, raise_if_ended: Callable[[], None]) -> dict[str, Any]:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        raise_if_ended()
        if agent.poll() is not None:
            raise DemoError(f"the agent ended before it was ready{_said(directory / 'agent.log')}")
        with contextlib.suppress(FileNotFoundError):
            state: dict[str, Any] = json.loads((directory / STATE_FILE).read_text())
            return state
        time.sleep(0.1)
    raise DemoError(f"the agent was not ready within {_START_S:g} s; see {directory / 'agent.log'}")


def _watch(
    telemetry: str,
    agent: subprocess.Popen[bytes],
    simulator: subprocess.Popen[bytes],
    log: Path,
    raise_if_ended: Callable[[], None],
) -> None:
    """Show the agent's telemetry until the simulator has ended."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket, contextlib.ExitStack() as bars:
        socket.connect(telemetry)
        socket.subscribe(b"vaestar")
        report = None
        while simulator.poll() is None:
            raise_if_ended()
            if agent.poll() is not None:
                raise DemoError(f"the agent ended while the simulator was still measuring{_said(log)}")
            if not socket.poll(200):
                continue
            message = json.loads(socket.recv_multipart()[1])
            if message["kind"] == "progress":
                report = report or bars.enter_context(search_progress(OUT))
                report(message["stage"], message["done"], message["total"])
                continue
            bars.close()
            report = None
            line = _line(message)
            if line:
                print_line(line)


def _line(message: dict[str, Any]) -> str:
    if message["kind"] == "scan":
        return f"{message['scan_id']} received"
    if message["kind"] == "provisional":
        return f"  after {', '.join(message['rungs'])}: {message['places']} points could be measured"
    if message["kind"] == "decision":
        return f"  decided: {message['explanation']}"
    if message["kind"] == "result":
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in list(message["parameters"].items())[:3])
        return f"  cluster {message['cluster']}: {message['status']} {message['reason'] or numbers}"
    return ""


def _summarise(directory: Path, cycles: int, seconds: float) -> None:
    """Print the table of results and write the figures, from the history alone."""
    from agent.reporting.decision_files import write_report  # imported here: matplotlib would delay the dashboard

    with History(directory, read_only=True) as history:
        decisions = list(history.events(kind=kinds.DECISION_MADE))
        if len(decisions) < cycles:
            raise DemoError(f"only {len(decisions)} of {cycles} scans have a decision; see {directory / 'agent.log'}")
        problems = []
        for event in decisions:
            scan, decision = decided_scan(history, event), decision_in(history, event)
            problems += write_report(scan, decision, directory / "reports" / event.subject).problems
            OUT.print(_results_table(history, event.body["scan_id"]))
        results = sum(1 for _ in history.events(kind=kinds.RESULT_RECEIVED))
    print_line(f"{len(decisions)} decisions, {results} results in {seconds:.0f} s")
    print_line(f"figures: {directory / 'reports'}")
    print_line(f"history: vaestar history list --run {directory}")
    write_error(f"run directory: {directory}")
    if problems:
        raise IncompleteError("\n".join(problems) + "\nthe run is complete; only these figures are missing")


def _results_table(history: History, scan_id: str) -> Table:
    """Return, for each cluster, the points requested and measured and mean ± standard deviation of some loop parameters."""
    ledger = Ledger.of(history.events())
    bodies = [e.body for e in history.events(kind=kinds.RESULT_RECEIVED) if e.body["scan_id"] == scan_id]
    # Voltages first: they are comparable between instruments, amplitudes only within one calibration.
    available = {name for body in bodies for name in body["parameters"]}
    names = sorted(available, key=lambda name: (not name.endswith("_V"), name))[:_PARAMETERS_SHOWN]
    table = Table(title=f"{visible(scan_id)}: loops by microstructure type (mean ± sd)", title_justify="left", box=SIMPLE)
    for heading in ("cluster", "requested", "measured", "failed", *(name.replace("_", " ") for name in names)):
        table.add_column(heading, justify="right")
    requested = [r.request.cluster for r in ledger.requests.values() if r.scan_id == scan_id]
    for cluster in sorted(set(requested)):
        mine = [body for body in bodies if body["cluster"] == cluster]
        good = [body for body in mine if body["status"] == "ok"]
        cells = [_mean_and_spread([body["parameters"][name] for body in good if name in body["parameters"]]) for name in names]
        table.add_row(str(cluster), str(requested.count(cluster)), str(len(good)), str(len(mine) - len(good)), *cells)
    return table


def _mean_and_spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else f"{values[0]:.3g}"

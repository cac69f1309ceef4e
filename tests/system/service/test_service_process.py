"""`vaestar serve` as a process: signals, kills, and the state they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from agent.schema import event_kinds as kinds
from agent.service.service import STATE_FILE
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet
from instrument_adapters.scan import Scan
from tests.agent.search.test_search import scan_of
from tests.support.data.images import two_textures
from tests.support.samples import NOW, hello
from tests.system.bench import events
from tests.system.commands import vaestar

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads processes from /proc")

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = """
[search]
windows_px = [5]
invariances = ["v"]
seeds = 1
workers = 1
[train]
steps = 1000000
"""
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an agent on `tmp_path/run` whose search never ends, and waits until it listens."""
    (tmp_path / "endless.toml").write_text(ENDLESS)
    arguments = ["--run", "run", "--config", "endless.toml", "--bind", "tcp://127.0.0.1:*", "--telemetry", "tcp://127.0.0.1:*"]
    arguments += ["--http", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:

        def started() -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / "agent.log").open("ab"))
            command = [sys.executable, "-m", "agent", "serve", *arguments]
            process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, stderr=log, env=environment))
            stack.callback(process.kill)
            wait_for(lambda: process.poll() is not None or announced(tmp_path).get("pid") == process.pid, 60)
            assert process.poll() is None, (tmp_path / "agent.log").read_text()
            return process

        yield started


def announced(directory: Path) -> dict:
    try:
        return json.loads((directory / "run" / STATE_FILE).read_text())
    except FileNotFoundError:
        return {}


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.05)


def stat(process: int) -> tuple[str, int] | None:
    """State and parent of a process; None if it does not exist."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return state, int(parent)


def children(process: int) -> list[int]:
    numbers = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()]
    return [n for n in numbers if (found := stat(n)) is not None and found[1] == process]


def alive(process: int) -> bool:
    found = stat(process)
    return found is not None and found[0] != "Z"


def join(context: zmq.Context, address: str, scan: Scan | None = None) -> None:
    """Send a hello and, if given, a scan; wait for the answers."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.setsockopt(zmq.ROUTING_ID, b"afm-1")
        socket.connect(address)
        exchanges: list[tuple[Packet, type]] = [(hello(), wire.Welcome)]
        if scan is not None:
            exchanges.append((scan_packet(scan, wire.Heartbeat(id="m-1", sent_at=NOW)), wire.Ack))
        for packet, answer in exchanges:
            socket.send_multipart(encode(packet))
            while not isinstance(decode(socket.recv_multipart()).message, answer):
                pass


def training(process: subprocess.Popen[bytes], directory: Path) -> list[int]:
    """The agent's child processes, once a worker among them has begun to train."""
    with zmq.Context() as context, context.socket(zmq.SUB) as watcher:
        watcher.setsockopt(zmq.LINGER, 0)
        watcher.connect(announced(directory)["telemetry"])
        watcher.subscribe(b"")
        join(context, announced(directory)["bind"], scan_of(two_textures(96)))
        log = directory / "agent.log"
        wait_for(lambda: "deciding" in log.read_text(), 10)
    wait_for(lambda: len(children(process.pid)) >= 2, 20)  # a worker and multiprocessing's resource tracker
    return children(process.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_agent_in_order_also_while_it_searches(tmp_path: Path, start: Start, number: int) -> None:
    process = start()
    workers = training(process, tmp_path) if number == signal.SIGTERM else children(process.pid)
    before = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == 0
    assert time.monotonic() - before < 60  # the search would take hours
    wait_for(lambda: not any(alive(child) for child in workers), 60)
    assert not announced(tmp_path)
    assert events(tmp_path / "run")[-1].kind == kinds.RUN_STOPPED
    assert "Traceback" not in (tmp_path / "agent.log").read_text()


def test_after_a_kill_no_worker_is_left_and_the_next_agent_decides_on_the_scan(tmp_path: Path, start: Start) -> None:
    process = start()
    workers = training(process, tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(child) for child in workers), 5)
    assert events(tmp_path / "run", kinds.SEARCH_CANCELLED, kinds.DECISION_MADE, kinds.RUN_STOPPED) == []

    again = start()
    (tmp_path / "agent.log").write_text("")
    with zmq.Context() as context:
        join(context, announced(tmp_path)["bind"])
    wait_for(lambda: "deciding" in (tmp_path / "agent.log").read_text(), 10)
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0
    first, second = events(tmp_path / "run", kinds.RUN_STARTED)
    assert first.subject == second.subject
    assert len(events(tmp_path / "run", kinds.SCAN_RECEIVED)) == 1


def test_a_failed_start_is_explained_in_one_sentence(tmp_path: Path) -> None:
    done = vaestar("serve", "--run", tmp_path / "run", "--bind", "tcp://0.0.0.0:1")
    assert done.returncode == 2
    assert done.stderr.startswith("vaestar: the address tcp://0.0.0.0:1 is not on this computer's loopback")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()  # else later commands would take it for the newest run

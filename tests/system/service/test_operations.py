"""`vaestar serve` as its operator sees it: a process with an HTTP server, a log and an exit code."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from typer.testing import CliRunner

from agent.cli.app import app
from agent.history.event_log import History
from agent.history.head import Head
from agent.history.run_directory import STATE_FILE, TOKEN_FILE
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode
from tests.agent.cli.test_log_setup import _put_back  # noqa: F401 - the command configures logging
from tests.support.samples import ack, hello, sample_scan, scan_message
from tests.system.bench import events
from tests.system.commands import quick_config, vaestar
from tests.system.service.test_service_process import wait_for

pytestmark = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="limits the file size of another process, which only Linux can"
)

ROOT = Path(__file__).resolve().parents[3]


class Agent:
    """An agent on `directory/run`, with its log in a file and JSON on stderr."""

    def __init__(self, directory: Path) -> None:
        self.run, self.log = directory / "run", directory / "logs" / "agent.log"
        arguments = ["--run", self.run, "--config", quick_config(directory), "--bind", "tcp://127.0.0.1:*", "--telemetry", ""]
        arguments += ["--http", "127.0.0.1:0", "--log-file", self.log, "--log-format", "json"]
        command = [sys.executable, "-m", "agent", "serve", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=directory)
        wait_for(lambda: self.process.poll() is not None or self.state.get("pid") == self.process.pid, 60)
        assert self.process.poll() is None, self.process.stderr.read()

    @property
    def state(self) -> dict:
        try:
            return json.loads((self.run / STATE_FILE).read_text())
        except FileNotFoundError:
            return {}

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(self.state["http"] + path, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            error.add_note(error.read().decode())
            raise

    def end(self) -> tuple[int, list[dict]]:
        """Send SIGTERM and return the exit code and the lines of the log."""
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in stderr.splitlines()]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    found = Agent(tmp_path)
    yield found
    found.process.kill()
    found.process.communicate()


def request(connected: zmq.Socket, packet: Packet, kind: type) -> wire.Message:
    """Send a packet and return the next message of the given kind."""
    connected.send_multipart(encode(packet))
    return receive(connected, kind)


def receive(connected: zmq.Socket, kind: type) -> wire.Message:
    while True:
        message = decode(connected.recv_multipart()).message
        if isinstance(message, kind):
            return message


def test_an_agent_is_monitored_over_http_and_shuts_down_cleanly(agent: Agent, tmp_path: Path) -> None:
    assert json.loads(agent.get("/healthz"))["ok"] is True
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, 10_000)
        dealer.setsockopt(zmq.ROUTING_ID, b"afm-1")
        dealer.connect(agent.state["bind"])
        request(dealer, hello(), wire.Welcome)
        request(dealer, scan_message(sample_scan()), wire.Ack)
        request(dealer, scan_message(sample_scan()), wire.RecommendationMessage)
        wait_for(lambda: 'vaestar_decisions_total{outcome="' in agent.get("/metrics"), 5)
        metrics = agent.get("/metrics")
        assert 'vaestar_scans_total{instrument="afm-1"} 1.0' in metrics
        assert "vaestar_ack_seconds_count 2.0" in metrics
        assert [d["scan_id"] for d in json.loads(agent.get("/api/decisions"))["decisions"]] == ["scan-1"]

        stopping = subprocess.Popen(
            [sys.executable, "-m", "agent", "stop", "--run", agent.run, "--reason", "smoke", "--by", "eva"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        command = receive(dealer, wire.CommandMessage)
        assert (command.command, command.by, command.reason) == ("stop", "eva", "smoke")
        dealer.send_multipart(encode(ack(command.id)))
        stdout, _ = stopping.communicate(timeout=60)
    assert stopping.returncode == 0
    first, answer = stdout.splitlines()
    assert first == "EMERGENCY STOP: recorded by the agent (all instruments, by eva)"
    assert re.fullmatch(r"  afm-1: answered within \d+ ms, stopped", answer)
    metrics = agent.get("/metrics")
    assert 'vaestar_commands_total{command="stop"} 1.0' in metrics
    assert 'vaestar_instrument_may_go_on{instrument="afm-1"} 0.0' in metrics

    status = vaestar("status", "--run", agent.run)
    assert status.returncode == 0, status.stderr
    assert "healthy" in status.stdout
    assert "stopped (stopped in an emergency by eva: smoke)" in status.stdout

    code, lines = agent.end()
    assert code == 0
    assert not (agent.run / TOKEN_FILE).exists()
    (listening,) = (line for line in lines if line["event"] == "listening")
    assert listening["http"].startswith("http://127.0.0.1:")
    (stopped,) = (line for line in lines if line["event"] == "stopped")
    with History(agent.run, read_only=True) as history:
        assert stopped["head"] == str(history.head)
        assert history.inspect(Head.parse(listening["head"])).faults == []
    assert next(line for line in lines if line["event"] == "decided")["scan"] == "scan-1"
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in lines)
    assert [json.loads(line) for line in agent.log.read_text().splitlines()] == lines
    assert vaestar("status", "--run", agent.run).returncode == 3


def test_a_full_disk_ends_the_agent_with_a_message_and_nothing_acknowledged_is_lost(agent: Agent, tmp_path: Path) -> None:
    acknowledged = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, 10_000)
        dealer.setsockopt(zmq.ROUTING_ID, b"afm-1")
        dealer.connect(agent.state["bind"])
        request(dealer, hello(), wire.Welcome)
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        for number in range(1000):
            dealer.send_multipart(encode(scan_message(sample_scan(f"scan-{number}"), f"m-{number}")))
            message = decode(dealer.recv_multipart()).message
            while not isinstance(message, wire.Ack | wire.Bye):
                message = decode(dealer.recv_multipart()).message
            if isinstance(message, wire.Bye):
                break
            acknowledged.append(f"scan-{number}")
    _, stderr = agent.process.communicate(timeout=60)
    last = stderr.splitlines()[-1]
    assert agent.process.returncode == 4, stderr
    assert last.startswith("vaestar: '")
    assert f"could not be written to {agent.run}: " in last
    assert "Traceback" not in stderr
    assert acknowledged
    recorded = [e.subject for e in events(agent.run, kinds.SCAN_RECEIVED)]
    assert recorded[: len(acknowledged)] == acknowledged


def test_a_second_agent_cannot_use_the_same_http_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        arguments = ["--run", str(tmp_path / "run"), "--bind", "tcp://127.0.0.1:*", "--telemetry", "", "--http", address]
        done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"vaestar: the HTTP server cannot listen on {address}: ")
    assert "choose another port with --http" in line

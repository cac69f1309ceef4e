"""Addresses of the HTTP server, its token, and how it starts and stops."""

import contextlib
import json
import os
import socket
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agent.errors import ServiceError, StorageError
from agent.history.run_directory import TOKEN_FILE
from agent.web import connections
from agent.web.server import WebServer
from tests.support.asgi import FakeControl
from tests.support.history.runs import EVENTS
from tests.support.http_server import http_server


@pytest.mark.parametrize(
    "address", ["0.0.0.0:5557", ":5557", "*:5557", "192.168.0.2:5557", "example.org:80", "[::]:5557", "5557"]
)
def test_an_address_beyond_this_computer_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ServiceError) as caught:
        WebServer(address, tmp_path)
    assert str(caught.value) == (
        f"service.http is '{address}', which is not a loopback address; use 127.0.0.1:PORT, "
        "and connect from another computer through ssh -L"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:", "127.0.0.1:http", "localhost:-1", "127.0.0.1:99999", "http://127.0.0.1:5557/"])
def test_an_invalid_address_is_refused_with_an_example(tmp_path: Path, address: str) -> None:
    with pytest.raises(ServiceError, match="is not HOST:PORT with a port up to 65535; an example is "):
        WebServer(address, tmp_path)


def test_an_address_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"cannot listen on 127.0.0.1:{port}: .*in use; is another agent .* with --http"):
            WebServer(f"127.0.0.1:{port}", tmp_path)


def test_the_token_is_new_at_each_start_for_this_user_only_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / TOKEN_FILE
    path.write_text("an old token that everybody can read")
    path.chmod(0o644)
    tokens = []
    for _ in range(2):
        with WebServer("localhost:0", tmp_path).open():
            tokens.append(path.read_text())
            if os.name == "posix":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({*tokens}) == 2
    assert all(len(token) >= 43 for token in tokens)
    assert not path.exists()


def test_a_token_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / TOKEN_FILE).mkdir()
    with pytest.raises(StorageError, match=r"control.token cannot be written: "), WebServer("127.0.0.1:0", tmp_path).open():
        pass


def test_the_server_answers_and_ends_open_streams_when_it_stops(tmp_path: Path) -> None:
    with http_server(tmp_path, FakeControl()) as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=60) as answer:
            assert json.load(answer)["ok"] is True
            assert "server" not in answer.headers
        listening = urllib.request.urlopen(f"{address}/api/events?after=0", timeout=60)
        assert listening.readline() == b": hello\n"
    rest = listening.read().decode()
    assert rest.count("\nid: ") == EVENTS  # the history, then a clean end
    listening.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/healthz", timeout=60)


def test_bytes_that_are_not_http_do_no_harm(tmp_path: Path) -> None:
    with http_server(tmp_path, FakeControl()) as address:
        host, port = address.removeprefix("http://").split(":")
        for noise in (
            b"\xff\x00\x01" * 100,
            b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 200_000,
            b"POST / HTTP/9.9\r\n\r\n",
            b"",
        ):
            with socket.create_connection((host, int(port)), timeout=60) as client:
                client.sendall(noise)
        with urllib.request.urlopen(f"{address}/healthz", timeout=60) as answer:
            assert answer.status == 200


def ask(address: str, path: str = "/healthz") -> int:
    with urllib.request.urlopen(f"{address}{path}", timeout=60) as answer:
        return answer.status


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nX: "], ids=["silent", "half a request"])
def test_any_number_of_useless_connections_leaves_room_for_a_command(tmp_path: Path, said: bytes) -> None:
    with http_server(tmp_path, FakeControl()) as address, contextlib.ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")
        listening = urllib.request.urlopen(f"{address}/api/events?after=0", timeout=60)
        for _ in range(150):
            client = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            client.sendall(said)
        assert [ask(address) for _ in range(3)] == [200] * 3
    assert listening.read().decode().count("\nid: ") == EVENTS  # a stream that is read is not useless
    listening.close()


def trickled(client: socket.socket, first: bytes) -> None:
    """Send a byte now and then, for as long as the connection is open."""
    client.sendall(first)
    while True:
        time.sleep(0.05)
        client.sendall(first[:1])


@pytest.mark.parametrize("first", [b"G", b"POST /api/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"])
def test_a_request_that_trickles_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    with http_server(tmp_path, FakeControl()) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client, pytest.raises(OSError):
            trickled(client, first)
        assert ask(address) == 200


def test_a_stream_and_a_slow_answer_outlive_the_time_for_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    with http_server(tmp_path, FakeControl()) as address:
        listening = urllib.request.urlopen(f"{address}/api/events?after=0", timeout=60)
        assert listening.readline() == b": hello\n"
        time.sleep(0.6)
        assert ask(address) == 200
    assert listening.read().decode().count("\nid: ") == EVENTS
    listening.close()

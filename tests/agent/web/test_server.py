"""Addresses of the HTTP server, its token, and how it starts and stops."""

import json
import os
import socket
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agent.errors import ServiceError
from agent.history.run_directory import TOKEN_FILE
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


@pytest.mark.parametrize("address", ["127.0.0.1:", "127.0.0.1:http", "localhost:-1"])
def test_an_invalid_address_is_refused_with_an_example(tmp_path: Path, address: str) -> None:
    with pytest.raises(ServiceError, match="is not a valid address; an example is "):
        WebServer(address, tmp_path)


def test_an_address_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"cannot listen on 127.0.0.1:{port}: .*in use; is another agent .* with --http"):
            WebServer(f"127.0.0.1:{port}", tmp_path)
    with pytest.raises(ServiceError, match=r"cannot listen on 127\.0\.0\.1:99999: "):
        WebServer("127.0.0.1:99999", tmp_path)


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
    with pytest.raises(ServiceError, match=r"control.token cannot be written: "), WebServer("127.0.0.1:0", tmp_path).open():
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

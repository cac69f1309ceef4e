"""Caps on connections and on the bytes that wait in memory, with real sockets and small caps."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

import pytest
import zmq

from agent.service import connection_guard
from agent.service.connection_guard import ConnectionGuard, allowed_connections
from tests.support.raw_zmtp import RawClient

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="the numbers of bytes come from Linux")
Open = Callable[..., tuple[ConnectionGuard, zmq.Socket, str]]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(stack: contextlib.ExitStack) -> Open:
    """Opens a guarded socket with these caps; returns the guard, the socket and its address."""

    def opened(kind: int = zmq.ROUTER, **caps: int) -> tuple[ConnectionGuard, zmq.Socket, str]:
        context = stack.enter_context(zmq.Context())
        listening = stack.enter_context(context.socket(kind))
        listening.linger = 0
        guard = ConnectionGuard(context, **caps)
        guard.watch(listening)
        listening.bind("tcp://127.0.0.1:*")
        stack.enter_context(guard.running())
        return guard, listening, listening.getsockopt_string(zmq.LAST_ENDPOINT)

    return opened


def client(stack: contextlib.ExitStack, address: str, name: str = "afm-1") -> RawClient:
    return stack.enter_context(contextlib.closing(RawClient(address, name)))


def silent(stack: contextlib.ExitStack, address: str) -> socket.socket:
    host, port = address.removeprefix("tcp://").split(":")
    return stack.enter_context(socket.create_connection((host, int(port)), timeout=30))


def speak(guard: ConnectionGuard, router: zmq.Socket, one: RawClient, size: int = 5, *, known: bool = True) -> None:
    """Send a message and read it as the agent does."""
    one.send(bytes(size))
    assert router.poll(30_000)
    parts = router.recv_multipart(copy=False)
    guard.read(int(parts[-1].get(zmq.SRCFD)), sum(len(part) for part in parts[1:]), len(parts), known=known)


def ends(tcp: socket.socket) -> bool:
    """Whether the other side closes the connection."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while tcp.recv(4096):
            pass
    return True


@linux
@pytest.mark.attack("a message of any number of large parts is sent and never ended", promise="the sum of its bytes is bounded")
def test_a_message_that_does_not_end_is_cut_off_at_the_sum_of_its_parts(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(bytes_max=4 * MIB)
    one = client(stack, address)
    speak(guard, router, one)
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(50):
            one.send(bytes(MIB), more=True)
    one.wait_until_shut()
    assert not router.poll(0)


@linux
def test_messages_that_are_read_are_not_counted_any_more(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(bytes_max=3 * MIB)
    one = client(stack, address)
    speak(guard, router, one)
    for _ in range(12):
        speak(guard, router, one, MIB)
    assert guard.connections == 1


@linux
@pytest.mark.attack("many clients begin large messages and none ends its own", promise="the sum over all connections is bounded")
def test_above_the_sum_the_message_that_began_last_is_given_up(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(bytes_max=4 * MIB, total_bytes_max=5 * MIB)
    first, second = client(stack, address, "a"), client(stack, address, "b")
    for one in (first, second):
        speak(guard, router, one)
    first.send(bytes(3 * MIB), more=True)
    wait_until(lambda: waiting(guard) >= 3 * MIB)
    second.send(bytes(3 * MIB), more=True)
    second.wait_until_shut()
    first.send(b"the end")
    assert router.poll(30_000)
    assert [len(part) for part in router.recv_multipart()[1:]] == [3 * MIB, 7]


@linux
@pytest.mark.attack("a message of millions of empty parts", promise="memory is bounded, whatever the parts are")
def test_a_message_whose_parts_take_far_more_memory_than_bytes_is_given_up(
    opened: Open, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = iter([100 * MIB])
    monkeypatch.setattr(connection_guard, "resident_bytes", lambda: next(memory, 2000 * MIB))
    guard, router, address = opened()
    one = client(stack, address)
    speak(guard, router, one)
    with contextlib.suppress(ConnectionError, TimeoutError):
        one.send_empty_parts(MIB)
    one.wait_until_shut()


@linux
def test_before_its_first_message_a_connection_may_send_little(opened: Open, stack: contextlib.ExitStack) -> None:
    _, _, address = opened()
    one = client(stack, address)
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(8):
            one.send(bytes(MIB), more=True)
    one.wait_until_shut()


@pytest.mark.attack("idle connections to the instruments' port", promise="an instrument that speaks keeps its connection")
def test_at_the_cap_the_connection_that_never_spoke_makes_room_longest_first(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(connections_max=3)
    speaking = client(stack, address)
    speak(guard, router, speaking)
    idle = [silent(stack, address) for _ in range(2)]
    wait_until(lambda: guard.connections == 3)
    newcomer = client(stack, address, "afm-2")
    assert ends(idle[0])
    speak(guard, router, newcomer)
    speak(guard, router, speaking)
    assert guard.connections == 3


@pytest.mark.attack("connections that talk nonsense", promise="an instrument that has said hello keeps its connection")
def test_at_the_cap_one_that_has_not_said_hello_makes_room(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(connections_max=2)
    stranger, known = client(stack, address, "x"), client(stack, address)
    speak(guard, router, known)
    speak(guard, router, stranger, known=False)
    newcomer = client(stack, address, "afm-2")
    stranger.wait_until_shut()
    for one in (known, newcomer):
        speak(guard, router, one)


def test_where_all_have_spoken_lately_the_new_connection_is_closed(opened: Open, stack: contextlib.ExitStack) -> None:
    guard, router, address = opened(connections_max=1)
    speaking = client(stack, address)
    speak(guard, router, speaking)
    assert ends(silent(stack, address))
    speak(guard, router, speaking)


def test_one_that_spoke_long_ago_makes_room(opened: Open, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_guard, "QUIET_S", -1.0)
    guard, router, address = opened(connections_max=1)
    before = client(stack, address)
    speak(guard, router, before)
    speak(guard, router, client(stack, address, "afm-2"))
    before.wait_until_shut()


def test_the_telemetry_port_has_a_cap_of_its_own(
    opened: Open, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_guard, "SUBSCRIBERS_MAX", 2)
    guard, _, address = opened(zmq.PUB)
    idle = [silent(stack, address) for _ in range(3)]
    assert ends(idle[0])
    assert guard.connections == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
@pytest.mark.parametrize(
    ("limits", "raised", "connections"),
    [
        ((1024, 20_000), 20_000, 256),
        ((1024, 1024), None, 256),
        ((400, 400), None, 72),
        ((100, 100), None, 8),
        ((1024, -1), 65_536, 256),
    ],
)
def test_descriptors_are_left_for_disk_and_database(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: int | None, connections: int
) -> None:
    import resource

    found: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: found.append(wanted))
    assert allowed_connections() == connections
    assert found == ([] if raised is None else [(raised, limits[1])])


def waiting(guard: ConnectionGuard) -> int:
    return sum(c.waiting for door in guard._doors for c in list(door.connections.values()))


def wait_until(condition: Callable[[], bool]) -> None:
    import time

    ends_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.002)


def test_a_message_read_before_the_thread_has_heard_of_its_connection_counts(
    stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_guard, "_EARLY_S", 60.0)
    context = stack.enter_context(zmq.Context())
    router = stack.enter_context(context.socket(zmq.ROUTER))
    guard = ConnectionGuard(context, connections_max=1)
    guard.watch(router)
    router.bind("tcp://127.0.0.1:*")
    address = router.getsockopt_string(zmq.LAST_ENDPOINT)
    speaking = client(stack, address)
    speak(guard, router, speaking)
    stack.enter_context(guard.running())
    assert ends(silent(stack, address)), "the instrument keeps its connection, the silent one is closed"
    speak(guard, router, speaking)

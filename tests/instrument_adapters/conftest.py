"""A scripted agent on a real ROUTER socket, and an instrument without physics, for the tests of the client."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
import pytest
import zmq

from instrument_adapters.client import ClientReport, ClientTimings, run_client
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import Measurement
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import (
    Ack,
    AnyMessage,
    CommandMessage,
    Heartbeat,
    Hello,
    Limits,
    MeasurementRequest,
    RecommendationMessage,
    Resend,
    ResultMessage,
    ScanMessage,
    Snapshot,
    SnapshotMessage,
    TroubleMessage,
    Welcome,
)
from instrument_adapters.scan import Scan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAST = ClientTimings(repeat_s=0.1, repeat_max_s=0.2, heartbeat_s=0.05, silence_s=0.5, stop_s=0.2)


class FakeAgent:
    """Answers as `script` says; where that returns None it welcomes, acknowledges, and recommends `points`."""

    def __init__(self, address: str = "tcp://127.0.0.1:*", run_id: str = "run-1") -> None:
        self.run_id = run_id
        self.received: list[AnyMessage] = []
        self.frames: list[list[bytes]] = []
        self.script: Callable[[AnyMessage], list[AnyMessage | bytes] | None] = lambda _: None
        self.points: Callable[[str], list[tuple[float, float]]] = lambda _: [(1e-6, 1e-6), (2e-6, 2e-6)]
        self.seq, self.stop_seq = 0, 0
        self.state, self.state_reason = "running", ""
        self.newest_scan_id: str | None = None
        self._numbers: dict[str, int] = {}
        self._outgoing: queue.Queue[AnyMessage] = queue.Queue()
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.bind(address)
        self.address = self._socket.getsockopt(zmq.LAST_ENDPOINT).decode()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def send(self, message: AnyMessage) -> None:
        """Send a message to the last peer that wrote."""
        self._outgoing.put(message)

    def got(self, kind: type) -> list:
        return [m for m in self.received if isinstance(m, kind)]

    def wait_for(self, kind: type) -> list:
        """Received messages of a kind, once there is one: a client may end before its last messages are read here."""
        deadline = time.monotonic() + 60
        while not self.got(kind):
            assert time.monotonic() < deadline, f"no {kind.__name__} came within 60 s"
            time.sleep(0.005)
        return self.got(kind)

    def default_answers(self, message: AnyMessage) -> list[AnyMessage]:
        match message:
            case Hello():
                return [
                    Welcome(
                        id=f"welcome-{message.id}",
                        sent_at=NOW,
                        of=message.id,
                        run_id=self.run_id,
                        scans_recorded=0,
                        snapshot=self.snapshot(),
                    )
                ]
            case Resend():
                return [SnapshotMessage(id=f"snapshot-{message.id}", sent_at=NOW, of=message.id, snapshot=self.snapshot())]
            case ScanMessage():
                return [self.ack(message), self.recommendation(message.scan_id)]
            case ResultMessage() | TroubleMessage():
                return [self.ack(message)]
        return []

    def ack(self, message: AnyMessage, **fields: object) -> Ack:
        return Ack(id=f"ack-{len(self.received)}", sent_at=NOW, of=message.id, **fields)

    def recommendation(self, scan_id: str) -> RecommendationMessage:
        points = self.points(scan_id)
        return RecommendationMessage(
            id=f"recommendation-{scan_id}",
            sent_at=NOW,
            seq=self._number(scan_id),
            decision_id=f"decision-{scan_id}",
            scan_id=scan_id,
            requests=tuple(
                MeasurementRequest(request_id=f"{scan_id}-p{i}", x_m=x, y_m=y, row=0, col=0, cluster=0, rank=i, core_distance=0.0)
                for i, (x, y) in enumerate(points)
            ),
            reason="two typical points" if points else "nothing stands out in this scan",
        )

    def snapshot(self) -> Snapshot:
        return Snapshot(
            seq=self.seq,
            state=self.state,
            state_reason=self.state_reason,
            stop_seq=self.stop_seq,
            newest_scan_id=self.newest_scan_id,
        )

    def command(self, name: str, by: str = "Ada", reason: str = "lunch", *, lost: bool = False) -> CommandMessage:
        """Send a command to the instrument, unless it is `lost` on the way."""
        states = {"pause": "paused", "resume": "running", "stop": "stopped"}
        number = self._number(f"command-{self.seq + 1}")
        self.state, self.state_reason = states[name], f"{by}: {reason}"
        if name == "stop":
            self.stop_seq = number
        message = CommandMessage(id=f"command-{number}", sent_at=NOW, seq=number, command=name, by=by, reason=reason)
        if not lost:
            self.send(message)
        return message

    def send_heartbeat(self) -> None:
        """Send a heartbeat with the last sequence number."""
        self.send(Heartbeat(id=f"heartbeat-{len(self.received)}", sent_at=NOW, seq=self.seq))

    def acks(self, of: str) -> list[Ack]:
        return [a for a in self.got(Ack) if a.of == of]

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self.seq += 1
        return self._numbers.setdefault(name, self.seq)

    def _serve(self) -> None:
        peer = b""
        while not self._stop.is_set():
            while peer and not self._outgoing.empty():
                self._send(peer, self._outgoing.get())
            if self._socket.poll(10):
                peer, *frames = self._socket.recv_multipart()
                message = codec.decode(frames).message
                self.received.append(message)
                self.frames.append(frames)
                answers = self.script(message)
                for answer in self.default_answers(message) if answers is None else answers:
                    self._send(peer, answer)

    def _send(self, peer: bytes, message: AnyMessage | bytes) -> None:
        frames = [message] if isinstance(message, bytes) else codec.encode(codec.Packet(message))
        self._socket.send_multipart([peer, *frames])


class FakeInstrument:
    """Scans 3 x 4 zeros and measures every request; `on_scan` and `on_measure` are called first."""

    instrument_id = "afm-1"
    model = "a table"

    def __init__(self, first_scan: int = 1) -> None:
        self.limits = Limits()
        self.measured: list[str] = []
        self.scans = 0
        self.closings = 0
        self.closed = threading.Event()
        self.threads: set[str] = set()
        self.on_scan: Callable[[], None] = lambda: None
        self.on_measure: Callable[[MeasurementRequest], None] = lambda _: None
        self.scan_name: Callable[[int], str] = lambda n: f"s{n + first_scan - 1}"
        self.parameters: Mapping[str, float] = {"coercive_V": 2.5}

    def scan(self) -> Scan:
        self.threads.add(threading.current_thread().name)
        self.scans += 1
        self.on_scan()
        return Scan(
            channels={"Amplitude": np.zeros((3, 4), np.float32)},
            units={"Amplitude": "m"},
            frame=Frame(size_fast_m=30e-6, size_slow_m=20e-6, rows=3, cols=4),
            scan_id=self.scan_name(self.scans),
        )

    def measure(self, request: MeasurementRequest) -> Measurement:
        self.threads.add(threading.current_thread().name)
        self.measured.append(request.request_id)
        self.on_measure(request)
        return Measurement(
            x_m=request.x_m,
            y_m=request.y_m,
            measured_at=NOW,
            arrays={"bias_V": np.linspace(-1, 1, 5), "response": np.zeros(5)},
            parameters=self.parameters,
        )

    def close(self) -> None:
        self.closings += 1
        self.closed.set()


class HaltingInstrument(FakeInstrument):
    """An instrument that can be halted: a call that waits in `wait` ends, and every call fails until it is released."""

    bias_V = 5.0

    def __init__(self, first_scan: int = 1) -> None:
        super().__init__(first_scan)
        self.halted = threading.Event()
        self.halts, self.releases = 0, 0
        self.on_halt: Callable[[], None] = lambda: None
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def wait(self, *_: object) -> None:
        """Wait for the halt, as a long call does."""
        assert self.halted.wait(5), "it was not halted"
        self.refuse_if_halted()

    def refuse_if_halted(self) -> None:
        if self.halted.is_set():
            raise InstrumentFaultError("halted")

    def scan(self) -> Scan:
        self.refuse_if_halted()
        return super().scan()

    def measure(self, request: MeasurementRequest) -> Measurement:
        self.refuse_if_halted()
        return super().measure(request)

    def halt(self) -> None:
        self.halts += 1
        self.on_halt()
        self.halted.set()

    def release(self) -> None:
        self.releases += 1
        self.halted.clear()


class Runner:
    """Runs the client with short pauses, collects its `events`, and stops it at the event named by `stop_at`."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []
        self.stop = threading.Event()

    def __call__(
        self,
        instrument: FakeInstrument,
        address: str,
        *,
        stop_at: str | None = None,
        stopped: bool = False,
        timings: ClientTimings = FAST,
        **options: object,
    ) -> ClientReport:
        if not stopped:
            self.stop.clear()

        def on_event(name: str, facts: Mapping[str, object]) -> None:
            self.events.append((name, facts))
            if name == stop_at:
                self.stop.set()

        return run_client(instrument, address, stop=self.stop, timings=timings, on_event=on_event, **options)

    def reported(self, name: str) -> list[Mapping[str, object]]:
        return [facts for n, facts in self.events if n == name]


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    yield fake
    fake.close()


@pytest.fixture
def new_agent() -> Iterator[Callable[..., FakeAgent]]:
    """Starts further agents at a given address."""
    started: list[FakeAgent] = []

    def start(address: str, run_id: str) -> FakeAgent:
        started.append(FakeAgent(address, run_id))
        return started[-1]

    yield start
    for fake in started:
        fake.close()


@pytest.fixture
def instrument() -> FakeInstrument:
    return FakeInstrument()


@pytest.fixture
def new_instrument() -> type[FakeInstrument]:
    return FakeInstrument


@pytest.fixture
def halting() -> HaltingInstrument:
    return HaltingInstrument()


@pytest.fixture
def client() -> Iterator[Runner]:
    """Runs the client; after the test none of its threads may be left."""
    before = {t.name for t in threading.enumerate()}
    yield Runner()
    deadline = time.monotonic() + 1
    while {t.name for t in threading.enumerate() if t.name.startswith("instrument")} - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not {t.name for t in threading.enumerate() if t.name.startswith("instrument")} - before

"""Time until a scan is acknowledged, and thus on disk, while models train on both cores; and recovery time of a killed agent.

One instrument keeps the agent busy: after each decision it sends its next scan, so a search is always running, including
everything before and after the training. The other instrument sends scans of 256 x 256 pixels and six channels one after
another, and waits for each acknowledgement. It shares the two cores with agent and training, unlike an instrument on its own
computer.
"""

import json
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks.harness.worlds import SimulatedMFP3D, tier
from benchmarks.service.processes import Site, emptied
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet
from instrument_adapters.scan import Scan

DEFAULT_SEARCH = '[service]\nmessages_per_s = 10000.0\nhttp = ""\n'
NO_SEARCH = (
    'channel = "none of this name"  # so that each decision is immediate\n[service]\nmessages_per_s = 10000.0\nhttp = ""\n'
)
_PAUSE_S = 0.25
_TIMEOUT_S = 120.0


class Client:
    """A minimal instrument on a plain socket, which sends messages and waits for answers.

    Parameters
    ----------
    address
        Address of the agent.
    name
        Id of the instrument.
    """

    def __init__(self, address: str, name: str) -> None:
        self._address, self.name = address, name
        self._context = zmq.Context()
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTING_ID, self.name.encode())
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(self._address)

    def close(self) -> None:
        """Disconnect without `bye`."""
        self._context.destroy(linger=0)

    def hello(self, seconds: float = _TIMEOUT_S) -> float:
        """Seconds until the agent answers with `welcome`; `hello` is repeated every 50 ms."""
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            hello = wire.Hello(**_head(), instrument_id=self.name, model="benchmark", software="benchmark")
            self._socket.send_multipart(encode(Packet(hello)))
            if self._receive(wire.Welcome, hello.id, 0.05) is not None:
                return time.perf_counter() - started
        raise TimeoutError(f"the agent did not answer hello within {seconds:.0f} s")

    def send(self, scan: Scan) -> float:
        """Seconds from handing the scan to the socket to its acknowledgement."""
        packet = scan_packet(scan, wire.Heartbeat(**_head()))
        frames = encode(packet)
        started = time.perf_counter()
        self._socket.send_multipart(frames, copy=False)
        if self._receive(wire.Ack, packet.message.id, _TIMEOUT_S) is None:
            raise TimeoutError(f"scan {scan.scan_id} was not acknowledged within {_TIMEOUT_S:.0f} s")
        return time.perf_counter() - started

    def recommendation(self, seconds: float) -> wire.RecommendationMessage | None:
        """Wait for the next recommendation and acknowledge it; None if none arrives."""
        found = self._receive(wire.RecommendationMessage, None, seconds)
        if found is not None:
            self._socket.send_multipart(encode(Packet(wire.Ack(**_head(), of=found.id))))
        return found

    def _receive(self, kind: type[Any], of: str | None, seconds: float) -> Any:
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0 and self._socket.poll(max(1, int(1000 * left))):
            message = decode(self._socket.recv_multipart()).message
            if isinstance(message, kind) and (of is None or getattr(message, "of", None) == of):
                return message
        return None


def latencies(directory: Path, scans: int, *, training: bool, seed: int = 0, search: str = DEFAULT_SEARCH) -> dict[str, Any]:
    """Time from sending each scan to its acknowledgement; scans are sent four times a second, or without a pause.

    Parameters
    ----------
    directory
        Directory for the run.
    scans
        Number of scans.
    training
        Whether another instrument keeps a search running; if not, scans follow each other without a pause.
    seed
        Seed of the simulated frame.
    search
        Configuration of the agent, as TOML.
    """
    frame = SimulatedMFP3D(tier("easy", seed)).scan()
    with emptied(directory), Site(directory, search if training else NO_SEARCH) as site:
        site.start_agent()
        with _kept_busy(site.bind, frame, enabled=training) as busy:
            client = Client(site.bind, "afm-1")
            client.hello()
            for n in range(3):
                client.send(_fresh(frame, n))
            if training:
                site.wait_for(busy.is_set, _TIMEOUT_S, "the search to begin")
                time.sleep(5.0)
            started = time.perf_counter()
            taken = [_paced(client, _fresh(frame, 10 + n), training) for n in range(scans)]
            seconds = time.perf_counter() - started
            client.close()
        code = site.agent.stop()
        searches = (directory / "agent.log").read_text().count("decided ")
    return {"seconds": taken, "wall_s": seconds, "scans_per_s": scans / seconds, "decisions": searches, "exit": code}


def recovery(directory: Path, times: int, scans: int, seed: int = 0) -> dict[str, Any]:
    """Time from SIGKILL and immediate restart until an instrument that repeats `hello` receives `welcome`.

    Parameters
    ----------
    directory
        Directory for the run.
    times
        Number of kills.
    scans
        Number of scans in the history.
    seed
        Seed of the simulated frame.
    """
    frame = SimulatedMFP3D(tier("easy", seed)).scan()
    with emptied(directory), Site(directory, DEFAULT_SEARCH) as site:
        site.start_agent()
        client = Client(site.bind, "afm-1")
        client.hello()
        for n in range(scans):
            client.send(_fresh(frame, n))
        taken = []
        for _ in range(times):
            time.sleep(1.0)
            started = time.perf_counter()
            site.agent.kill()
            site.agent.start()
            client.hello()
            taken.append(time.perf_counter() - started)
        client.close()
        site.agent.stop()
    return {"seconds": taken, "scans": scans}


def summary(seconds: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Median, 99th percentile with its bootstrapped 95 % interval, and maximum, in ms."""
    ms = 1e3 * np.asarray(seconds)
    drawn = np.random.default_rng(seed).choice(ms, size=(2000, len(ms)))
    low, high = np.percentile(np.percentile(drawn, 99, axis=1), [2.5, 97.5])
    p50, p99 = np.percentile(ms, [50, 99])
    found = {"p50_ms": p50, "p99_ms": p99, "p99_low_ms": low, "p99_high_ms": high, "max_ms": ms.max(), "scans": len(ms)}
    return {name: float(value) for name, value in found.items()}


@contextmanager
def _kept_busy(address: str, frame: Scan, *, enabled: bool) -> Any:
    """Context in which another instrument answers each recommendation with its next scan; the event is set by its first scan."""
    sent, ended = threading.Event(), threading.Event()

    def work() -> None:
        client = Client(address, "afm-busy")
        client.hello()
        number = 0
        while not ended.is_set():
            client.send(replace(_fresh(frame, number, "busy"), sample_id=f"busy-{number}"))
            sent.set()
            number += 1
            while not ended.is_set() and client.recommendation(0.2) is None:
                pass
        client.close()

    thread = threading.Thread(target=work, daemon=True)
    if enabled:
        thread.start()
    try:
        yield sent
    finally:
        ended.set()
        if enabled:
            thread.join(_TIMEOUT_S)


def _paced(client: Client, scan: Scan, paced: bool) -> float:
    started = time.perf_counter()
    taken = client.send(scan)
    if paced:
        time.sleep(max(0.0, _PAUSE_S - (time.perf_counter() - started)))
    return taken


def _fresh(frame: Scan, number: int, prefix: str = "scan") -> Scan:
    """The same frame with new noise, so that none of its arrays is in the store already."""
    rng = np.random.default_rng(number)
    channels = {
        name: image + np.float32(0.01 * image.std()) * rng.standard_normal(image.shape, dtype=np.float32)
        for name, image in frame.channels.items()
    }
    return replace(frame, channels=channels, scan_id=f"{prefix}-{number:05d}")


def _head() -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "sent_at": datetime.now(UTC)}


if __name__ == "__main__":
    import sys

    where, count = Path(sys.argv[1]), int(sys.argv[2])
    for name, on in (("without", False), ("with", True)):
        found = latencies(where / name, count, training=on)
        print(name, json.dumps(summary(found["seconds"])), {k: v for k, v in found.items() if k != "seconds"}, flush=True)
    print(recovery(where / "recovery", 3, 50), flush=True)

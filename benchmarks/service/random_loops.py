"""Random loops over the wire: is a point ever received that lies outside the frame, the limits, or what was approved?

A service in this process meets a scripted instrument on a real socket. What it decides is drawn by chance, and badly: points far
outside, too near to one another, too many, on places measured before. Limits, frames and the mode of approval are drawn too;
where a person has to approve, one does or does not, leaves points out and moves others, now and then beyond the limits. Whatever
arrives at the instrument is held against what it told in its hello, and what was approved, by arithmetic of its own.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import zmq
import zmq.asyncio

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.errors import ControlError
from agent.schema.decision import Decision, DecisionRecord
from agent.service.service import STATE_FILE, Service
from benchmarks.service.processes import emptied
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet, specs
from instrument_adapters.scan import Scan

_LONGEST_S = 3.0
_MOST_TOLD = 20
_ROUNDING = 1e-6
_NEAR_M = 1e-12
_MOVED = "-m"  # what the id of a point that a person has moved ends with
_GATED = "approval" in Config.model_fields


def random_loops(directory: Path, seed: int, loops: int, scans: int = 4) -> dict[str, Any]:
    """What arrived in `loops` loops of `scans` scans each.

    Returns
    -------
    dict
        decided (points that decisions held), received (points that reached the instrument), outside (faults among them),
        sentences (the first of them), empty (recommendations without any point), silent (scans that nothing came back on).
    """
    rng = np.random.default_rng(seed)
    quiet_logs()
    with emptied(directory):
        found = [
            asyncio.run(_loop(directory / f"{n}", np.random.default_rng(rng.integers(1 << 62)), scans)) for n in range(loops)
        ]
    counted = {key: sum(one[key] for one in found) for key in ("decided", "received", "empty", "silent")}
    outside = [sentence for one in found for sentence in one["outside"]]
    return {"loops": loops, **counted, "outside": len(outside), "sentences": outside[:_MOST_TOLD]}


async def _loop(run: Path, rng: np.random.Generator, scans: int) -> dict[str, Any]:
    frame = _frame(rng)
    limits = _limits(frame, rng)
    mode = str(rng.choice(["auto", "review", "dry-run"], p=[0.5, 0.35, 0.15])) if _GATED else "auto"
    decided: list[wire.MeasurementRequest] = []

    def on_scan(_self: Agent, scan: Scan, *_args: Any, **_more: Any) -> Decision:
        requests = _requests(scan, frame, limits, rng)
        decided.extend(requests)
        return _decision(scan, requests)

    before, Agent.on_scan = Agent.on_scan, on_scan  # type: ignore[method-assign, assignment]
    service = Service(_config(mode), run)
    person = Person(service, frame, rng)
    task, decides = asyncio.create_task(service.run()), None
    try:
        while not (run / STATE_FILE).exists() and not task.done():
            await asyncio.sleep(0.005)
        if task.done():
            await task
        address = json.loads((run / STATE_FILE).read_text())["bind"]
        if mode == "review":
            decides = asyncio.create_task(person.decide())
        found = await _visit(address, frame, limits, rng, scans, None if mode == "auto" else person.approved)
    finally:
        if decides is not None:
            decides.cancel()
        service.stop()
        await asyncio.gather(task, *([decides] if decides else []), return_exceptions=True)
        Agent.on_scan = before  # type: ignore[method-assign]
    task.result()
    return {"decided": len(decided), **found}


async def _visit(
    address: str,
    frame: Frame,
    limits: wire.Limits,
    rng: np.random.Generator,
    scans: int,
    approved: Mapping[str, tuple[float, float]] | None,
) -> dict[str, Any]:
    """A scripted instrument: scans, takes what it is told, and measures it; `approved` is None where no person is asked."""
    received = empty = silent = 0
    outside: list[str] = []
    measured: list[tuple[float, float]] = []
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTING_ID, b"afm-1")
        socket.connect(address)
        await socket.send_multipart(
            encode(Packet(wire.Hello(**_head(), instrument_id="afm-1", model="m", software="s", limits=limits)))
        )
        for n in range(scans):
            scan = _scan(frame, f"scan-{n}", rng)
            await socket.send_multipart(encode(scan_packet(scan, wire.Heartbeat(**_head()))))
            message = await _recommendation(socket)
            if message is None:
                silent += 1
                continue
            await socket.send_multipart(encode(Packet(wire.Ack(**_head(), of=message.id))))
            received, empty = received + len(message.requests), empty + (not message.requests)
            outside += _faults(message, frame, limits, measured)
            outside += [] if approved is None else _unapproved(message, approved)
            for request in message.requests:
                measured.append((request.x_m, request.y_m))
                await socket.send_multipart(encode(_result(request)))
    return {"received": received, "empty": empty, "silent": silent, "outside": outside}


async def _recommendation(socket: zmq.asyncio.Socket) -> wire.RecommendationMessage | None:
    """The next recommendation; None if nothing comes for a while."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            while True:
                message = decode(await socket.recv_multipart()).message
                if isinstance(message, wire.RecommendationMessage):
                    return message
    except TimeoutError:
        return None


class Person:
    """Somebody who approves about half of what waits, and who is careless with it.

    Attributes
    ----------
    approved
        Request id -> where it was allowed to go.
    """

    def __init__(self, service: Service, frame: Frame, rng: np.random.Generator) -> None:
        self._service, self._frame, self._rng = service, frame, rng
        self.approved: dict[str, tuple[float, float]] = {}

    async def decide(self) -> None:
        """Look at what waits until cancelled."""
        control: Any = self._service.control  # type: ignore[attr-defined, unused-ignore]
        while True:
            for waiting in control.pending():
                await self._answer(control, waiting["decision_id"], {r["request_id"]: r for r in waiting["requests"]})
            await asyncio.sleep(0.01)

    async def _answer(self, control: Any, decision_id: str, points: Mapping[str, Mapping[str, float]]) -> None:
        if self._rng.uniform() < 0.5:
            await control.reject(decision_id, "Ada", "not today")
            return
        drop = [name for name in points if self._rng.uniform() < 0.3]
        left = {name: tuple(self._place(point).tolist()) for name, point in points.items() if name not in drop}
        far = float(self._rng.choice([0.05, 0.3, 10.0])) * self._frame.size_fast_m
        move = {name: tuple((np.array(xy) + self._rng.uniform(-far, far, 2)).tolist()) for name, xy in list(left.items())[:1]}
        try:
            # What is allowed is written down first: the points may be on their way when `approve` returns.
            self.approved |= left | move
            await control.approve(decision_id, "Ada", "", drop=drop, move=move)
        except ControlError:
            self.approved |= left
            with contextlib.suppress(ControlError):
                await control.approve(decision_id, "Ada", "", drop=drop)

    @staticmethod
    def _place(point: Mapping[str, float]) -> np.ndarray:
        return np.array([point["x_m"], point["y_m"]])


def _unapproved(message: wire.RecommendationMessage, approved: Mapping[str, tuple[float, float]]) -> list[str]:
    """Points that nobody has let pass, or not there, a sentence each."""
    found = []
    for r in message.requests:
        at = approved.get(r.request_id.removesuffix(_MOVED))
        if at is None or math.dist(at, (r.x_m, r.y_m)) > _NEAR_M:
            found.append(f"{r.request_id} at ({r.x_m}, {r.y_m}) was not approved there")
    return found


def _faults(
    message: wire.RecommendationMessage, frame: Frame, limits: wire.Limits, measured: Sequence[tuple[float, float]]
) -> list[str]:
    """What is wrong with points that have arrived, a sentence each."""
    found = []
    points = [(r.x_m, r.y_m) for r in message.requests]
    inside = frame.contains(np.array(points).reshape(-1, 2))
    for (x, y), within in zip(points, inside, strict=True):
        if not within:
            found.append(f"({x}, {y}) lies outside the frame {frame}")
        if not (limits.x_min_m <= x <= limits.x_max_m and limits.y_min_m <= y <= limits.y_max_m):
            found.append(f"({x}, {y}) lies outside the limits {limits}")
    nearest = min((math.dist(a, b) for a, b in itertools.combinations(points, 2)), default=math.inf)
    if nearest < limits.spacing_min_m * (1 - _ROUNDING):
        found.append(f"two points are {nearest} m apart, {limits.spacing_min_m} m are allowed")
    if len(points) > limits.points_max:
        found.append(f"{len(points)} points came, {limits.points_max} are allowed")
    for x, y in points:
        dose = 1 + sum(math.dist((x, y), at) <= limits.dose_radius_m for at in measured)
        if dose > limits.dose_max:
            found.append(f"({x}, {y}) would be the {dose}th point within {limits.dose_radius_m} m, {limits.dose_max} are allowed")
            break
    return found


def _frame(rng: np.random.Generator) -> Frame:
    size = float(rng.uniform(0.5e-6, 5e-6))
    return Frame(
        size_fast_m=size,
        size_slow_m=size * float(rng.uniform(0.5, 1.0)),
        x_offset_m=float(rng.uniform(-5e-6, 5e-6)),
        y_offset_m=float(rng.uniform(-5e-6, 5e-6)),
        angle_rad=float(rng.uniform(-np.pi, np.pi)),
        rows=64,
        cols=64,
    )


def _limits(frame: Frame, rng: np.random.Generator) -> wire.Limits:
    """Often ones that cut through the frame."""
    x, y = frame.x_offset_m, frame.y_offset_m
    reach = rng.uniform(0.1, 2.0, 4) * frame.size_fast_m
    return wire.Limits(
        x_min_m=x - reach[0],
        x_max_m=x + reach[1],
        y_min_m=y - reach[2],
        y_max_m=y + reach[3],
        spacing_min_m=float(rng.choice([0.0, 30e-9, 100e-9, 300e-9])),
        points_max=int(rng.choice([0, 1, 5, 50])),
        dose_max=int(rng.choice([0, 1, 3, 60])),
        dose_radius_m=float(rng.choice([100e-9, 500e-9])),
    )


def _requests(scan: Scan, frame: Frame, limits: wire.Limits, rng: np.random.Generator) -> tuple[wire.MeasurementRequest, ...]:
    """Points within and beyond frame and limits, some on top of one another; their pixels are right where they have any."""
    count = int(rng.integers(0, 30))
    spread = float(rng.choice([0.3, 0.6, 1.5, 100.0]))
    xy = np.array([frame.x_offset_m, frame.y_offset_m]) + spread * frame.size_fast_m * rng.uniform(-1, 1, (count, 2))
    if count > 3 and rng.uniform() < 0.3:
        xy[1] = xy[0] + (float(rng.choice([0.0, 1e-9])), 0.0)
    if count > 3 and rng.uniform() < 0.2:
        xy[2] = limits.x_max_m, limits.y_max_m
    pixels = np.clip(np.rint(frame.to_pixels(xy)), 0, (frame.rows - 1, frame.cols - 1)).astype(int)
    return tuple(
        wire.MeasurementRequest(
            request_id=f"r-{scan.scan_id}-{n}", x_m=x, y_m=y, row=row, col=col, cluster=0, rank=n, core_distance=0.0
        )
        for n, ((x, y), (row, col)) in enumerate(zip(xy.tolist(), pixels.tolist(), strict=True))
    )


def _decision(scan: Scan, requests: tuple[wire.MeasurementRequest, ...]) -> Decision:
    record = DecisionRecord(
        decision_id=f"d-{scan.scan_id}",
        scan_id=scan.scan_id,
        sample_id=scan.sample_id,
        channel=next(iter(scan.channels)),
        unit="",
        frame=scan.frame,
        outcome="types_found",
        explanation="Drawn by chance.",
        chosen=None,
        config={},
        versions={},
        keypoints_found=0,
        keypoints_used=0,
        keypoints_dropped={},
        common_points=0,
        points_measured_before=0,
        configurations=[],
        candidates=[],
        clusters=[],
        requests=list(requests),
    )
    return Decision(record, {})


def _scan(frame: Frame, scan_id: str, rng: np.random.Generator) -> Scan:
    image = rng.uniform(size=(frame.rows, frame.cols)).astype(np.float32)
    now = datetime.now(UTC)
    scan = Scan({"Amplitude1Retrace": image}, {"Amplitude1Retrace": "m"}, frame, scan_id, sample_id="sample")
    return replace(scan, started_at=now, finished_at=now)


def _result(request: wire.MeasurementRequest) -> Packet:
    arrays = {"bias_V": np.linspace(-1, 1, 5), "response": np.zeros(5)}
    message = wire.ResultMessage(
        **_head(),
        arrays=specs(arrays),
        request_id=request.request_id,
        status="ok",
        x_m=request.x_m,
        y_m=request.y_m,
        measured_at=datetime.now(UTC),
    )
    return Packet(message, arrays)


def _config(mode: str) -> Config:
    service = {"bind": "tcp://127.0.0.1:*", "telemetry": "", "http": ""}
    gate = {"approval": {"mode": mode}} if _GATED else {}
    return Config.model_validate({"search": {"workers": 0}, "service": service, **gate})


def quiet_logs() -> None:
    """What the services in this process say is not of interest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _head() -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "sent_at": datetime.now(UTC)}


if __name__ == "__main__":
    import sys

    print(json.dumps(random_loops(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), indent=1))

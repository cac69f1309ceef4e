"""Random loops over the wire: does the instrument ever receive a point outside the frame or the limits, or without approval?

A service in this process is connected to a scripted instrument by a real socket. Its decisions are random and bad: points far
outside, too close to each other, too many, at measured positions. Limits, frames and approval modes are random, too. In review
mode, a simulated operator approves or rejects, removes points and moves others, sometimes beyond the limits. Every point that
arrives at the instrument is checked against the limits in its `hello` and against the approvals, by independent code.
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
from agent.decision.inputs import DecisionInputs
from agent.errors import ControlError
from agent.schema.decision import Decision, DecisionRecord
from agent.service.service import STATE_FILE, Service
from benchmarks.service.processes import emptied
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet, specs
from instrument_adapters.scan import Scan

_TIMEOUT_S = 3.0
_MAX_SENTENCES = 20
_ROUNDING = 1e-6
_NEAR_M = 1e-12
_MOVED = "-m"  # suffix of the id of a point that an operator has moved
_HAS_APPROVAL = "approval" in Config.model_fields


def random_loops(directory: Path, seed: int, loops: int, scans: int = 4) -> dict[str, Any]:
    """Run `loops` loops of `scans` scans each.

    Returns
    -------
    dict
        `decided`, number of points in decisions; `received`, number of points that reached the instrument; `outside`, number of
        violations; `sentences`, the first of them; `empty`, recommendations without points; `silent`, scans without an answer.
    """
    rng = np.random.default_rng(seed)
    quiet_logs()
    with emptied(directory):
        found = [
            asyncio.run(_loop(directory / f"{n}", np.random.default_rng(rng.integers(1 << 62)), scans)) for n in range(loops)
        ]
    counted = {key: sum(one[key] for one in found) for key in ("decided", "received", "empty", "silent")}
    outside = [sentence for one in found for sentence in one["outside"]]
    return {"loops": loops, **counted, "outside": len(outside), "sentences": outside[:_MAX_SENTENCES]}


async def _loop(run: Path, rng: np.random.Generator, scans: int) -> dict[str, Any]:
    frame = _frame(rng)
    limits = _limits(frame, rng)
    mode = str(rng.choice(["auto", "review", "dry-run"], p=[0.5, 0.35, 0.15])) if _HAS_APPROVAL else "auto"
    decided: list[wire.MeasurementRequest] = []

    def at_random(_self: Agent, inputs: DecisionInputs, *_args: Any, **_more: Any) -> Decision:
        requests = _requests(inputs.scan, frame, limits, rng)
        decided.extend(requests)
        return _decision(inputs.scan, requests)

    before, Agent.decide = Agent.decide, at_random  # type: ignore[method-assign, assignment]
    service = Service(_config(mode), run)
    operator = Operator(service, frame, rng)
    task, operating = asyncio.create_task(service.run()), None
    try:
        while not (run / STATE_FILE).exists() and not task.done():
            await asyncio.sleep(0.005)
        if task.done():
            await task
        address = json.loads((run / STATE_FILE).read_text())["bind"]
        if mode == "review":
            operating = asyncio.create_task(operator.work())
        found = await _instrument(address, frame, limits, rng, scans, None if mode == "auto" else operator.approved)
    finally:
        if operating is not None:
            operating.cancel()
        service.stop()
        await asyncio.gather(task, *([operating] if operating else []), return_exceptions=True)
        Agent.decide = before  # type: ignore[method-assign]
    task.result()
    return {"decided": len(decided), **found}


async def _instrument(
    address: str,
    frame: Frame,
    limits: wire.Limits,
    rng: np.random.Generator,
    scans: int,
    approved: Mapping[str, tuple[float, float]] | None,
) -> dict[str, Any]:
    """Scripted instrument: sends scans, accepts recommendations and answers with results; `approved` is None in auto mode."""
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
            outside += _violations(message, frame, limits, measured)
            outside += [] if approved is None else _unapproved(message, approved)
            for request in message.requests:
                measured.append((request.x_m, request.y_m))
                await socket.send_multipart(encode(_result(request)))
    return {"received": received, "empty": empty, "silent": silent, "outside": outside}


async def _recommendation(socket: zmq.asyncio.Socket) -> wire.RecommendationMessage | None:
    """Wait for the next recommendation; None after a timeout."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                message = decode(await socket.recv_multipart()).message
                if isinstance(message, wire.RecommendationMessage):
                    return message
    except TimeoutError:
        return None


class Operator:
    """A simulated operator who approves about half of the decisions and edits them carelessly.

    Attributes
    ----------
    approved
        Request id -> approved position.
    """

    def __init__(self, service: Service, frame: Frame, rng: np.random.Generator) -> None:
        self._service, self._frame, self._rng = service, frame, rng
        self.approved: dict[str, tuple[float, float]] = {}

    async def work(self) -> None:
        """Handle pending decisions until cancelled."""
        control: Any = self._service.control  # type: ignore[attr-defined, unused-ignore]
        while True:
            for decision in control.pending():
                await self._handle(control, decision["decision_id"], {r["request_id"]: r for r in decision["requests"]})
            await asyncio.sleep(0.01)

    async def _handle(self, control: Any, decision_id: str, points: Mapping[str, Mapping[str, float]]) -> None:
        if self._rng.uniform() < 0.5:
            await control.reject(decision_id, "Ada", "not today")
            return
        drop = [name for name in points if self._rng.uniform() < 0.3]
        kept = {name: tuple(self._position(point).tolist()) for name, point in points.items() if name not in drop}
        far = float(self._rng.choice([0.05, 0.3, 10.0])) * self._frame.size_fast_m
        move = {name: tuple((np.array(xy) + self._rng.uniform(-far, far, 2)).tolist()) for name, xy in list(kept.items())[:1]}
        try:
            # Noted before the call, since the points may be sent before `approve` returns.
            self.approved |= kept | move
            await control.approve(decision_id, "Ada", "", drop=drop, move=move)
        except ControlError:
            self.approved |= kept
            with contextlib.suppress(ControlError):
                await control.approve(decision_id, "Ada", "", drop=drop)

    @staticmethod
    def _position(point: Mapping[str, float]) -> np.ndarray:
        return np.array([point["x_m"], point["y_m"]])


def _unapproved(message: wire.RecommendationMessage, approved: Mapping[str, tuple[float, float]]) -> list[str]:
    """Points that were not approved at their position, one sentence each."""
    found = []
    for r in message.requests:
        at = approved.get(r.request_id.removesuffix(_MOVED))
        if at is None or math.dist(at, (r.x_m, r.y_m)) > _NEAR_M:
            found.append(f"{r.request_id} at ({r.x_m}, {r.y_m}) was not approved at this position")
    return found


def _violations(
    message: wire.RecommendationMessage, frame: Frame, limits: wire.Limits, measured: Sequence[tuple[float, float]]
) -> list[str]:
    """Violations of frame and limits by received points, one sentence each."""
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
        found.append(f"two points are {nearest} m apart, less than {limits.spacing_min_m} m")
    if len(points) > limits.points_max:
        found.append(f"{len(points)} points arrived, but {limits.points_max} are allowed")
    for x, y in points:
        dose = 1 + sum(math.dist((x, y), at) <= limits.dose_radius_m for at in measured)
        if dose > limits.dose_max:
            found.append(f"({x}, {y}) is point {dose} within {limits.dose_radius_m} m, but {limits.dose_max} are allowed")
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
    """Random limits, which often cut through the frame."""
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
    """Random points inside and outside of frame and limits, some coinciding; pixels are clipped to the frame."""
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
        explanation="Random decision.",
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
    approval = {"approval": {"mode": mode}} if _HAS_APPROVAL else {}
    return Config.model_validate({"search": {"workers": 0}, "service": service, **approval})


def quiet_logs() -> None:
    """Silence the logs of the services in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _head() -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "sent_at": datetime.now(UTC)}


if __name__ == "__main__":
    import sys

    print(json.dumps(random_loops(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), indent=1))

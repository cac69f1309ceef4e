"""A long but genuine history: weeks of a run in minutes, without a microscope, a search or a socket.

The real dispatcher, orchestrator, interlock and ledger handle every message, as in the service; only the search is replaced, by
decisions of realistic size whose places lie on a grid. Two instruments: *week* stays on one sample, on which all its results
add up; *shift* gets a new sample every 64 scans. Nothing is synced to disk, so that 50,000 events take minutes.
"""

import asyncio
import contextlib
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from agent.orchestration.orchestrator import Orchestrator
from agent.schema.decision import CandidateRecord, ClusterRecord, ConfigurationRecord, Decision, DecisionRecord, versions
from agent.schema.event_kinds import DECISION_MADE
from agent.search.task_cache import TaskCache
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet, specs
from instrument_adapters.scan import Scan

WEEK, SHIFT = "week", "shift"
SCANS_A_DAY = 270  # of both instruments together, as in the soak
_SCANS_A_SAMPLE = 64
_PX, _PITCH_M = 64, 150e-9
_POINTS_A_FRAME = 4000  # then the instrument moves on to the next frame of the sample
_FRAMES_A_ROW = 8
_METRICS = 40
_STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Generator:
    """Writes a history until it has a given number of events; `marks` are reports at several lengths on the way.

    Parameters
    ----------
    run
        Run directory, new or one that this class has written.
    seed
        Seed of images, places and curves.
    candidates
        Candidates of each decision: 48 in the default search, one in the soak's.
    points
        Places of each decision, all of which are measured.
    """

    def __init__(self, run: Path, seed: int = 0, *, candidates: int = 48, points: int = 20) -> None:
        self._rng, self._candidates, self._points = np.random.default_rng(seed), candidates, points
        self._now = _STARTED
        self.history = History(run)
        self.history._db.execute("PRAGMA synchronous=OFF")
        self.dispatcher = Dispatcher(self.history, "run-long", lambda: self._now, monotonic=self._monotonic)
        self._run, self._places = run, Counter[str]()  # places handed out, by sample
        for event in self.history.events(kind=DECISION_MADE):
            self._places[event.body["decision"]["sample_id"]] += points
        self._next: Decision | None = None
        self.steps_ms: dict[str, list[float]] = {"message": [], "deciding": []}

    def write(self, events: int) -> None:
        """Add scans, decisions and results until the history has so many events."""
        with asyncio.Runner() as runner, _unsynced():
            runner.run(self._write(events))

    def close(self) -> None:
        """Close the history."""
        self.history.close()

    def _monotonic(self) -> float:
        return (self._now - _STARTED).total_seconds()

    async def _write(self, events: int) -> None:
        self.orchestrator = Orchestrator(
            self,  # type: ignore[arg-type]
            self.dispatcher.decision_log,
            self.dispatcher.presence,
            Config.model_validate({"search": {"workers": 0}, "schedule": {"deep": False}}),
            TaskCache(self._run / "work"),
            self,
            start=self._start,
        )
        if not self.dispatcher.recorder.newest_seq:
            config = Config().model_dump(mode="json")
            self.dispatcher.run_log.started(config, versions())
        for name in (WEEK, SHIFT):
            self._send(name, self._hello(name))
        task = asyncio.create_task(self.orchestrator.run())
        number = len(self.dispatcher.ledger.scans)
        while self.dispatcher.recorder.newest_seq < events:
            number += 1
            await self._cycle(WEEK if number % 2 else SHIFT, number)
        self.orchestrator.end()
        await task

    async def _cycle(self, name: str, number: int) -> None:
        """One scan, its decision, its points and their results."""
        sample = f"{name}-sample" if name == WEEK else f"{name}-sample-{number // (2 * _SCANS_A_SAMPLE):03d}"
        scan = self._scan(f"{name}-{number:06d}", sample, _frame(self._places[sample]))
        self._next = self._decision(scan, number)
        self._send(name, scan_packet(scan, wire.Heartbeat(**self._head())))
        began = time.process_time()
        self.orchestrator.wake()
        entry = self.dispatcher.ledger.scans[name, scan.scan_id]
        while not entry.settled:
            await asyncio.sleep(0)
        recommendation = self.dispatcher.recommendation(self.dispatcher.due(name))  # type: ignore[arg-type]
        self.steps_ms["deciding"].append(1e3 * (time.process_time() - began))
        self.dispatcher.sent(entry)
        self._send(name, Packet(wire.Ack(**self._head(), of=recommendation.id)))
        for request in recommendation.requests:
            self._send(name, self._result(request))

    def _send(self, name: str, packet: Packet) -> None:
        self._now += timedelta(seconds=1)
        received = decode(encode(packet))
        began = time.process_time()
        self.dispatcher.on_packet(name, received)
        self.steps_ms["message"].append(1e3 * (time.process_time() - began))

    def _head(self) -> dict[str, Any]:
        return {"id": uuid.UUID(bytes=self._rng.bytes(16)).hex, "sent_at": self._now}

    def _hello(self, name: str) -> Packet:
        limits = wire.Limits(spacing_min_m=100e-9, dose_max=100, points_max=200, scan_age_max_s=1e9)
        return Packet(
            wire.Hello(**self._head(), instrument_id=name, model="MFP-3D", software="generator", limits=limits, bias_V=8.0)
        )

    def _scan(self, name: str, sample: str, frame: Frame) -> Scan:
        images = {
            channel: self._rng.normal(3e-10, 1e-11, (_PX, _PX)).astype(np.float32)
            for channel in ("Amplitude1Retrace", "Phase1Retrace")
        }
        note = {f"Parameter{i}": f"{self._rng.normal():.6g}" for i in range(20)}
        units = {"Amplitude1Retrace": "m", "Phase1Retrace": "deg"}
        began = self._now - timedelta(seconds=300)
        return Scan(images, units, frame, name, sample, started_at=began, finished_at=self._now, metadata=note)

    def _result(self, request: wire.MeasurementRequest) -> Packet:
        bias = np.linspace(-8, 8, 32)
        arrays = {"bias_V": bias, "response": np.tanh(bias - self._rng.normal(0, 0.1)) * self._rng.normal(1, 0.1)}
        numbers = {
            name: float(self._rng.normal(2.5, 0.1)) for name in ("area_pmV", "coercive_V", "coercive_neg_V", "remanent_pm")
        }
        place = {"x_m": request.x_m, "y_m": request.y_m, "measured_at": self._now, "parameters": numbers}
        message = wire.ResultMessage(**self._head(), arrays=specs(arrays), request_id=request.request_id, status="ok", **place)
        return Packet(message, arrays)

    # What the orchestrator calls: the agent, its workers and the listener.

    @property
    def workers(self) -> "Generator":
        """Workers that have nothing to cancel."""
        return self

    def shut_down(self) -> None:
        """Nothing runs."""

    def cancel(self) -> None:
        """Nothing runs."""

    def decide(self, *_args: Any, **_more: Any) -> Decision:
        """The decision made beforehand."""
        assert self._next is not None
        return self._next

    async def publish(self, kind: str, **facts: Any) -> None:
        """Nobody listens."""

    async def recommend(self, instrument_id: str) -> None:
        """The generator asks for the recommendation itself."""

    def _start(self, call: Callable[[], Decision]) -> "asyncio.Future[Decision]":
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        future.set_result(call())
        return future

    def _decision(self, scan: Scan, number: int) -> Decision:
        name = f"d-{scan.scan_id}"
        first = self._places[scan.sample_id]
        self._places[scan.sample_id] += self._points
        requests = [self._request(f"{name}-{i:03d}", first + i) for i in range(self._points)]
        candidates = [self._candidate(i) for i in range(self._candidates)]
        at = self._now.timestamp()
        knots = [[at - 700.0 * k, 1e-9 * k, -1e-9 * k] for k in range(min(number, 50), 0, -1)]
        record = DecisionRecord(
            decision_id=name,
            scan_id=scan.scan_id,
            sample_id=scan.sample_id,
            channel="Amplitude1Retrace",
            unit="m",
            frame=scan.frame,
            outcome="types_found",
            explanation="VAE with rotation, window 9 px: three types; its reward of 1.31 is the largest, none is within 1 sigma.",
            chosen=candidates[0].candidate_id,
            config=Config().model_dump(mode="json"),
            versions=versions(),
            keypoints_found=900,
            keypoints_used=820,
            keypoints_dropped={"margin": 60, "masked": 20},
            drift={"knots": knots, "agreement": 0.95, "nm_per_min": 0.2},  # type: ignore[arg-type]
            common_points=800,
            points_measured_before=first,
            configurations=[self._configuration(c) for c in candidates[::3]],
            candidates=candidates,
            clusters=[
                ClusterRecord(
                    cluster=k, weight=1 / 3, mean=[0.0, 0.0], covariance=[[1.0, 0.0], [0.0, 1.0]], points=9, core_points=3
                )
                for k in range(3)
            ],
            requests=requests,
        )
        arrays = {"points_rc": self._rng.integers(0, 64, (64, 2), dtype=np.int32), "labels": np.arange(64, dtype=np.int32) % 3}
        return Decision(record, arrays)

    def _request(self, name: str, place: int) -> wire.MeasurementRequest:
        row, column = divmod(place % _POINTS_A_FRAME, _PX)
        ((x, y),) = _frame(place).to_metres(np.array([[float(row), float(column)]]))
        rank = {"cluster": place % 3, "rank": place // 3 % 7, "core_distance": float(self._rng.random())}
        return wire.MeasurementRequest(request_id=name, x_m=float(x), y_m=float(y), row=row, col=column, **rank)

    def _candidate(self, i: int) -> CandidateRecord:
        metrics = {f"metric_number_{k}": float(self._rng.normal()) for k in range(_METRICS)}
        shape = {"window_px": (7, 11, 15, 21)[i // 12 % 4], "invariance": ("v", "r", "rt", "polar")[i // 3 % 4], "seed": i % 3}
        name = f"{shape['invariance']}-w{shape['window_px']}-s{shape['seed']}"
        return CandidateRecord(
            candidate_id=name, **shape, latent_dim=2, beta=0.2, elbo_per_px=-0.5, reconstruction_per_px=-0.4, survivors=800,
            points=800, steps=600, guarded_out=None, value=1.5, metrics=metrics,
        )  # fmt: skip

    def _configuration(self, c: CandidateRecord) -> ConfigurationRecord:
        return ConfigurationRecord(
            window_px=c.window_px, invariance=c.invariance, mean=1.5, std=0.1, seeds=3, types=3, sigmas_below_best=0.0,
            in_tie_set=True,
        )  # fmt: skip


def _frame(place: int) -> Frame:
    """The frame in which a place of a sample lies."""
    down, across = divmod(place // _POINTS_A_FRAME, _FRAMES_A_ROW)
    side_m = _PX * _PITCH_M
    offset = {"x_offset_m": side_m * (across - _FRAMES_A_ROW / 2), "y_offset_m": side_m * (down - _FRAMES_A_ROW / 2)}
    return Frame(size_fast_m=side_m, size_slow_m=side_m, rows=_PX, cols=_PX, **offset)


@contextlib.contextmanager
def _unsynced() -> Iterator[None]:
    """Without syncing to disk, which takes most of the time and changes nothing that is measured here."""
    before, os.fsync = os.fsync, lambda _descriptor: None
    try:
        yield
    finally:
        os.fsync = before

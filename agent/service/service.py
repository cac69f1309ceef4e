"""The long-running agent: it owns the sockets, takes scans, has them decided on, and sends what instruments are to do.

One thread (this event loop's) owns the sockets, so that messages are answered, hearts beat and a person is heeded while models
train (`agent.orchestration.orchestrator`).
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import zmq
import zmq.asyncio

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.errors import HistoryError, ServiceError
from agent.history.event_log import History
from agent.history.retention import retained
from agent.history.run_directory import STATE_FILE as STATE_FILE
from agent.ledger.recovery import recovered, sentence
from agent.messaging.dispatcher import Dispatcher
from agent.messaging.partial_frames import PartialFrame
from agent.messaging.status import instruments, uptime_s
from agent.orchestration.orchestrator import Orchestrator
from agent.safety.control import Control
from agent.schema import event_kinds as kinds
from agent.schema.decision import versions
from agent.search.task_cache import TaskCache
from agent.service.authentication import Authenticator
from agent.service.operator import Steering
from agent.service.periodic_jobs import planned
from agent.service.rate_limit import RateLimiter
from agent.service.sender import Sender
from agent.service.sockets import bound, endpoint, key_of
from agent.service.supervision import Supervision
from agent.workers.factory import workers_for
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import decode, message_id
from instrument_adapters.protocol.curve_keys import load_pair

_LOG = structlog.get_logger("vaestar.agent")


class Service:
    """An agent that listens until it is told to stop.

    Parameters
    ----------
    config
        All choices.
    run_directory
        Where the history is kept; an existing run is taken up where it stood.
    now
        The wall clock.
    """

    def __init__(self, config: Config, run_directory: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._config = config
        self._directory = run_directory
        self._now = now
        self._stop = asyncio.Event()
        self.attendance = Supervision(run_directory, config.service.http)
        self._fault: HistoryError | None = None
        self._started_at = now()
        self._published = 0
        self._progress: dict[str, dict[str, Any]] = {}  # scan id -> how far the search on it has come
        self._recovered: dict[str, Any] = {}
        self._control: Steering | None = None
        self.on_publish: Callable[[str, Mapping[str, Any]], None] = lambda _kind, _facts: None

    @property
    def control(self) -> Control:
        """What a person steers this agent with.

        Raises
        ------
        ServiceError
            If it does not run yet.
        """
        if self._control is None:
            raise ServiceError("the agent is not running yet; try again in a moment")
        return self._control

    def status(self) -> dict[str, Any]:
        """Where things stand, as plain JSON.

        `mode` is the approval mode, `events` the number of the newest event, `instruments` is described in
        `agent.messaging.status`, and `recovered`, what was found when this run was taken up, in `agent.ledger.recovery`; empty
        in a new run.
        """
        return {
            "run_id": self._run_id,
            "directory": str(self._directory),
            "pid": os.getpid(),
            "version": versions()["vaestar"],
            "started_at": self._started_at.isoformat(),
            "uptime_s": round(uptime_s(self._started_at, self._now()), 1),
            "mode": self._config.approval.mode,
            "events": self._dispatch.recorder.newest_seq,
            "instruments": instruments(self._dispatch, self._progress),
            "recovered": self._recovered,
        }

    async def run(self) -> None:
        """Serve until `stop`; then end in order, with everything recorded.

        Raises
        ------
        ServiceError
            If an address cannot be bound.
        HistoryError
            If the run directory cannot be used, or can no longer be written.
        PluginError
            If the configuration names a reward or key-point method that cannot be used.
        KeyFileError
            If the configured keys cannot be used.
        WorkersError
            If the configured Dask cluster cannot be used.
        """
        with contextlib.ExitStack() as stack:
            search = self._config.search
            workers = stack.enter_context(workers_for(search.workers, self._config.directory, search.dask))
            self._agent = Agent(self._config, workers)
            history = stack.enter_context(History(self._directory))
            self._run_id = _run_id(history)
            silence_s = self._config.service.silence_s
            self._dispatch = Dispatcher(history, self._run_id, self._now, self._config.safety, self._config.approval, silence_s)
            self._dispatch.recorder.listen(self.attendance.news)
            self._dispatch.recorder.on_fault = self._end_by
            work, state_of = TaskCache(self._directory / "work"), self._dispatch.ledger.standing.state
            self._decider = Orchestrator(self._agent, self._dispatch, self._config, work, self, state_of=state_of)
            context = stack.enter_context(zmq.asyncio.Context())
            self._gate = self._guarded(stack, context)
            self._router = stack.enter_context(bound(context, zmq.ROUTER, self._config.service.bind, self._gate))
            self._sender = Sender(self._router, self._dispatch)
            self._control = Steering(self._agent, self._dispatch, self._decider, self._sender.attend, self.status)
            telemetry = self._config.service.telemetry
            self._telemetry = stack.enter_context(bound(context, zmq.PUB, telemetry, self._gate)) if telemetry else None
            stack.enter_context(self.attendance.listening())
            self.attendance.health.checks["workers"] = workers.trouble
            stack.enter_context(self._announced())
            self._take_up()
            async with self.attendance.attending(self._control):
                await self._serve()
            self._dispatch.stopped("asked to stop")

    def _take_up(self) -> None:
        """Record that this agent begins, and what it found."""
        before = self._dispatch.recorder.newest_seq
        self._dispatch.started(self._config.model_dump(mode="json"), versions())
        if before:
            self._recovered = recovered(self._dispatch.ledger)
            self._dispatch.recovered(self._recovered)
        found = sentence(self._recovered) if before else ""
        addresses = {"address": endpoint(self._router), "http": self.attendance.address}
        _LOG.info("listening", run=str(self._directory), **addresses, mode=self._config.approval.mode, recovered=found)

    def _end_by(self, fault: HistoryError) -> None:
        """What cannot be recorded must not be acted on, whoever asked for it: the service ends, and says why."""
        self._fault = self._fault or fault
        self._stop.set()

    def stop(self) -> None:
        """Make `run` return; call it from the event loop's thread (a signal handler of the loop, say)."""
        _LOG.info("stopping")
        self._stop.set()

    def partial_frame(self, instrument_id: str) -> PartialFrame | None:
        """What an instrument has shown of the frame that it is recording; for watching only, nothing is decided on it."""
        return self._dispatch.partial.newest(instrument_id)

    def doing(self, instrument_id: str) -> wire.StatusMessage | None:
        """What an instrument last said that it is doing."""
        return self._dispatch.doing.get(instrument_id)

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Which points of a decision that waits could not be approved with these edits, and why; see `agent.safety.approval`."""
        return self._dispatch.approvals.objections(decision_id, drop, move)

    def stop_on_signals(self) -> None:
        """Stop at SIGINT and SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self.stop)
            except NotImplementedError:  # Windows has no loop signals; the plain handler wakes the loop at the next tick
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.stop))

    async def _serve(self) -> None:
        retain = functools.partial(retained, self._directory, self._config.retention, self._now, self._dispatch.recorder.record)
        look_after, note = self.attendance.look_after, self._dispatch.noted
        schedule = planned(self._config, self._directory, note, self._decider, self.tick, retain=retain, look_after=look_after)
        tasks = [asyncio.create_task(job()) for job in (self._receive, schedule.run, self._decider.run, self._stop.wait)]
        try:
            # Any of the four ends the service: an error in one must not leave a half-dead agent that still looks alive.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            self._decider.end()
            for task in tasks[:2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for instrument_id in list(self._dispatch.limits):
            await self._send(instrument_id.encode(), self._dispatch.bye())
        for result in [self._fault, *results]:
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _guarded(self, stack: contextlib.ExitStack, context: zmq.asyncio.Context) -> Authenticator | None:
        """Who may connect, where keys are configured."""
        service, folder = self._config.service, self._config.directory or Path()
        if not service.key:
            return None
        gate = Authenticator(load_pair(folder / service.key), folder / service.allowed, self._dispatch.denied)
        stack.enter_context(contextlib.closing(gate.open(context)))
        return gate

    async def _receive(self) -> None:
        flow = RateLimiter(self._config.service.messages_per_s, time.monotonic)
        while True:
            parts = await self._router.recv_multipart(copy=False)
            identity, *frames = [part.bytes for part in parts]
            if flow.takes(identity):
                await self._handle(identity, frames, key_of(parts) if self._gate is not None else "")
            else:
                _LOG.debug("a message came too fast", instrument=identity)

    async def _handle(self, identity: bytes, frames: list[bytes], key: str = "") -> None:
        since_s = time.perf_counter()
        # Who gave no name has one from zmq that is no text; it is answered all the same.
        instrument_id = identity.decode("utf-8", "backslashreplace")
        try:
            if self._gate is not None:
                self._gate.check_name(key, instrument_id)
            packet = decode(frames)
            answer = self._dispatch.on_packet(instrument_id, packet)
        except ProtocolError as error:
            await self._refuse(identity, frames, error)
        except HistoryError:
            raise  # what cannot be recorded must not be answered
        except Exception as error:  # noqa: BLE001 - the service's outer edge: no message may end the run
            _LOG.exception("a message could not be taken", instrument=instrument_id)
            fault = f"a fault in the agent ({type(error).__name__}: {error}); please report it"
            await self._refuse(identity, frames, ProtocolError("agent_fault", fault))
        else:
            if answer is not None:
                await self._send(identity, answer)
            if isinstance(answer, wire.Ack):
                self.attendance.meters.acknowledged(since_s)
            await self._follow_up(instrument_id, packet.message, answer)

    async def _refuse(self, identity: bytes, frames: list[bytes], error: ProtocolError) -> None:
        instrument_id = identity.decode("utf-8", "backslashreplace")
        answer = self._dispatch.refuse(instrument_id, message_id(frames), error)
        _LOG.warning("message refused", instrument=instrument_id, code=error.code, reason=answer.reason)
        await self._send(identity, answer)

    async def _follow_up(self, instrument_id: str, message: wire.Message, answer: wire.Message | None) -> None:
        fresh = isinstance(answer, wire.Ack) and not answer.duplicate
        if isinstance(message, wire.Hello):
            _LOG.info("instrument connected", instrument=instrument_id, model=message.model)
            await self.publish("instrument", instrument_id=instrument_id, model=message.model)
            self._decider.news()
        elif isinstance(message, wire.ScanMessage) and fresh:
            _LOG.info("scan recorded", instrument=instrument_id, scan=message.scan_id)
            await self.publish("scan", instrument_id=instrument_id, scan_id=message.scan_id)
            self._decider.news()
        elif isinstance(message, wire.ResultMessage) and fresh:
            facts = {"request_id": message.request_id, "status": message.status, "reason": message.reason}
            cluster = self._dispatch.ledger.requests[instrument_id, message.request_id].request.cluster
            await self.publish("result", instrument_id=instrument_id, cluster=cluster, parameters=message.parameters, **facts)
        if isinstance(message, wire.Hello | wire.Resend):
            self._sender.again(instrument_id)
        if isinstance(message, wire.Hello | wire.Resend | wire.ResultMessage):
            await self.recommend(instrument_id)

    async def recommend(self, instrument_id: str) -> None:
        """Send an instrument what is open and due: a command, and the newest decision unless it has been acknowledged."""
        await self._sender.attend(instrument_id)

    async def tick(self) -> None:
        """Heartbeats, what has not been acknowledged for a while, approvals that come too late, and who has gone silent."""
        for instrument_id in self._dispatch.note_silence():
            _LOG.warning("instrument silent", instrument=instrument_id)
            await self.publish("silent", instrument_id=instrument_id)
        for instrument_id in sorted(self._dispatch.ledger.told):
            await self.recommend(instrument_id)
            if instrument_id in self._dispatch.limits:
                await self._sender.beat(instrument_id)

    async def _send(self, identity: bytes, message: wire.Message) -> bool:
        return await self._sender.send(identity, message)

    async def publish(self, kind: str, **facts: Any) -> None:
        """Tell whoever watches, with a running number; nobody may, and nothing depends on it."""
        self.on_publish(kind, facts)
        if kind == "progress":
            self._progress = {facts["scan_id"]: {name: facts[name] for name in ("stage", "done", "total")}}
        if self._telemetry is not None:
            self._published += 1
            news = {"kind": kind, "seq": self._published, **facts}
            await self._telemetry.send_multipart([b"vaestar", json.dumps(news).encode()])

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """A file in the run directory that says where this agent listens, for as long as it does."""
        path = self._directory / STATE_FILE
        state: Mapping[str, Any] = {
            "pid": os.getpid(),
            "bind": endpoint(self._router),
            "telemetry": endpoint(self._telemetry) if self._telemetry is not None else "",
            "http": self.attendance.address,
            "started_at": self._now().isoformat(),
        }
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(state, indent=2))
            temporary.replace(path)
        except OSError as error:
            raise ServiceError(f"{path} cannot be written: {error}") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _run_id(history: History) -> str:
    first = next(history.events(kind=kinds.RUN_STARTED), None)
    return first.subject if first else f"run-{uuid.uuid4().hex[:12]}"

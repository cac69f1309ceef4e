"""The long-running agent: receives scans and results over its sockets, and sends recommendations and commands.

Only the event loop's thread uses the sockets. Searches run in another thread (`agent.orchestration.orchestrator`), so messages,
heartbeats and operator commands are handled while models train.
"""

import asyncio
import contextlib
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
from agent.errors import HistoryError, ServiceError, StorageError
from agent.history.event_log import History
from agent.history.retention import run_retention
from agent.history.run_directory import STATE_FILE as STATE_FILE
from agent.history.storage_errors import check_writable, describe_error
from agent.ledger.recovery import recovery_facts, recovery_sentence
from agent.messaging.dispatcher import Dispatcher, Prepared
from agent.messaging.partial_frames import PartialFrame
from agent.messaging.status import instruments
from agent.monitoring.process_memory import release_freed_memory
from agent.orchestration.orchestrator import Orchestrator
from agent.safety.control import Control
from agent.schema import event_kinds as kinds
from agent.schema.decision import versions
from agent.search.task_cache import TaskCache
from agent.service.authentication import Authenticator
from agent.service.connection_guard import ConnectionGuard, allowed_connections
from agent.service.operator import OperatorControl
from agent.service.periodic_jobs import schedule_jobs
from agent.service.rate_limit import SenderLimits
from agent.service.receiver import Received, Receiver, as_refusal
from agent.service.routes import Routes
from agent.service.sender import Sender
from agent.service.sockets import bind_socket, endpoint, key_of
from agent.service.supervision import Page, Supervision
from agent.workers.factory import workers_for
from instrument_adapters.errors import ProtocolError
from instrument_adapters.new_file import open_new
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, message_id
from instrument_adapters.protocol.curve_keys import load_pair

_LOG = structlog.get_logger("vaestar.agent")


class Service:
    """An agent that serves instruments until it is stopped.

    Parameters
    ----------
    config
        Configuration of the agent.
    run_directory
        Path of the run directory; an existing run is continued.
    now
        Wall clock.
    page
        Makes the page that is served beside the HTTP API, and kept up to date with all that is published; None: no page.
    """

    def __init__(
        self,
        config: Config,
        run_directory: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        page: Callable[["Service"], Page] | None = None,
    ) -> None:
        self._config = config
        self._directory = run_directory
        self._now = now
        self._stop = asyncio.Event()
        self._page = None if page is None else page(self)
        self.supervision = Supervision(run_directory, config.service.http, self._page)
        self._fault: HistoryError | None = None
        self._started_at = now()
        self._published = 0
        self._unpublished: set[str] = set()  # kinds of messages whose publishing has failed, each logged once
        self._progress: dict[str, dict[str, Any]] = {}  # scan id -> progress of its search
        self._recovered: dict[str, Any] = {}
        self._control: OperatorControl | None = None
        self._routes = Routes()

    @property
    def control(self) -> Control:
        """Interface for operator commands.

        Raises
        ------
        ServiceError
            If the service is not running yet.
        """
        if self._control is None:
            raise ServiceError("the agent is not running yet; try again in a moment")
        return self._control

    def status(self) -> dict[str, Any]:
        """Status of the agent as plain JSON.

        `mode` is the approval mode, `events` the sequence number of the newest event. `instruments` is described in
        `agent.messaging.status`. `recovered` is the state found in an existing run, described in `agent.ledger.recovery`;
        empty in a new run.
        """
        return {
            "run_id": self._run_id,
            "directory": str(self._directory),
            "pid": os.getpid(),
            "version": versions()["vaestar"],
            "started_at": self._started_at.isoformat(),
            "uptime_s": round(self.supervision.meters.uptime_s, 1),
            "mode": self._config.approval.mode,
            "events": self._dispatcher.recorder.newest_seq,
            "instruments": instruments(self._dispatcher, self._progress, self._routes.replies),
            "recovered": self._recovered,
        }

    async def run(self) -> None:
        """Serve until `stop`, then shut down cleanly, with everything recorded.

        Raises
        ------
        ServiceError
            If an address cannot be bound.
        HistoryError
            If the run directory cannot be used, or the history can no longer be written.
        PluginError
            If the configuration names a reward or key-point method that cannot be used.
        KeyFileError
            If the configured keys cannot be used.
        WorkersError
            If the configured Dask cluster cannot be used.
        """
        with contextlib.ExitStack() as stack:
            search = self._config.search
            workers = stack.enter_context(workers_for(search.workers, self._config.modules_directory, search.dask))
            self._agent = Agent(self._config, workers)
            check_writable(self._directory)
            history = stack.enter_context(History(self._directory, keep_empty=False))
            self._run_id = _run_id(history)
            silence_s = self._config.service.silence_s
            self._dispatcher = Dispatcher(
                history,
                self._run_id,
                self._now,
                self._config.safety,
                self._config.approval,
                silence_s,
                finishes=lambda entry: self._orchestrator.finishes(entry),
                on_fault=self._stop_after_fault,
            )
            self._dispatcher.recorder.listen(self.supervision.wake)
            work, state_of = TaskCache(self._directory / "work"), self._dispatcher.ledger.command_state.state
            self._orchestrator = Orchestrator(
                self._agent,
                self._dispatcher.decision_log,
                self._dispatcher.presence,
                self._config,
                work,
                self,
                state_of=state_of,
            )
            context = stack.enter_context(zmq.asyncio.Context())
            self._authenticator = self._open_authenticator(stack, context)
            self._guard = stack.enter_context(contextlib.closing(ConnectionGuard(context, allowed_connections())))
            self._router = stack.enter_context(
                bind_socket(context, zmq.ROUTER, self._config.service.bind, self._authenticator, self._guard)
            )
            self._sender = Sender(self._router, self._dispatcher, self._routes)
            self._control = OperatorControl(
                self._agent, self._dispatcher, self._orchestrator, self._sender.send_open, self.status
            )
            telemetry = self._config.service.telemetry
            self._telemetry = (
                stack.enter_context(bind_socket(context, zmq.PUB, telemetry, self._authenticator, self._guard))
                if telemetry
                else None
            )
            stack.enter_context(self._guard.running())
            stack.enter_context(self.supervision.listening())
            self.supervision.health.checks["workers"] = workers.problem
            stack.enter_context(self._state_file())
            self._record_start()
            async with self.supervision.running(self._control):
                await self._serve()
            self._dispatcher.run_log.stopped("asked to stop")
            _LOG.info("stopped", head=str(history.head))

    def _record_start(self) -> None:
        """Record the start of this agent, and the state that it found in an existing run."""
        before = self._dispatcher.recorder.newest_seq
        self._dispatcher.run_log.started(self._config.model_dump(mode="json"), versions())
        if before:
            self._recovered = recovery_facts(self._dispatcher.ledger)
            self._dispatcher.run_log.recovered(self._recovered)
        found = recovery_sentence(self._recovered) if before else ""
        addresses = {"address": endpoint(self._router), "http": self.supervision.address}
        facts = {"mode": self._config.approval.mode, "recovered": found, "head": str(self._dispatcher.history.head)}
        _LOG.info("listening", run=str(self._directory), **addresses, **facts)

    def _stop_after_fault(self, fault: HistoryError) -> None:
        """Stop because an event could not be recorded, and nothing unrecorded may be acted on. `run` raises the error."""
        self._fault = self._fault or fault
        self._stop.set()

    def stop(self) -> None:
        """Make `run` return; call it in the event loop's thread, for example from a signal handler of the loop."""
        _LOG.info("stopping")
        self._stop.set()

    def partial_frame(self, instrument_id: str) -> PartialFrame | None:
        """The part of the current frame that an instrument has sent so far; for display only."""
        return self._dispatcher.partial_frames.newest(instrument_id)

    def last_status(self, instrument_id: str) -> wire.StatusMessage | None:
        """Last status message of an instrument; None if it has sent none."""
        return self._dispatcher.activity.get(instrument_id)

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Points that could not be approved with these edits, with the reasons; see `agent.safety.approval`."""
        return self._dispatcher.approvals.objections(decision_id, drop, move)

    def stop_on_signals(self) -> None:
        """Stop the service on SIGINT and SIGTERM, and on SIGHUP (the terminal was closed) unless it is ignored, as by nohup."""
        loop = asyncio.get_running_loop()
        hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
        numbers = [signal.SIGINT, signal.SIGTERM]
        numbers += [hang_up] if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN else []
        for number in numbers:
            try:
                loop.add_signal_handler(number, self.stop)
            except NotImplementedError:  # Windows has no loop signals; the plain handler wakes the loop at the next tick
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.stop))

    async def _serve(self) -> None:
        async def retain() -> None:
            await run_retention(self._directory, self._config.retention, self._now, self._dispatcher.recorder.record)
            await asyncio.to_thread(release_freed_memory)  # a plan names every array of the run

        check_health, note = self.supervision.check_health, self._dispatcher.run_log.noted
        schedule = schedule_jobs(
            self._config, self._directory, note, self._orchestrator, self.tick, retain=retain, check_health=check_health
        )
        tasks = [asyncio.create_task(job()) for job in (self._receive, schedule.run, self._orchestrator.run, self._stop.wait)]
        try:
            # If any of the four ends, the service ends: a failed task must not leave a half-dead agent that still looks alive.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            self._orchestrator.end()
            for task in tasks[:2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for instrument_id in self._dispatcher.presence.connected():
            await self._sender.send_all(instrument_id, self._dispatcher.bye())
        for result in [self._fault, *results]:
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _open_authenticator(self, stack: contextlib.ExitStack, context: zmq.asyncio.Context) -> Authenticator | None:
        """Authentication of clients; None if no keys are configured."""
        service, folder = self._config.service, self._config.directory or Path()
        if not service.key:
            return None
        authenticator = Authenticator(load_pair(folder / service.key), folder / service.allowed, self._dispatcher.run_log.denied)
        stack.enter_context(contextlib.closing(authenticator.open(context)))
        return authenticator

    async def _receive(self) -> None:
        limits = SenderLimits(self._config.service.messages_per_s, time.monotonic)
        await Receiver(
            self._router,
            self._dispatcher,
            self._guard,
            limits,
            check=self._check_name,
            answer=self._handle,
            refuse=self._refuse,
            key_of=key_of if self._authenticator is not None else lambda _parts: "",
            on_fault=self._stop_after_fault,
        ).run()

    def _check_name(self, message: Received) -> None:
        """Check that a message comes with the instrument's key; else its connection gets nothing more that is meant for it."""
        if self._authenticator is None:
            return
        try:
            self._authenticator.check_name(message.key, message.instrument_id)
        except ProtocolError:
            self._routes.drop(message.identity)
            raise

    async def _handle(self, message: Received, packet: Packet, prepared: Prepared | None = None) -> None:
        since_s = time.perf_counter()
        instrument_id = message.instrument_id
        try:
            remains = isinstance(packet.message, wire.Bye) and await self._remains_connected(instrument_id, message.identity)
            answer = self._dispatcher.on_packet(instrument_id, packet, prepared, remains_connected=remains)
            self._note_route(instrument_id, message.identity, packet.message)
        except HistoryError:
            raise  # a message that cannot be recorded must not be answered
        except Exception as error:  # noqa: BLE001 - the service's outer edge: no message may end the run
            await self._refuse(message, as_refusal(error, instrument_id))
        else:
            await self._answer(message, packet.message, answer, since_s)

    async def _answer(self, received: Received, message: wire.Message, answer: wire.Message | None, since_s: float) -> None:
        """Send the answer to a recorded message, and do what follows from it; a fault in that is logged and ends nothing."""
        try:
            if answer is not None:
                await self._send(received.identity, answer)
            if isinstance(answer, wire.Ack):
                self.supervision.meters.acknowledged(since_s)
            await self._follow_up(received.instrument_id, message, answer)
        except HistoryError:
            raise
        except Exception:  # noqa: BLE001 - the service's outer edge: no message may end the run
            _LOG.exception("a message was recorded, but not all that follows from it was done", instrument=received.instrument_id)

    async def _remains_connected(self, instrument_id: str, leaves: bytes) -> bool:
        """Whether another connection under the same name receives messages when one says goodbye."""
        self._routes.drop(leaves)
        return await self._sender.send_all(instrument_id, self._dispatcher.heartbeat(instrument_id))

    def _note_route(self, instrument_id: str, identity: bytes, message: wire.Message) -> None:
        if isinstance(message, wire.Bye):
            return
        if self._routes.spoke(instrument_id, identity):
            advice = "commands go to all of them, recommendations to the one that spoke last; make sure that only one client runs"
            _LOG.warning("several connections speak under one name", instrument=instrument_id, advice=advice)
        if isinstance(message, wire.Hello) and self._authenticator is not None and identity == instrument_id.encode():
            advice = "its routing id is its name, which every holder of a key can take; add a slash and a random number to it"
            _LOG.warning("the connection of an instrument can be taken over", instrument=instrument_id, advice=advice)
        if isinstance(message, wire.Ack | wire.Refused):
            self._routes.answered(identity, message.of)

    async def _refuse(self, message: Received, error: ProtocolError) -> None:
        answer = self._dispatcher.refuse(message.instrument_id, message_id(message.frames), error)
        await self._send(message.identity, answer)

    async def _follow_up(self, instrument_id: str, message: wire.Message, answer: wire.Message | None) -> None:
        fresh = isinstance(answer, wire.Ack) and not answer.duplicate
        if isinstance(message, wire.Hello):
            _LOG.info("instrument connected", instrument=instrument_id, model=message.model)
            await self.publish("instrument", instrument_id=instrument_id, model=message.model)
            self._orchestrator.wake()
        elif isinstance(message, wire.ScanMessage) and fresh:
            _LOG.info("scan recorded", instrument=instrument_id, scan=message.scan_id)
            await self.publish("scan", instrument_id=instrument_id, scan_id=message.scan_id)
            self._orchestrator.wake()
        elif isinstance(message, wire.ResultMessage) and fresh:
            facts = {"request_id": message.request_id, "status": message.status, "reason": message.reason}
            cluster = self._dispatcher.ledger.requests[instrument_id, message.request_id].request.cluster
            await self.publish("result", instrument_id=instrument_id, cluster=cluster, parameters=message.parameters, **facts)
        if isinstance(message, wire.Hello | wire.Resend):
            self._sender.mark_all_due(instrument_id)
        if isinstance(message, wire.Hello | wire.Resend | wire.ResultMessage | wire.TroubleMessage):
            await self.recommend(instrument_id)

    async def recommend(self, instrument_id: str) -> None:
        """Send an instrument its open command and its newest recommendation, unless acknowledged or sent recently."""
        await self._sender.send_open(instrument_id)

    async def tick(self) -> None:
        """Send heartbeats, repeat unacknowledged messages, and record approval timeouts, silent instruments and refusals."""
        self._dispatcher.refusals.flush()
        for instrument_id in self._dispatcher.presence.record_silent():
            _LOG.warning("instrument silent", instrument=instrument_id)
            self._dispatcher.partial_frames.drop(instrument_id)
            await self.publish("silent", instrument_id=instrument_id)
        for instrument_id in sorted(self._dispatcher.ledger.instruments):
            await self.recommend(instrument_id)
            if self._dispatcher.presence.is_connected(instrument_id):
                await self._sender.send_heartbeat(instrument_id)

    async def _send(self, identity: bytes, message: wire.Message) -> bool:
        return await self._sender.send(identity, message)

    async def publish(self, kind: str, **facts: Any) -> None:
        """Publish a numbered telemetry message. Best effort: nothing depends on it, and what fails here ends nothing."""
        try:
            await self._publish(kind, facts)
        except Exception:  # noqa: BLE001 - display only: neither a fault of the page nor of a socket may end the run
            if kind not in self._unpublished:
                self._unpublished.add(kind)
                _LOG.exception("messages of this kind cannot be published; only the display suffers", kind=kind)

    async def _publish(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "progress":
            self._progress = {facts["scan_id"]: {name: facts[name] for name in ("stage", "done", "total")}}
        if self._page is not None:
            self._page.update(kind, facts)
        if self._telemetry is not None:
            self._published += 1
            message = {"kind": kind, "seq": self._published, **facts}
            await self._telemetry.send_multipart([b"vaestar", json.dumps(message).encode()])

    @contextlib.contextmanager
    def _state_file(self) -> Iterator[None]:
        """Keep a file in the run directory with the addresses of this agent while the context is open."""
        path = self._directory / STATE_FILE
        state: Mapping[str, Any] = {
            "pid": os.getpid(),
            "bind": endpoint(self._router),
            "telemetry": endpoint(self._telemetry) if self._telemetry is not None else "",
            "http": self.supervision.address,
            "started_at": self._now().isoformat(),
        }
        temporary = path.with_suffix(".tmp")
        try:
            with open_new(temporary) as file:
                file.write(json.dumps(state, indent=2).encode())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageError(f"{path} cannot be written: {describe_error(error)}") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _run_id(history: History) -> str:
    first = next(history.events(kind=kinds.RUN_STARTED), None)
    return first.subject if first else f"run-{uuid.uuid4().hex[:12]}"

"""No sequence of messages and kills makes the client measure a point outside limits, expired, twice, or while held.

A complete session runs here on a scripted connection, with an instrument that checks each point against a record of its own.
"""

import asyncio
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrument_adapters.client import session as sessions
from instrument_adapters.client.session import Session
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.instrument import Measurement
from instrument_adapters.protocol.messages import (
    Ack,
    CommandMessage,
    Limits,
    MeasurementRequest,
    RecommendationMessage,
    ResultMessage,
    Snapshot,
    Welcome,
)
from instrument_adapters.spool.spool import Spool
from tests.instrument_adapters.conftest import NOW, HaltingInstrument

LIMITS = Limits(
    x_max_m=4e-6, points_max=4, spacing_min_m=1e-6, dose_max=3, dose_radius_m=2e-6, scan_age_max_s=600.0, bias_max_V=6.0
)
STATES = {"pause": "paused", "resume": "running", "stop": "stopped"}


class Inline:
    """Executor that runs each job at once, in the event loop's thread."""

    def submit(self, job):
        done = Future()
        try:
            done.set_result(job())
        except BaseException as error:  # noqa: BLE001 - set as the exception of the future
            done.set_exception(error)
        return done


@dataclass
class Record:
    """Messages of the agent, results, and points given to the instrument; it outlives the clients."""

    now: object = NOW
    sent: list = field(default_factory=list)
    results: dict = field(default_factory=dict)
    measured: dict = field(default_factory=dict)
    scans: list = field(default_factory=list)
    plans: dict = field(default_factory=dict)
    state: str = "running"
    last_seq: int = 0
    ids: int = 0
    kills_after: int | None = None

    @property
    def snapshot(self):
        commands = [m for m in self.sent if isinstance(m, CommandMessage)]
        stops = [c.seq for c in commands if c.command == "stop"]
        state = STATES[commands[-1].command] if commands else "running"
        return Snapshot(seq=len(self.sent), state=state, stop_seq=max(stops, default=0))

    def note_command(self, command):
        """Update the expected state by a command that arrived: it can only become stricter, as a message may be missing."""
        stricter = {"running": 0, "paused": 1, "stopped": 2}
        state = STATES[command.command]
        if stricter[state] >= stricter[self.state] and command.seq > self.last_seq:
            self.state, self.last_seq = state, command.seq


class CheckingInstrument(HaltingInstrument):
    """Checks each point against the record."""

    def __init__(self, record, bias_V):
        super().__init__()
        self.limits, self.bias_V, self.record = LIMITS, bias_V, record
        self.scan_name = lambda _: f"s{len(record.scans)}"

    def now(self):
        return self.record.now

    def scan(self):
        assert self.record.state == "running", "a scan was begun while held"
        self.record.scans.append(self.record.now)
        return super().scan()

    def measure(self, request):
        record = self.record
        plan = record.plans[request.request_id]
        scan = int(plan.scan_id[1:])
        assert record.state == "running", "begun while held"
        assert request.request_id not in record.measured, "measured twice"
        assert -15e-6 <= request.x_m <= 4e-6, "outside the range or the frame"
        assert abs(request.y_m) <= 10e-6, "outside the frame"
        assert scan == len(record.scans), "not of the newest scan"
        assert plan.expires_at is None or record.now < plan.expires_at, "expired"
        assert record.now - record.scans[-1] <= timedelta(seconds=600), "of an old scan"
        assert self.bias_V <= min(6.0, plan.bias_max_V or 6.0), "too much bias"
        gaps = [(s, ((x - request.x_m) ** 2 + (y - request.y_m) ** 2) ** 0.5) for s, x, y in record.measured.values()]
        assert all(gap >= 0.99e-6 for s, gap in gaps if s == scan), "too near"
        assert sum(gap <= 2e-6 for _, gap in gaps) < 3, "too much dose"
        assert sum(s == scan for s, _ in gaps) < 4, "too many"
        record.measured[request.request_id] = (scan, request.x_m, request.y_m)
        if record.kills_after is not None and len(record.measured) > record.kills_after:
            record.kills_after = None
            raise KilledError
        return Measurement(x_m=request.x_m, y_m=request.y_m, measured_at=NOW)


class KilledError(Exception):
    """The client is killed here."""


class ScriptedConnection:
    """A connection whose agent takes the given steps one after another and kills the client at the end."""

    steps: list
    record: Record

    def __init__(self, _address, _hello, listener, *_others):
        self._listener, self._posted = listener, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def post(self, message_id, frames):
        self._posted.append((message_id, bytes(frames[0])))

    def withdraw(self, message_id):
        pass

    def request_snapshot(self):
        pass

    def send_lines(self, lines):
        pass

    def send_status(self, **fields):
        assert fields["activity"] != "measuring" or fields["request_id"]

    async def bye(self, reason):
        pass

    async def send_loop(self):
        await asyncio.Event().wait()

    monitor_loop = send_loop

    async def receive_loop(self):
        await self._join()
        for kind, *what in self.steps:
            await getattr(self, kind)(*what)
            await self._settle()
        raise KilledError

    async def _settle(self):
        for _ in range(60):
            await asyncio.sleep(0)
        for message_id, header in self._posted:
            if message_id.startswith("result"):
                result = ResultMessage.model_validate_json(header)
                known = self.record.results.setdefault(result.request_id, result)
                assert known == result, "one request, two results"
        await asyncio.sleep(0)

    async def _join(self):
        snapshot = self.record.snapshot
        self.record.state, self.record.last_seq = snapshot.state, snapshot.seq
        welcome = Welcome(id="w", sent_at=NOW, of="h", run_id="run", scans_recorded=0, snapshot=snapshot)
        await self._listener.on_welcome(welcome)
        await self._settle()

    async def answer(self, lost):
        if not lost:
            posted, self._posted = self._posted, []
            for message_id, _ in posted:
                self._listener.on_answer(message_id, Ack(id=f"a-{message_id}", sent_at=NOW, of=message_id), 2)

    async def ask(self):
        snapshot = self.record.snapshot
        self.record.state, self.record.last_seq = snapshot.state, snapshot.seq
        await self._listener.on_snapshot(snapshot)

    async def kill(self, after):
        """Kill the client during a measurement, after `after` further points."""
        self.record.kills_after = len(self.record.measured) + after

    async def wait(self, seconds):
        self.record.now += timedelta(seconds=seconds)

    async def command(self, name, lost):
        number = len(self.record.sent) + 1
        self.record.sent.append(CommandMessage(id=f"c{number}", sent_at=NOW, seq=number, command=name, by="Ada"))
        if not lost:
            await self.repeat(number - 1)

    async def recommend(self, points, older, expires_s, bias_V, lost):
        record, number = self.record, len(self.record.sent) + 1
        requests = []
        for x, y in points:
            record.ids += 1
            place = {"x_m": x * 1e-6, "y_m": y * 1e-6, "row": 0, "col": 0, "cluster": 0, "rank": 0, "core_distance": 0.0}
            requests.append(MeasurementRequest(request_id=f"p{record.ids}", **place))
        plan = RecommendationMessage(
            id=f"r{number}",
            sent_at=NOW,
            seq=number,
            decision_id="d",
            scan_id=f"s{max(1, len(record.scans) - older)}",
            requests=tuple(requests),
            reason="",
            expires_at=None if expires_s is None else record.now + timedelta(seconds=expires_s),
            bias_max_V=bias_V,
        )
        record.plans |= {r.request_id: plan for r in requests}
        record.sent.append(plan)
        if not lost:
            await self.repeat(number - 1)

    async def repeat(self, index):
        if not self.record.sent:
            return
        message = self.record.sent[index % len(self.record.sent)]
        if isinstance(message, RecommendationMessage):
            self._listener.on_recommendation(message)
            return
        before = self._listener.seq
        if message.seq <= before + 1 and message.seq > self.record.last_seq:
            self.record.state, self.record.last_seq = STATES[message.command], message.seq
        else:
            self.record.note_command(message)
        await self._listener.on_command(message)


inside = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.5, 3.9])
anywhere = st.sampled_from([-50.0, -14.0, 0.0, 4.1, 9.9, 11.0])
point = st.one_of(*[st.tuples(inside, inside)] * 5, st.tuples(anywhere, anywhere))
seldom = st.sampled_from([False] * 9 + [True])
recommend = st.tuples(
    st.just("recommend"),
    st.lists(point, min_size=2, max_size=6),
    st.sampled_from([0, 0, 0, 0, 1]),
    st.sampled_from([None, None, None, None, -1.0, 60.0]),
    st.sampled_from([None, None, None, 4.0, 5.0]),
    seldom,
)
others = [
    st.tuples(st.just("command"), st.sampled_from(["pause", "resume", "resume", "resume", "stop"]), seldom),
    st.tuples(st.just("repeat"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 100.0, 700.0])),
    st.tuples(st.just("kill"), st.integers(0, 2)),
]
answered = st.tuples(st.just("answer"), seldom)
steps = st.one_of(*[recommend] * 4, answered, answered, *[st.tuples(st.just("ask"))] * 2, *others)
lives = st.lists(st.lists(steps, min_size=4, max_size=20), min_size=1, max_size=3)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives, st.sampled_from([5.0, 5.0, 5.0, 6.5]))
def test_the_instrument_is_never_given_a_forbidden_point(monkeypatch, lives, bias_V):
    record = Record()
    monkeypatch.setattr(sessions, "Connection", ScriptedConnection)
    with tempfile.TemporaryDirectory() as directory:
        for life in lives:
            ScriptedConnection.steps, ScriptedConnection.record = life, record
            instrument = CheckingInstrument(record, bias_V)
            with Spool(Path(directory)) as spool:
                spool.last_written = None
                session = Session(
                    instrument,
                    spool,
                    Inline(),
                    threading.Event(),
                    instrument.close,
                    ClientTimings(),
                    lambda *_, **__: None,
                    lambda: NOW,
                )
                with pytest.raises(KilledError):
                    asyncio.run(session.run("", None))
    done = {r for r, result in record.results.items() if result.status == "ok"}
    assert done <= record.measured.keys()


def test_allowed_points_do_reach_the_instrument():
    """Otherwise the property would hold for a client that does nothing."""
    record = Record()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(sessions, "Connection", ScriptedConnection)
        ScriptedConnection.record = record
        ScriptedConnection.steps = [("recommend", [(0.0, 0.0), (3.0, 0.0), (4.1, 0.0)], 0, 60.0, None, False), ("answer", False)]
        instrument = CheckingInstrument(record, 5.0)
        with Spool(Path(directory)) as spool:
            session = Session(
                instrument,
                spool,
                Inline(),
                threading.Event(),
                instrument.close,
                ClientTimings(),
                lambda *_, **__: None,
                lambda: NOW,
            )
            with pytest.raises(KilledError):
                asyncio.run(session.run("", None))
    assert list(record.measured) == ["p1", "p2"]
    assert {r: v.status for r, v in record.results.items()} == {"p1": "ok", "p2": "ok", "p3": "skipped"}

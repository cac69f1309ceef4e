"""Whatever an agent says, and however often the client is killed: never a point outside limits, expired, twice, or while held.

The whole session runs here, on a link that is a script and with an instrument that judges each point that is handed to it by a
book of its own.
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
    """A worker that works at once, in the event loop's thread."""

    def submit(self, job):
        done = Future()
        try:
            done.set_result(job())
        except BaseException as error:  # noqa: BLE001 - it is handed on
            done.set_exception(error)
        return done


@dataclass
class Book:
    """What the agent has said, what came, and what was handed to the instrument; it outlives the clients."""

    now: object = NOW
    said: list = field(default_factory=list)
    results: dict = field(default_factory=dict)
    handed: dict = field(default_factory=dict)
    scans: list = field(default_factory=list)
    plans: dict = field(default_factory=dict)
    held: str = "running"
    heard: int = 0
    ids: int = 0
    kills_after: int | None = None

    @property
    def snapshot(self):
        commands = [m for m in self.said if isinstance(m, CommandMessage)]
        stops = [c.seq for c in commands if c.command == "stop"]
        state = STATES[commands[-1].command] if commands else "running"
        return Snapshot(seq=len(self.said), state=state, stop_seq=max(stops, default=0))

    def told(self, command):
        """By the book, what holds once a command has come: less than before only if nothing is missing."""
        stricter = {"running": 0, "paused": 1, "stopped": 2}
        state = STATES[command.command]
        if stricter[state] >= stricter[self.held] and command.seq > self.heard:
            self.held, self.heard = state, command.seq


class Judge(HaltingInstrument):
    """Judges each point by the book."""

    def __init__(self, book, bias_V):
        super().__init__()
        self.limits, self.bias_V, self.book = LIMITS, bias_V, book
        self.scan_name = lambda _: f"s{len(book.scans)}"

    def now(self):
        return self.book.now

    def scan(self):
        assert self.book.held == "running", "a scan was begun while held"
        self.book.scans.append(self.book.now)
        return super().scan()

    def measure(self, request):
        book = self.book
        plan = book.plans[request.request_id]
        scan = int(plan.scan_id[1:])
        assert book.held == "running", "begun while held"
        assert request.request_id not in book.handed, "handed twice"
        assert -15e-6 <= request.x_m <= 4e-6, "outside the range or the frame"
        assert abs(request.y_m) <= 10e-6, "outside the frame"
        assert scan == len(book.scans), "not of the newest scan"
        assert plan.expires_at is None or book.now < plan.expires_at, "expired"
        assert book.now - book.scans[-1] <= timedelta(seconds=600), "of an old scan"
        assert self.bias_V <= min(6.0, plan.bias_max_V or 6.0), "too much bias"
        gaps = [(s, ((x - request.x_m) ** 2 + (y - request.y_m) ** 2) ** 0.5) for s, x, y in book.handed.values()]
        assert all(gap >= 0.99e-6 for s, gap in gaps if s == scan), "too near"
        assert sum(gap <= 2e-6 for _, gap in gaps) < 3, "too much dose"
        assert sum(s == scan for s, _ in gaps) < 4, "too many"
        book.handed[request.request_id] = (scan, request.x_m, request.y_m)
        if book.kills_after is not None and len(book.handed) > book.kills_after:
            book.kills_after = None
            raise KilledError
        return Measurement(x_m=request.x_m, y_m=request.y_m, measured_at=NOW)


class KilledError(Exception):
    """The client is killed here."""


class Script:
    """A link whose agent does what it is told to, one step after the other, and kills the client at the end."""

    steps: list
    book: Book

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

    def show(self, lines):
        pass

    def show_status(self, **fields):
        assert fields["activity"] != "measuring" or fields["request_id"]

    async def bye(self, reason):
        pass

    async def send(self):
        await asyncio.Event().wait()

    watch = send

    async def receive(self):
        await self._join()
        for kind, *what in self.steps:
            await getattr(self, kind)(*what)
            await self._rest()
        raise KilledError

    async def _rest(self):
        for _ in range(60):
            await asyncio.sleep(0)
        for message_id, header in self._posted:
            if message_id.startswith("result"):
                result = ResultMessage.model_validate_json(header)
                known = self.book.results.setdefault(result.request_id, result)
                assert known == result, "one request, two results"
        await asyncio.sleep(0)

    async def _join(self):
        snapshot = self.book.snapshot
        self.book.held, self.book.heard = snapshot.state, snapshot.seq
        welcome = Welcome(id="w", sent_at=NOW, of="h", run_id="run", scans_recorded=0, snapshot=snapshot)
        await self._listener.welcomed(welcome)
        await self._rest()

    async def answer(self, lost):
        if not lost:
            posted, self._posted = self._posted, []
            for message_id, _ in posted:
                self._listener.answered(message_id, Ack(id=f"a-{message_id}", sent_at=NOW, of=message_id), 2)

    async def ask(self):
        snapshot = self.book.snapshot
        self.book.held, self.book.heard = snapshot.state, snapshot.seq
        await self._listener.situated(snapshot)

    async def kill(self, after):
        """The client is killed while it measures, after so many points more."""
        self.book.kills_after = len(self.book.handed) + after

    async def wait(self, seconds):
        self.book.now += timedelta(seconds=seconds)

    async def command(self, word, lost):
        number = len(self.book.said) + 1
        self.book.said.append(CommandMessage(id=f"c{number}", sent_at=NOW, seq=number, command=word, by="Ada"))
        if not lost:
            await self.again(number - 1)

    async def recommend(self, points, older, expires_s, bias_V, lost):
        book, number = self.book, len(self.book.said) + 1
        requests = []
        for x, y in points:
            book.ids += 1
            place = {"x_m": x * 1e-6, "y_m": y * 1e-6, "row": 0, "col": 0, "cluster": 0, "rank": 0, "core_distance": 0.0}
            requests.append(MeasurementRequest(request_id=f"p{book.ids}", **place))
        plan = RecommendationMessage(
            id=f"r{number}",
            sent_at=NOW,
            seq=number,
            decision_id="d",
            scan_id=f"s{max(1, len(book.scans) - older)}",
            requests=tuple(requests),
            reason="",
            expires_at=None if expires_s is None else book.now + timedelta(seconds=expires_s),
            bias_max_V=bias_V,
        )
        book.plans |= {r.request_id: plan for r in requests}
        book.said.append(plan)
        if not lost:
            await self.again(number - 1)

    async def again(self, index):
        if not self.book.said:
            return
        message = self.book.said[index % len(self.book.said)]
        if isinstance(message, RecommendationMessage):
            self._listener.recommended(message)
            return
        before = self._listener.seq
        if message.seq <= before + 1 and message.seq > self.book.heard:
            self.book.held, self.book.heard = STATES[message.command], message.seq
        else:
            self.book.told(message)
        await self._listener.commanded(message)


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
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 100.0, 700.0])),
    st.tuples(st.just("kill"), st.integers(0, 2)),
]
answered = st.tuples(st.just("answer"), seldom)
steps = st.one_of(*[recommend] * 4, answered, answered, *[st.tuples(st.just("ask"))] * 2, *others)
lives = st.lists(st.lists(steps, min_size=4, max_size=20), min_size=1, max_size=3)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives, st.sampled_from([5.0, 5.0, 5.0, 6.5]))
def test_no_point_is_ever_handed_to_the_instrument_that_must_not_be(monkeypatch, lives, bias_V):
    book = Book()
    monkeypatch.setattr(sessions, "Link", Script)
    with tempfile.TemporaryDirectory() as directory:
        for life in lives:
            Script.steps, Script.book = life, book
            judge = Judge(book, bias_V)
            with Spool(Path(directory)) as spool:
                spool.last_written = None
                session = Session(
                    judge, spool, Inline(), threading.Event(), judge.close, ClientTimings(), lambda *_, **__: None, lambda: NOW
                )
                with pytest.raises(KilledError):
                    asyncio.run(session.run("", None))
    done = {r for r, result in book.results.items() if result.status == "ok"}
    assert done <= book.handed.keys()


def test_the_judge_sees_points_at_all():
    """Else the property would hold for a client that does nothing."""
    book = Book()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(sessions, "Link", Script)
        Script.book = book
        Script.steps = [("recommend", [(0.0, 0.0), (3.0, 0.0), (4.1, 0.0)], 0, 60.0, None, False), ("answer", False)]
        judge = Judge(book, 5.0)
        with Spool(Path(directory)) as spool:
            session = Session(
                judge, spool, Inline(), threading.Event(), judge.close, ClientTimings(), lambda *_, **__: None, lambda: NOW
            )
            with pytest.raises(KilledError):
                asyncio.run(session.run("", None))
    assert list(book.handed) == ["p1", "p2"]
    assert {r: v.status for r, v in book.results.items()} == {"p1": "ok", "p2": "ok", "p3": "skipped"}

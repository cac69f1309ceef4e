"""Property test: in random sequences of messages, commands and failures, no point is sent that must not be measured."""

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.safety import ApprovalSettings, SafetySettings
from agent.errors import ControlError
from agent.history.event_log import History
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.messaging.dispatcher import Dispatcher
from agent.safety.approval import Approvals
from instrument_adapters.errors import ProtocolError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.scan import Scan
from tests.support.history.memory_history import MemoryHistory
from tests.support.samples import NOW, ack, decision, packet, request, result, sample_scan, scan_message

INSTRUMENTS = ("afm-1", "afm-2")
FRAME = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=11, cols=11)  # a pixel of 100 nm
SAFETY = SafetySettings(x_max_m=0.35e-6, dose_max=4, dose_radius_m=300e-9, points_per_sample=9, drift_max_m=260e-9)
LIMITS = wire.Limits(y_min_m=-0.45e-6, spacing_min_m=100e-9, points_max=5, dose_max=50, scan_age_max_s=1000)
SLACK = 1e-12

PLACE = st.tuples(st.integers(-6, 6), st.integers(-6, 6)).map(lambda p: (p[0] * 0.9e-7, p[1] * 0.9e-7))
PLACES = st.lists(PLACE, min_size=2, max_size=9)
NAME = st.sampled_from(INSTRUMENTS)
STATUS = st.sampled_from(("ok", "ok", "failed", "skipped"))
NUMBERS = st.lists(st.integers(0, 6), max_size=2)
STEP = st.one_of(
    st.tuples(st.just("scan"), NAME),
    st.tuples(st.just("decide"), NAME, PLACES, st.booleans()),
    st.tuples(st.just("send"), NAME),
    st.tuples(st.just("result"), NAME, st.integers(0, 4), STATUS, st.booleans()),
    st.tuples(st.just("approve"), NAME, NUMBERS, st.dictionaries(st.integers(0, 6), PLACE, max_size=2)),
    st.tuples(st.just("reject"), NAME),
    st.tuples(st.sampled_from(("pause", "resume", "stop", "stop")), st.one_of(NAME, st.none())),
    st.tuples(st.sampled_from(("pause", "resume", "resume", "stop")), st.one_of(NAME, st.none())),
    st.tuples(st.just("wait"), st.sampled_from((10.0, 600.0, 2000.0))),
    st.tuples(st.just("hello"), NAME, st.sampled_from((None, 5.0, 12.0))),
    st.tuples(st.just("restart")),
)


@st.composite
def cycles(draw: st.DrawFn) -> list[tuple]:
    """A few regular cycles of either instrument, with an occasional random step in between."""
    steps: list[tuple] = []
    for _ in range(draw(st.integers(1, 5))):
        name = draw(NAME)
        cycle = [
            ("scan", name),
            ("decide", name, draw(PLACES), False),
            ("approve", name, [], {}),
            ("send", name),
            ("ack", name),
        ]
        cycle += [("result", name, i, status, False) for i, status in enumerate(draw(st.lists(STATUS, max_size=5)))]
        cycle += [("resume", None), ("send", name)]
        for step in cycle:
            if draw(st.integers(0, 7)) == 0:
                steps.append(draw(STEP))
            if draw(st.integers(0, 15)) > 0:
                steps.append(step)
    return steps


class Loop:
    """Instruments and operators around an agent without sockets, with an independent record of what it must not send."""

    def __init__(self, history: History | MemoryHistory, mode: str) -> None:
        self.history, self.mode = history, mode
        self.elapsed_s = 0.0
        self.states = dict.fromkeys(INSTRUMENTS, "running")
        self.bias_V: dict[str, float | None] = dict.fromkeys(INSTRUMENTS)
        self.scans = 0
        self.scanned_s: dict[str, float] = {}
        self.newest: dict[str, str] = {}
        self.spent: set[str] = set()  # scans after which nothing more may be measured
        self.allowed: dict[str, set[tuple[float, float]]] = {}  # by decision: positions that an operator approved
        self.rejected: set[str] = set()
        self.tried: list[tuple[str, str, tuple[float, float]]] = []  # instrument, decision, position
        self.out: dict[str, wire.RecommendationMessage] = {}
        self.positions: dict[str, tuple[float, float]] = {}
        self.sent_points = 0
        self.start()

    def start(self) -> None:
        approval = ApprovalSettings(mode=self.mode, timeout_s=1500)
        now: Callable[[], object] = lambda: NOW + timedelta(seconds=self.elapsed_s)  # noqa: E731
        self.agent = Dispatcher(self.history, "run-1", now, SAFETY, approval, monotonic=lambda: self.elapsed_s)
        for name in INSTRUMENTS:
            self.hello(name, self.bias_V[name])

    def hello(self, name: str, bias_V: float | None) -> None:
        self.bias_V[name] = bias_V
        message = {"instrument_id": name, "model": "m", "software": "s", "limits": LIMITS, "bias_V": bias_V}
        self.agent.on_packet(name, packet(wire.Hello(id="hello", sent_at=self.time(), **message)))

    def time(self):
        return NOW + timedelta(seconds=self.elapsed_s)

    def restart(self) -> None:
        assert view(Ledger.of(self.history.events())) == view(self.agent.ledger)
        self.start()

    def wait(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def scan(self, name: str) -> None:
        self.scans += 1
        scan_id = f"s-{self.scans}"
        plain = sample_scan(scan_id)
        channels = {"Amplitude": plain.channels["Amplitude"][:1, :1].repeat(11, axis=0).repeat(11, axis=1)}
        scan = Scan(channels, {}, FRAME, scan_id, "bto", self.time() - timedelta(seconds=60), self.time())
        self.agent.on_packet(name, scan_message(scan))
        self.spent.add(self.newest.get(name, ""))
        self.newest[name], self.scanned_s[scan_id] = scan_id, self.elapsed_s
        if self.states[name] == "stopped":
            self.spent.add(scan_id)

    def decide(self, name: str, places: list[tuple[float, float]], askew: bool) -> None:
        entry = self.agent.ledger.undecided(name)
        if entry is None:
            return
        shift = 2.5e-7 if askew else 0.0
        requests = tuple(at(f"d-{entry.scan_id}-{i}", x, y, shift) for i, (x, y) in enumerate(places))
        made = decision(entry.scan_id, frame=FRAME)
        record = made.record.model_copy(update={"requests": list(requests)})
        self.agent.decision_log.decided(entry, type(made)(record, made.arrays), 1.0)

    def send(self, name: str) -> None:
        self.agent.decision_log.apply_policy(name)
        entry = self.agent.due(name)
        if entry is not None:
            message = self.agent.recommendation(entry)
            self.check(name, entry, message)
            self.agent.sent(entry)
            self.out[name] = message

    def ack(self, name: str) -> None:
        if name in self.out:
            self.agent.on_packet(name, ack(self.out[name].id))

    def result(self, name: str, which: int, status: str, excessive: bool) -> None:
        message = self.out.get(name)
        if message is None or which >= len(message.requests):
            return
        request_ = message.requests[which]
        place = {"x_m": request_.x_m + 2e-8, "y_m": request_.y_m} if status == "ok" else {}
        answer = result(request_.request_id, status, **place)
        if excessive and status == "ok":
            answer.arrays["bias_V"] = answer.arrays["bias_V"] * 11
        if self.agent.on_packet(name, answer).duplicate:
            return
        if status != "skipped":
            self.tried.append((name, message.decision_id, (request_.x_m + (2e-8 if place else 0.0), request_.y_m)))
        if excessive and status == "ok" and self.states[name] == "running":
            self.states[name] = "paused"

    def approve(self, name: str, drop: list[int], move: dict[int, tuple[float, float]]) -> None:
        entry = self.agent.ledger.latest(name)
        if entry is None or entry.decision is None:
            return
        offered = [r for r in entry.decision.requests if r.request_id not in entry.refused]
        dropped = {offered[i].request_id for i in drop if i < len(offered)}
        moved = {offered[i].request_id: xy for i, xy in move.items() if i < len(offered)}
        approvals: Approvals = self.agent.approvals
        decision_id = entry.decision.decision_id
        try:
            approvals.approve(decision_id, "Ada", "", sorted(dropped), moved, name)
        except ControlError:
            return
        kept = {(r.x_m, r.y_m) for r in offered if r.request_id not in dropped and r.request_id not in moved}
        self.allowed[f"{name}/{decision_id}"] = kept | set(moved.values())

    def reject(self, name: str) -> None:
        entry = self.agent.ledger.latest(name)
        if entry is not None and entry.decision is not None:
            try:
                self.agent.approvals.reject(entry.decision.decision_id, "Ada", "no", name)
            except ControlError:
                return
            self.rejected.add(f"{name}/{entry.decision.decision_id}")

    def command(self, order: str, name: str | None) -> None:
        try:
            names = self.agent.commands.give(order, "Ada", "so", name)
        except ControlError:
            assert order == "pause"
            assert self.states[name] == "stopped"
            return
        for one in names:
            if order == "stop" or self.states[one] == "stopped":
                self.spent.add(self.newest.get(one, ""))
            self.states[one] = {"pause": "paused", "resume": "running", "stop": "stopped"}[order]

    def check(self, name: str, entry: ScanEntry, message: wire.RecommendationMessage) -> None:
        """Check all rules on a recommendation, independently of the implementation."""
        assert self.states[name] == "running"
        assert message.scan_id == self.newest[name]
        assert message.expires_at is not None
        key = f"{name}/{message.decision_id}"
        places = [(r.x_m, r.y_m) for r in message.requests]
        if not places:
            return
        self.sent_points += len(places)
        assert message.scan_id not in self.spent
        assert key not in self.rejected
        assert self.mode != "dry-run"
        assert self.mode != "review" or set(places) <= self.allowed[key]
        assert self.elapsed_s - self.scanned_s[message.scan_id] <= 1000
        assert (self.bias_V[name] or 0.0) <= 10
        assert len(places) <= 5
        others = [where for instrument, made, where in self.tried if (instrument, made) != (name, message.decision_id)]
        for i, here in enumerate(places):
            assert abs(here[0]) <= 0.5e-6 + SLACK
            assert abs(here[1]) <= 0.5e-6 + SLACK
            assert here[0] <= 0.35e-6
            assert here[1] >= -0.45e-6
            assert all(math.dist(here, there) >= 100e-9 - SLACK for there in [*others, *places[:i]])
        touched = [*others, *places]
        assert len(touched) <= 9
        for here in places:
            for centre in touched:
                if math.dist(centre, here) <= 300e-9:
                    assert sum(math.dist(centre, there) <= 300e-9 for there in touched) <= 4
        for r in message.requests:
            key = f"{name}/{r.request_id}"
            assert self.positions.setdefault(key, (r.x_m, r.y_m)) == (r.x_m, r.y_m)


def at(name: str, x_m: float, y_m: float, shift_m: float) -> wire.MeasurementRequest:
    """A request whose pixel is the commanded position, or displaced from it as if by drift."""
    col, row = (min(max(round((v + 0.5e-6) / 1e-7), 0), 12) for v in (x_m + shift_m, y_m))
    return request(name, x_m, y_m).model_copy(update={"row": row, "col": col})


def view(ledger: Ledger) -> str:
    fields = {name: value for name, value in vars(ledger).items() if name not in ("present", "lost")}
    return repr((fields, sorted(ledger.present), sorted(ledger.lost)))


def run(history: History | MemoryHistory, mode: str, steps: list[tuple]) -> Loop:
    loop = Loop(history, mode)
    for what, *values in steps:
        try:
            if what in ("pause", "resume", "stop"):
                loop.command(what, *values)
            else:
                getattr(loop, what)(*values)
        except ProtocolError as error:
            loop.agent.refuse(values[0], None, error)
    loop.restart()
    for name in INSTRUMENTS:
        loop.send(name)
    return loop


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mode=st.sampled_from(("auto", "auto", "review", "review", "dry-run")), steps=cycles())
def test_no_point_goes_out_that_must_not_be_measured(mode: str, steps: list[tuple]) -> None:
    run(MemoryHistory(), mode, steps)


@pytest.mark.parametrize(("mode", "sent"), [("auto", 3), ("review", 2), ("dry-run", 0)])
def test_the_same_loop_sends_what_may_be_sent(tmp_path: Path, mode: str, sent: int) -> None:
    places = [(0.0, 0.0), (0.0, 0.5e-7), (2e-7, 0.0), (0.0, 2e-7), (6e-7, 0.0)]
    steps = [("scan", "afm-1"), ("decide", "afm-1", places, False), ("approve", "afm-1", [0], {}), ("send", "afm-1")]
    with History(tmp_path) as history:
        loop = run(history, mode, [*steps, ("ack", "afm-1")])
    assert loop.sent_points == sent

"""The ledger depends on the history alone, in whatever order things happen."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.ledger.entries import PastDecision, PastRequest
from agent.ledger.ledger import KINDS, Ledger
from agent.ledger.outlines import state_events
from agent.ledger.sample_results import SampleResults
from agent.messaging.dispatcher import Dispatcher
from agent.schema.measurements import MeasuredOnSample, Result
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol.codec import Packet
from tests.support.samples import Clock, ack, decision, hello, refused, request, result, sample_scan, scan_message

INSTRUMENTS = ("afm-1", "afm-2")
SCANS = ("s-1", "s-2", "s-3")
STEP = st.tuples(
    st.sampled_from(("hello", "scan", "decide", "ack", "refuse", "result", "result", "cancel")),
    st.sampled_from(INSTRUMENTS),
    st.sampled_from(SCANS),
    st.sampled_from(("ok", "skipped", "failed")),
)


def view(ledger: Ledger) -> dict:
    """The public state of a ledger as plain values."""
    scans = {key: (s.sample_id, s.digest, s.closed, s.decision, s.decided, s.acknowledged) for key, s in ledger.scans.items()}
    requests = {key: (r.request, r.instrument_id, r.scan_id, r.status) for key, r in ledger.requests.items()}
    newest = {
        i: tuple(s.scan_id if s else None for s in (ledger.latest(i), ledger.undecided(i), ledger.unacknowledged(i)))
        for i in INSTRUMENTS
    }
    found = ledger.results("bto")
    results = (found.xy_m.tolist(), found.values.tolist(), found.names, dict(found.left_out))
    measured = ledger.measured_xy("bto").tolist()
    return {"scans": scans, "requests": requests, "newest": newest, "measured": measured, "results": results}


def receive(agent: Dispatcher, instrument: str, packet: Packet) -> None:
    try:
        agent.on_packet(instrument, packet)
    except ProtocolError as error:
        agent.refuse(instrument, None, error)


def do(agent: Dispatcher, step: tuple[str, str, str, str]) -> None:
    what, instrument, scan_id, status = step
    waiting = agent.ledger.undecided(instrument)
    if what == "decide" and waiting is not None:
        requests = (request(f"p-{waiting.scan_id}-0"), request(f"p-{waiting.scan_id}-1", x_m=3e-7))
        agent.decision_log.decided(waiting, decision(waiting.scan_id, requests), 1.0)
        if (due := agent.due(instrument)) is not None:
            agent.recommendation(due)
    elif what == "cancel" and waiting is not None:
        agent.decision_log.cancelled(waiting, "told to")
    else:
        packets = {
            "hello": hello(instrument, spacing_min_m=0.0),
            "scan": scan_message(sample_scan(scan_id)),
            "ack": ack(f"rec-d-{scan_id}"),
            "refuse": refused(f"rec-d-{scan_id}"),
            "result": result(f"p-{scan_id}-0", status),
        }
        if what in packets:
            receive(agent, instrument, packets[what])


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=5, max_size=25))
def test_a_replayed_history_gives_the_state_that_was_followed_live(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, str]]
) -> None:
    with History(tmp_path_factory.mktemp("run")) as history:
        agent = Dispatcher(history, "run-1", Clock())
        for instrument in INSTRUMENTS:
            agent.on_packet(instrument, hello(instrument, spacing_min_m=0.0))
        for step in steps:
            do(agent, step)
        assert view(Ledger.of(history.events())) == view(agent.ledger)
        assert repr(Ledger.of(state_events(history))) == repr(Ledger.of(history.events(kinds=KINDS)))
        assert history.verify() == []


def test_a_whole_cycle_leads_through_all_states(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        agent = Dispatcher(history, "run-1", Clock())
        seen = []
        for step in (("hello",), ("scan",), ("decide",), ("ack",), ("result",)):
            do(agent, (*step, "afm-1", "s-1", "ok"))
            seen.append(view(agent.ledger)["newest"]["afm-1"])
        assert seen == [
            (None, None, None),
            ("s-1", "s-1", None),
            ("s-1", None, "s-1"),
            ("s-1", None, None),
            ("s-1", None, None),
        ]
        assert agent.ledger.requests["afm-1", "p-s-1-0"].status == "ok"
        assert agent.ledger.requests["afm-1", "p-s-1-1"].status is None


def test_results_of_all_scans_and_instruments_on_a_sample_are_kept_with_what_became_of_them(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        agent = Dispatcher(history, "run-1", Clock())
        for instrument, scan, status in (("afm-1", "s-1", "ok"), ("afm-2", "s-2", "ok"), ("afm-2", "s-3", "failed")):
            for step in ("hello", "scan", "decide", "result"):
                do(agent, (step, instrument, scan, status))
        receive(agent, "afm-2", result("p-s-3-1", "skipped"))
        receive(agent, "afm-2", result("p-s-2-1", parameters={}))
        found = agent.ledger.results("bto")
        assert found.names == ("coercive_V",)
        assert found.values.tolist() == [[2.5], [2.5]]
        assert found.xy_m.tolist() == [[1e-7, 2e-7]] * 2
        assert found.left_out == {"failed": 1, "skipped": 1, "without_parameters": 1}
        assert len(agent.ledger.measured_xy("bto")) == 4  # all but the skipped one
        assert len(agent.ledger.results("another sample").values) == 0


def test_an_older_scan_is_never_decided_later(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        agent = Dispatcher(history, "run-1", Clock())
        for step in ("hello", "scan", "decide"):
            do(agent, (step, "afm-1", "s-1", "ok"))
        do(agent, ("scan", "afm-1", "s-2", "ok"))
        assert agent.ledger.unacknowledged("afm-1") is None
        assert agent.ledger.undecided("afm-1").scan_id == "s-2"
        do(agent, ("cancel", "afm-1", "", "ok"))
        assert agent.ledger.undecided("afm-1") is None


def test_a_history_of_another_version_is_refused(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        where = {"instrument_id": "afm-1", "scan_id": "s-1"}
        history.record("decision_made", "d-1", where | {"decision": {"schema_version": 99}}, at=Clock()())
        with pytest.raises(
            HistoryError, match=r"event 1 \(decision_made\) cannot be read back.* another version: schema_version"
        ):
            Dispatcher(history, "run-1", Clock())


def test_of_older_scans_only_what_is_asked_for_is_held(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        agent = Dispatcher(history, "run", Clock())
        agent.on_packet("afm-1", hello("afm-1"))
        for scan_id in SCANS:
            agent.on_packet("afm-1", scan_message(sample_scan(scan_id)))
            waiting = agent.ledger.undecided("afm-1")
            assert waiting is not None
            agent.decision_log.decided(waiting, decision(scan_id, (request(f"p-{scan_id}-0"),)), 1.0)
        old, last = (agent.ledger.scans["afm-1", name] for name in (SCANS[0], SCANS[-1]))
        past = agent.ledger.requests["afm-1", "p-s-1-0"].request
        receive(agent, "afm-1", scan_message(sample_scan(SCANS[0]), "again"))
        repeated = list(history.events(kind="message_repeated"))
    assert last.decision is not None
    assert last.decision.config
    assert "metadata" in last.event.body["header"]
    assert (old.decision, old.event.body) == (None, {})
    assert old.decided == PastDecision("d-s-1", "one_type_only", 1)
    assert past == PastRequest("p-s-1-0", 1e-7, 2e-7, 0)
    assert len(repeated) == 1  # an old scan that comes again is known by its content
    assert old.settled


def test_what_is_known_of_a_sample_is_the_same_in_columns_as_one_by_one() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        results, columns = [], SampleResults()
        for _ in range(int(rng.integers(0, 12))):
            names = [name for name in ("area", "bias_V", "pc1") if rng.random() < 0.8]
            numbers = {name: float(rng.choice([1.0, -2.5, 1e308, math.inf])) for name in names}
            status = str(rng.choice(["ok", "ok", "ok", "failed", "skipped"]))
            xy = (float(rng.choice([1e-6, math.nan])) if rng.random() < 0.1 else 1e-6, -2e-6)
            at_s = float(rng.choice([math.nan, 5.0]))
            results.append(Result(status, xy, numbers, at_s))
            columns.add(status, xy, at_s, numbers, 1, "d-1")
        one_by_one, found = MeasuredOnSample.of(results), columns.usable()
        assert found.names == one_by_one.names
        assert dict(found.left_out) == dict(one_by_one.left_out)
        for name in ("xy_m", "values", "at_s"):
            np.testing.assert_array_equal(getattr(found, name), getattr(one_by_one, name))
        tried = [r for r in results if r.status != "skipped"]
        np.testing.assert_array_equal(columns.tried()[0], np.array([r.xy_m for r in tried]).reshape(-1, 2))
        np.testing.assert_array_equal(columns.tried()[1], np.array([r.at_s for r in tried]))


def test_numbers_that_are_none_in_an_altered_history_are_left_out_as_not_finite() -> None:
    columns = SampleResults()
    for value in (1.0, None, "2", 10**400):
        columns.add("ok", (0.0, 0.0), 0.0, {"area": value}, 1, "d-1")
    assert columns.usable().values.tolist() == [[1.0]]
    assert columns.usable().left_out == {"not_finite": 3}

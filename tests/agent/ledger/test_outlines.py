"""The state of a run is the same whether the details of old decisions are read or not."""

from pathlib import Path

import pytest

from agent.errors import HistoryError
from agent.history.database import DETAILS
from agent.history.event_log import Event, History
from agent.ledger.ledger import KINDS, Ledger
from agent.ledger.outlines import state_events
from agent.messaging.dispatcher import Dispatcher
from agent.schema import event_kinds as kinds
from tests.support.history.golden_runs import LATER, VERSIONS, golden_run
from tests.support.samples import NOW, Clock, ack, decision, hello, refused, request, result, sample_scan, scan_message

DECIDED = (kinds.DECISION_MADE, kinds.DECISION_DEEPENED)


def scan_and_decide(agent: Dispatcher, instrument: str, scan_id: str, **changes: object) -> None:
    agent.on_packet(instrument, scan_message(sample_scan(scan_id), f"m-{instrument}-{scan_id}"))
    entry = agent.ledger.undecided(instrument)
    requests = (request(f"p-{scan_id}-0"), request(f"p-{scan_id}-1", x_m=3e-7))
    agent.decision_log.decided(entry, decision(scan_id, requests, **changes), 1.0)
    if (due := agent.due(instrument)) is not None:
        agent.recommendation(due)


def eventful(history: History) -> None:
    """Two instruments; decisions that are used, refused, deepened, made of an unusable scan, and made too late."""
    agent = Dispatcher(history, "run-1", Clock())
    for instrument in ("afm-1", "afm-2"):
        agent.on_packet(instrument, hello(instrument, spacing_min_m=0.0))
    scan_and_decide(agent, "afm-2", "only")
    agent.on_packet("afm-2", ack("rec-d-only"))
    scan_and_decide(agent, "afm-1", "used")
    agent.on_packet("afm-1", ack("rec-d-used"))
    agent.on_packet("afm-1", result("p-used-0"))
    record = decision("used").record.model_dump(mode="json")
    where = {"instrument_id": "afm-1", "scan_id": "used", "of": "d-used"}
    history.record(kinds.DECISION_DEEPENED, "d-used-deep", where | {"decision": record}, at=NOW)
    agent = Dispatcher(history, "run-1", Clock())  # whose ledger knows the deepened decision
    agent.on_packet("afm-1", hello("afm-1", "again", spacing_min_m=0.0))
    scan_and_decide(agent, "afm-1", "refused")
    agent.on_packet("afm-1", refused("rec-d-refused"))
    agent.on_packet("afm-1", scan_message(sample_scan("late"), "m-late"))
    late = agent.ledger.undecided("afm-1")
    agent.on_packet("afm-1", scan_message(sample_scan("next"), "m-next"))
    agent.decision_log.decided(late, decision("late", (request("p-late-0"),)), 1.0)
    nothing = {"outcome": "not_resolvable", "chosen": None, "candidates": [], "clusters": [], "configurations": []}
    scan_and_decide(agent, "afm-1", "guarded", **nothing | {"candidates": decision().record.candidates}, keypoints_found=0)
    scan_and_decide(agent, "afm-1", "empty", **nothing, keypoints_found=0, explanation="Nothing to recommend: no key points.")
    agent.on_packet("afm-1", scan_message(sample_scan("newest"), "m-newest"))


def decided(events: list[Event]) -> dict[str, Event]:
    return {event.subject: event for event in events if event.kind in DECIDED}


@pytest.mark.parametrize("version", [*VERSIONS, *LATER])
def test_an_old_run_gives_the_same_state(tmp_path: Path, version: str) -> None:
    with History(golden_run(tmp_path, version), read_only=True) as history:
        assert repr(Ledger.of(state_events(history))) == repr(Ledger.of(history.events(kinds=KINDS)))


def test_the_state_is_the_same_from_every_event_on(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        eventful(history)
        whole = list(history.events(kinds=KINDS))
        state = repr(Ledger.of(whole))
        assert state == repr(Ledger.of(state_events(history)))
        assert Ledger.of(state_events(history)).unusable_scans["afm-1"] == ["no key points"]
        for number in range(len(whole)):
            ledger = Ledger.of(whole[:number])
            for event in state_events(history, after=whole[number - 1].seq if number else 0):
                ledger.apply(event)
            assert repr(ledger) == state


def test_details_are_read_only_of_the_newest_scan_of_each_instrument_and_where_nothing_was_found(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        eventful(history)
        found = decided(list(state_events(history)))
        for name in ("d-used", "d-used-deep", "d-refused", "d-late"):
            assert found[name].outlined
            assert not set(DETAILS) & set(found[name].body["decision"])
        for name in ("d-only", "d-empty", "d-guarded"):
            assert found[name] == decided(list(history.events()))[name]
            assert set(DETAILS) <= set(found[name].body["decision"])


def test_an_old_decision_that_lacks_something_is_still_refused(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        agent = Dispatcher(history, "run-1", Clock())
        agent.on_packet("afm-1", hello())
        agent.on_packet("afm-1", scan_message(sample_scan("s-1"), "m-1"))
        body = {"instrument_id": "afm-1", "scan_id": "s-1", "decision": {"decision_id": "d-1", "outcome": "one_type_only"}}
        history.record(kinds.DECISION_MADE, "d-1", body, at=NOW)
        again = scan_message(sample_scan("s-2"), "m-2")
        agent.on_packet("afm-1", again)
        with pytest.raises(HistoryError, match=r"event 3 \(decision_made\) cannot be read back.*: scan_id"):
            Ledger.of(state_events(history))

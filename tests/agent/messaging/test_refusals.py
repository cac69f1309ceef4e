"""What is recorded of refusals: the first ones in full, then sums."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.history.counters import RunCounters
from agent.history.event_log import Event, History
from agent.ledger.recorder import Recorder
from agent.messaging.refusals import DENIED_SUM_S, FULL_MAX, SUM_S, RefusalLog
from agent.messaging.run_log import RunLog
from agent.schema import event_kinds as kinds
from tests.support.samples import Clock


class Recorded:
    """A refusal log on a history of its own, with a clock that is set by hand."""

    def __init__(self, history: History) -> None:
        self.now_s = 1000.0
        self.history = history
        self.recorder = Recorder(history, Clock())
        self.log = RefusalLog(self.recorder, lambda: self.now_s)

    def refuse(self, code: str = "bad_json", sender: str = "afm-1") -> None:
        body = {"instrument_id": "afm-1", "of": None, "code": code, "reason": "not JSON"}
        self.log.note(kinds.MESSAGE_REFUSED, "afm-1", body, sender=sender, code=code)

    def events(self) -> list[Event]:
        return list(self.history.events())


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    with History(tmp_path) as history:
        yield Recorded(history)


@pytest.mark.attack("a client sends bad messages all day", promise="refusals are counted and summed up, not each recorded")
def test_the_first_refusals_are_recorded_in_full_and_the_rest_as_a_sum_each_minute(recorded: Recorded) -> None:
    for _ in range(500):
        recorded.refuse()
    recorded.log.flush()
    assert len(recorded.events()) == FULL_MAX
    recorded.now_s += SUM_S
    recorded.log.flush()
    recorded.log.flush()
    *full, total = recorded.events()
    assert len(full) == FULL_MAX
    assert all("count" not in event.body for event in full)
    assert total.body["count"] == 500 - FULL_MAX
    assert total.body["reason"] == f"{500 - FULL_MAX} more within 60 s; the last: not JSON"


def test_counters_know_how_many_were_refused(recorded: Recorded) -> None:
    for _ in range(50):
        recorded.refuse()
    recorded.log.flush(everything=True)
    counters = RunCounters()
    for event in recorded.events():
        counters.apply(event)
    assert counters.refused == {"bad_json": 50}


def test_another_reason_and_another_instrument_are_recorded_in_full_all_the_same(recorded: Recorded) -> None:
    for _ in range(50):
        recorded.refuse()
    recorded.refuse("unknown_version")
    recorded.refuse(sender="afm-2")
    assert [e.body["code"] for e in recorded.events()[FULL_MAX:]] == ["unknown_version", "bad_json"]


def test_after_a_quiet_time_a_refusal_is_recorded_in_full_again(recorded: Recorded) -> None:
    for _ in range(FULL_MAX):
        recorded.refuse()
    recorded.now_s += SUM_S
    recorded.refuse()
    assert "count" not in recorded.events()[-1].body
    assert len(recorded.events()) == FULL_MAX + 1


def test_invented_reasons_share_one_sum(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.messaging.refusals._REASONS_MAX", 2)
    for number in range(3 * FULL_MAX):
        recorded.refuse(f"code-{number}")
    assert len(recorded.events()) == FULL_MAX + 2


@pytest.mark.attack("new keys, one a moment, that are not on the list", promise="denials are recorded as a sum every ten minutes")
def test_denied_keys_are_summed_up_and_what_is_left_is_recorded_at_the_end(recorded: Recorded) -> None:
    run_log = RunLog(recorded.recorder, "run-1", recorded.log)
    for number in range(902):
        run_log.denied("10.0.0.9", f"key-{number}", "its public key is not in keys/allowed")
        recorded.now_s += 60 / 902
        recorded.log.flush()
    assert len(recorded.events()) == FULL_MAX
    recorded.now_s += DENIED_SUM_S
    recorded.log.flush()
    assert recorded.events()[-1].body["count"] == 902 - FULL_MAX
    run_log.denied("10.0.0.9", "another", "its public key is not in keys/allowed")
    for _ in range(5):
        run_log.denied("10.0.0.9", "another", "its public key is not in keys/allowed")
    run_log.stopped("asked to stop")
    assert [e.kind for e in recorded.events()[-2:]] == [kinds.CLIENT_DENIED, kinds.RUN_STOPPED]


def test_what_was_noted_once_is_not_counted_again(recorded: Recorded) -> None:
    for _ in range(30):
        recorded.log.note(kinds.MESSAGE_REPEATED, "m-1", {"instrument_id": "afm-1"}, sender="afm-1", once="repeated:afm-1:m-1")
    recorded.log.flush(everything=True)
    assert len(recorded.events()) == 1

"""Filters on a history, and the event list that follows a run."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from agent.cli import history_events
from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.filters import EventFilter, filtered_events, parse_since
from agent.schema import event_kinds as kinds
from tests.support.history.golden_runs import golden_run
from tests.support.samples import NOW

Vaestar = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return golden_run(tmp_path)


def found(run: Path, event_filter: EventFilter, **options: int) -> list[int]:
    with History(run, read_only=True) as history:
        return [e.seq for e in filtered_events(history, event_filter, **options)]


def test_each_instrument_and_each_sample_has_a_stream_of_its_own(run: Path) -> None:
    assert (
        found(run, EventFilter(instrument="afm-2"))
        == [24, 25, 26, 27, 28, 29]
        == [*found(run, EventFilter(sample="pzt")), 24][-1:] + found(run, EventFilter(sample="pzt"))
    )
    afm_1 = found(run, EventFilter(instrument="afm-1"))
    assert set(afm_1).isdisjoint(found(run, EventFilter(instrument="afm-2")))
    of_samples = [found(run, EventFilter(sample=sample)) for sample in ("bto", "mica", "pzt")]
    assert sum(map(len, of_samples)) == len(set().union(*of_samples))
    assert found(run, EventFilter(sample="nothing")) == []


def test_what_became_of_a_scan_is_its_scan_its_decision_and_its_results(run: Path) -> None:
    with History(run, read_only=True) as history:
        event_kinds = [e.kind for e in filtered_events(history, EventFilter(scan="scan-2"))]
    sent = [kinds.RECOMMENDATION_SENT, kinds.RECOMMENDATION_ACKNOWLEDGED]
    assert event_kinds == [kinds.SCAN_RECEIVED, kinds.CANDIDATES_SCORED, kinds.DECISION_MADE, *sent, *[kinds.RESULT_RECEIVED] * 5]


def test_the_newest_matching_events_are_given_in_order(run: Path) -> None:
    everything = found(run, EventFilter())
    assert found(run, EventFilter(), last=3) == everything[-3:]
    assert found(run, EventFilter(sample="bto"), last=2) == found(run, EventFilter(sample="bto"))[-2:]
    assert found(run, EventFilter(kind=kinds.SCAN_RECEIVED), last=1) == found(run, EventFilter(kind=kinds.SCAN_RECEIVED))[-1:]
    assert found(run, EventFilter(), after=50) == everything[50:]


def test_events_since_a_time(run: Path) -> None:
    with History(run, read_only=True) as history:
        times = [e.recorded_at for e in history.events()]
    assert found(run, EventFilter(since=times[30])) == [i + 1 for i, time in enumerate(times) if time >= times[30]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02", NOW.replace(hour=0, minute=0, second=0)),
        ("2026-01-02T03:04:05", NOW),
        ("2026-01-02T04:04:05+01:00", NOW),
        ("2h", NOW - timedelta(hours=2)),
        ("90min", NOW - timedelta(minutes=90)),
        ("3d", NOW - timedelta(days=3)),
        (None, None),
    ],
)
def test_times_as_people_write_them(text: str | None, time: datetime | None) -> None:
    assert parse_since(text, lambda: NOW) == time


@pytest.mark.parametrize("text", ["yesterday", "", "2h ago", "-3d", "9999999d"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(HistoryError, match=r"is not a time; give one such as"):
        parse_since(text, lambda: datetime.now(UTC))


def test_the_list_is_of_an_instrument_of_a_sample_of_the_newest(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "list", "--run", run, "--instrument", "afm-2", "--last", 2)
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["28", "29"]
    done = vaestar("history", "list", "--run", run, "--sample", "mica", "--kind", "decision_made")
    assert len(done.stdout.splitlines()) == 3
    assert vaestar("history", "list", "--run", run, "--since", "2000-01-01").exit_code == 0
    nothing = vaestar("history", "list", "--run", run, "--instrument", "afm-9")
    assert (nothing.exit_code, nothing.stderr) == (2, f"vaestar: no event of instrument 'afm-9' in {run}\n")
    assert "is not a time" in vaestar("history", "list", "--run", run, "--since", "soon").stderr


def test_the_list_follows_a_run_until_it_is_interrupted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = 0
    with History(run) as history:

        def wait() -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                raise KeyboardInterrupt
            history.record("noted", f"round-{rounds}", {"instrument_id": "afm-2"}, at=NOW)

        with pytest.raises(KeyboardInterrupt):
            history_events.follow(run, EventFilter(instrument="afm-2"), last=1, wait=wait)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["29", "57", "58"]

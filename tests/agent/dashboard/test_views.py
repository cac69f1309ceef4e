"""The dashboard's views of a run, computed from its history alone."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config.safety import ApprovalSettings, SafetySettings
from agent.dashboard.candidate_board import board, front
from agent.dashboard.decision_view import decision_view
from agent.dashboard.live_state import SearchProgress
from agent.dashboard.model_view import BY_DECODER, BY_FIT, PatchReconstructor, reconstruction_method
from agent.dashboard.models import EditProblem, Edits, ProgressView
from agent.dashboard.run_follower import FollowedDecision
from agent.dashboard.views import LruCache, Views
from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher
from agent.messaging.partial_frames import PartialFrame
from agent.representation.vae.initialisation import initial_weights
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import Decision
from tests.support.history.decision_records import make_decision, make_guarded_out, make_scan, make_unresolved
from tests.support.samples import NOW, Clock, hello, result, scan_message


class NoLiveState:
    """Live state of an agent that measures one request and reports nothing else."""

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        return {}

    def partial(self, instrument_id: str) -> PartialFrame | None:
        return None

    def activity(self, instrument_id: str) -> str:
        return ""

    def measuring(self, instrument_id: str) -> str | None:
        return "d-1-001"

    def problems(self, decision_id: str, edits: Edits) -> list[EditProblem]:
        return []


class Run:
    """A run in review mode, written as the service writes it, and its views."""

    def __init__(self, directory: Path, history: History) -> None:
        self.dispatch = Dispatcher(history, "run-1", Clock(), SafetySettings(), ApprovalSettings(mode="review"))
        self.dispatch.run_log.started({"reward": "icl_gain"}, {"python": "3"})
        self.views = Views(directory, NoLiveState())

    def decide(self, decision: Decision | None = None) -> None:
        self.dispatch.on_packet("afm-1", hello())
        self.dispatch.on_packet("afm-1", scan_message(make_scan()))
        entry = self.dispatch.ledger.latest("afm-1")
        assert entry is not None
        self.dispatch.decision_log.decided(entry, decision or make_decision(), 2.0)
        self.dispatch.approvals.advance("afm-1")

    def states(self) -> list[str]:
        return [place.state for place in self.views.places("d-1").places]


@pytest.fixture
def run(tmp_path: Path):
    with History(tmp_path / "run") as history:
        yield Run(tmp_path / "run", history)


def followed(decision: Decision) -> FollowedDecision:
    event = Event(7, NOW, "decision_made", decision.record.decision_id, {"seconds": 3.0})
    entry = ScanEntry("scan-1", "afm-1", "sample", "", event, decision=decision.record)
    return FollowedDecision(event, decision.record, entry)


def test_an_empty_run_has_no_instrument(run: Run) -> None:
    view = run.views.run()
    assert view.instruments == []
    assert (view.run_id, view.reward, view.seq) == ("run-1", "icl_gain", 1)


def test_places_wait_then_are_sent_and_measured(run: Run) -> None:
    run.decide()
    assert run.views.places("d-1").open
    assert set(run.states()) == {"waiting"}
    run.dispatch.approvals.approve("d-1", "Eva", "fine", ["d-1-002"], {"d-1-003": (1e-7, 1e-7)})
    assert run.views.places("d-1").approval == "approved by Eva: fine"
    run.dispatch.recommendation(run.dispatch.due("afm-1"))
    run.dispatch.on_packet("afm-1", result("d-1-000"))
    run.dispatch.on_packet("afm-1", result("d-1-003-m", message_id="m-3"))
    places = run.views.places("d-1").places
    assert [p.state for p in places] == ["ok", "measuring", "dropped", "ok", "sent", "sent"]
    assert (places[3].x_m, places[3].request_id) == (1e-7, "d-1-003")
    assert [loop.number for loop in run.views.loops("d-1").loops] == [1, 4]
    (scan,) = run.views.run().instruments[0].scans
    assert (scan.measured, scan.outcome_text) == (2, "types found")


def test_a_rejected_decision_is_closed(run: Run) -> None:
    run.decide()
    run.dispatch.approvals.reject("d-1", "Eva", "a scratch")
    view = run.views.places("d-1")
    assert (view.state, view.open, view.approval) == ("rejected", False, "rejected by Eva: a scratch")
    assert set(run.states()) == {"not measured"}


def test_the_timeline_says_who_did_what_and_the_newest_comes_first(run: Run) -> None:
    run.decide()
    run.dispatch.commands.give("stop", "Eva", "smoke")
    newest, *_, oldest = run.views.timeline("afm-1", 100)
    assert (newest.title, newest.text, newest.tone) == ("Emergency stop by Eva", "smoke", "person")
    assert oldest.title == "Agent started"
    assert [e.title for e in run.views.timeline(None, 1)] == [newest.title]
    assert run.views.run().instruments[0].state == "stopped"


def test_a_view_is_the_same_from_many_threads(run: Run) -> None:
    run.decide()
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append(run.views.decision("d-1"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert len(seen) == 6


@pytest.mark.parametrize(
    "ask", [lambda v: v.decision("d-9"), lambda v: v.scan("afm-1", "scan-9"), lambda v: v.channel("x", "y", 0)]
)
def test_an_unknown_id_is_an_error(run: Run, ask) -> None:
    with pytest.raises(HistoryError, match="this run has no"):
        ask(run.views)


def test_a_channel_comes_as_raw_numbers_with_the_scale_of_the_models(run: Run) -> None:
    run.decide()
    scan = make_scan()
    values = np.frombuffer(run.views.channel("afm-1", "scan-1", 0), "<f4").reshape(48, 48)
    np.testing.assert_array_equal(values, scan.channels["AmplitudeRetrace"])
    (channel,) = run.views.scan("afm-1", "scan-1").channels
    assert (channel.shown_unit, channel.factor) == ("pm", pytest.approx(1e12))
    assert channel.low < 3e-10 < channel.high
    with pytest.raises(HistoryError, match="channels 0 to 0, not 3"):
        run.views.channel("afm-1", "scan-1", 3)


@pytest.mark.slow
def test_a_decision_has_ellipses_of_two_sigma_and_all_points() -> None:
    decision = make_decision()
    view = decision_view(followed(decision), decision)
    assert len(view.points.u) == len(view.points.core) == decision.record.keypoints_used
    assert sorted(view.clusters[0].spread) == pytest.approx([0.4, 0.8])
    assert view.believes[0] == "3 types of microstructure."
    assert view.wants[0].startswith("6 points in 3 types")
    assert view.axes == ("z₁", "z₂")
    json.loads(view.model_dump_json())


@pytest.mark.parametrize("latent_dim", [1, 5])
def test_one_latent_or_more_than_two_are_shown_in_a_plane(latent_dim: int) -> None:
    decision = make_decision(latent_dim=latent_dim)
    view = decision_view(followed(decision), decision)
    assert np.ptp(view.points.v) > 0
    assert len(view.axes) == 2


@pytest.mark.parametrize("decision", [make_unresolved(), make_guarded_out()])
def test_a_decision_not_to_measure_says_why(decision: Decision) -> None:
    view = decision_view(followed(decision), decision)
    assert view.clusters == []
    assert view.wants == ["Nothing on this scan; the next one may show more."]
    assert view.believes[0] == "No types can be distinguished on this scan."
    assert view.reconstruction == ""


def test_the_board_gives_the_reason_why_a_configuration_was_left_out() -> None:
    record = make_decision().record
    lines = {line.name: line for line in board(record)}
    assert lines["v-w9"].chosen
    assert lines["v-w9"].in_tie_set
    assert lines["r-w9"].left_out == "collapsed"
    assert lines["r-w5"].left_out == "1 seed rejected: stuck"
    shown = front(record)
    assert shown is not None
    assert shown.x == [pytest.approx(v) for v in shown.x]
    assert set(shown.front) <= set(range(len(shown.names)))


def test_reconstructions_come_from_recorded_weights_or_from_a_fit() -> None:
    scan, decision = make_scan(), make_decision()
    assert reconstruction_method(decision) == BY_FIT
    fitted = PatchReconstructor.of(scan, decision).reconstructions(0)
    assert fitted.shape == (72, 9, 9)
    kept = replace(decision, arrays={**decision.arrays, "weights:v-w9-s0": initial_weights(ModelSpec(9, "v"), 0)})
    assert reconstruction_method(kept) == BY_DECODER
    assert PatchReconstructor.of(scan, kept).reconstructions(64).shape == (8, 9, 9)


def test_the_cache_keeps_the_values_used_last() -> None:
    cache: LruCache[int] = LruCache(2)
    made = [cache.get(key, lambda key=key: key) for key in (1, 2, 3)]
    assert made == [1, 2, 3]
    assert cache.get(1, lambda: 10) == 10
    assert cache.get(3, lambda: 30) == 3


def test_progress_gives_the_remaining_time_of_a_search() -> None:
    now = [0.0]
    live = SearchProgress(deadline_s=60.0, now=lambda: now[0])
    live.update("scan", {"instrument_id": "afm-1", "scan_id": "s1"})
    live.update("progress", {"scan_id": "s1", "stage": "training", "done": 1, "total": 4})
    now[0] = 20.0
    shown = live.searches({"s1": "afm-1"})["afm-1"]
    assert (shown.most_left_s, shown.about_left_s) == (40.0, None)
    live.update("provisional", {"scan_id": "s1", "rungs": ["plain"], "places": 5})
    assert live.searches({"s1": "afm-1"})["afm-1"].places == 5
    live.update("decision", {"scan_id": "s1"})
    assert live.searches({}) == {}
    live.update("progress", {"scan_id": "s2", "stage": "training", "done": 0, "total": 4})
    now[0] = 25.0
    assert live.searches({"s2": "afm-1"})["afm-1"].most_left_s == 55.0

import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import SearchCancelledError, UnusableScanError
from agent.representation.tasks import FittedRepresentation, RepresentTask
from agent.representation.vae.spec import ModelSpec
from agent.search.candidates import Configuration
from agent.search.search import reasons_to_drop
from agent.search.task_cache import TaskCache
from agent.workers.factory import workers_for
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from tests.support.data.clouds import blobs, representation
from tests.support.data.drawn import FIGURES, draw_all
from tests.support.data.images import two_textures

QUICK = Config.model_validate(
    {
        "keypoints": "canny_walls",
        "search": {
            "windows_px": [5, 7],
            "families": ["vae", "polar"],
            "invariances": ["v", "rt"],
            "seeds": 2,
            "workers": 0,
            "drop_elbo_per_px": 1,
        },
        "train": {"steps": 80},
        "guards": {"collapse_below": 0, "elbo_gap_per_px": 1},
        "filter": {"relative_density": 0.05},
        "rule": {"least_information": 0, "groups": False},
        "reward_options": {"restarts": 2, "components": [1, 2, 3, 4]},
    }
)


def scan_of(image: np.ndarray, angle_rad: float = 0.0) -> Scan:
    rows, cols = image.shape
    frame = Frame(
        size_fast_m=2e-6, size_slow_m=2e-6, x_offset_m=5e-6, y_offset_m=-3e-6, angle_rad=angle_rad, rows=rows, cols=cols
    )
    return Scan({"Amplitude1Retrace": image, "HeightRetrace": np.zeros_like(image)}, {"Amplitude1Retrace": ""}, frame, "scan-1")


@pytest.mark.slow
def test_the_phase_and_the_plain_families_of_a_vector_scan_lead_to_a_decision_that_figures_can_show() -> None:
    scan = scan_of(two_textures(96))
    phase = np.where(two_textures(96, seed=1) > 0.5, 100.0, -80.0).astype(np.float32)
    scan = Scan({**scan.channels, "Phase1Retrace": phase}, scan.units, scan.frame, scan.scan_id)
    families = {"families": ("polar", "pca", "multi"), "plain_latent_dim": 4}
    updates = {
        "scan": QUICK.scan.model_copy(update={"channels": ("vector",)}),
        "search": QUICK.search.model_copy(update=families),
    }
    with workers_for(0) as workers:
        vector = Agent(QUICK.model_copy(update=updates), workers).decide(DecisionInputs(scan))
        amplitude = {**updates, "scan": QUICK.scan.model_copy(update={"channels": ("amplitude",)})}
        alone = Agent(QUICK.model_copy(update=amplitude), workers).decide(DecisionInputs(scan))
    assert vector.record.chosen is not None
    kinds = {(c.invariance, c.window_px) for c in vector.record.candidates}
    assert kinds == {("polar", 5), ("polar", 7), ("pca", 5), ("pca", 7), ("multi", 7)}
    assert {c.elbo_per_px for c in vector.record.candidates} == {None}
    assert not any(c.guarded_out for c in vector.record.candidates)
    assert "2 resamples" in vector.record.explanation
    assert not np.array_equal(vector.arrays["latents"], alone.arrays["latents"])
    assert vector.record.decision_id != alone.record.decision_id
    assert set(draw_all(scan, vector)) == set(FIGURES)


@pytest.mark.slow
def test_latents_of_each_candidate_have_their_own_number() -> None:
    with workers_for(0) as workers:
        decision = Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96))))
    for i, c in enumerate(decision.record.candidates):
        assert decision.latents_of(i).shape[1] == c.latent_dim == (2 if c.invariance in ("v", "rt") else 6)
        assert np.ptp(decision.latents_of(i), axis=0).min() > 0
    assert set(draw_all(scan_of(two_textures(96)), decision)) == set(FIGURES)


@pytest.mark.slow
def test_how_far_the_seeds_of_a_configuration_agree_stands_in_the_record() -> None:
    with workers_for(0) as workers:
        record = Agent(QUICK.with_search(families=("polar",)), workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    agreements = {(c.window_px, c.metrics["stability_seeds"]) for c in record.candidates if c.value is not None}
    assert len(agreements) == len({window for window, _ in agreements}) == 2  # one number for all seeds of a configuration
    assert all(0 < agreement <= 1 for _, agreement in agreements)


@pytest.mark.slow
def test_every_recommended_pixel_lies_where_the_frame_says_also_when_it_is_rotated() -> None:
    with workers_for(0) as workers:
        record = Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96), angle_rad=0.6))).record
    assert record.requests
    rc = np.array([[r.row, r.col] for r in record.requests], dtype=float)
    xy = np.array([[r.x_m, r.y_m] for r in record.requests])
    assert record.frame.to_metres(rc) == pytest.approx(xy)
    assert np.hypot(*(xy - np.array([5e-6, -3e-6])).T).max() < 2e-6 / math.sqrt(2)


@pytest.mark.slow
def test_on_walls_a_request_is_where_the_wall_is_within_a_pixel() -> None:
    with workers_for(0) as workers:
        settings = QUICK.model_copy(update={"keypoints": ("walls",)}).with_search(families=("polar", "coherent"))
        record = Agent(settings, workers).decide(DecisionInputs(scan_of(two_textures(96), angle_rad=0.6))).record
    assert {c.invariance for c in record.configurations} == {"polar", "coherent"}
    assert all(c.along_walls is not None for c in record.configurations)
    rc = np.array([[r.row, r.col] for r in record.requests], dtype=float)
    shown = record.frame.to_pixels(np.array([[r.x_m, r.y_m] for r in record.requests]))
    assert 0 < np.abs(shown - rc).max() <= 1


@pytest.mark.slow
def test_places_measured_before_are_kept_away_from() -> None:
    scan = scan_of(two_textures(96))
    with workers_for(0) as workers:
        agent = Agent(QUICK, workers)
        first = agent.decide(DecisionInputs(scan)).record
        measured = np.array([[r.x_m, r.y_m] for r in first.requests])
        second = agent.decide(DecisionInputs(scan, measured_xy=measured)).record
    again = np.array([[r.x_m, r.y_m] for r in second.requests])
    apart = np.linalg.norm(again[:, None] - measured, axis=2)
    assert apart.min() >= QUICK.recommend.spacing_m
    assert second.points_measured_before == len(measured)


def test_a_search_that_is_cancelled_says_so() -> None:
    with workers_for(0) as workers, pytest.raises(SearchCancelledError):
        Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96))), SearchControl(cancelled=lambda: True))


@pytest.mark.slow
def test_a_running_search_in_processes_is_cancelled_promptly() -> None:
    config = QUICK.model_copy(update={"train": QUICK.train.model_copy(update={"steps": 1_000_000})})
    stages = []
    with workers_for(1) as workers, pytest.raises(SearchCancelledError):
        Agent(config, workers).decide(
            DecisionInputs(scan_of(two_textures(96))),
            SearchControl(
                progress=lambda *stage: stages.append(stage), cancelled=lambda: bool(stages) and stages[-1][0] == "training"
            ),
        )


def test_a_constant_image_is_refused() -> None:
    with workers_for(0) as workers, pytest.raises(UnusableScanError, match="constant"):
        Agent(QUICK, workers).decide(DecisionInputs(scan_of(np.ones((96, 96), np.float32))))


def changed(section: str, **values: object) -> Config:
    return QUICK.model_copy(update={section: getattr(QUICK, section).model_copy(update=values)})


class Times:
    """Says that time is up after the stage of a name has begun."""

    def __init__(self, stage: str) -> None:
        self.stage, self.up = stage, False

    def progress(self, stage: str, done: int, total: int) -> None:
        self.up = self.up or stage == self.stage

    def out(self) -> bool:
        return self.up


@pytest.mark.slow
def test_rungs_before_the_last_lead_to_decisions_that_can_be_used() -> None:
    rungs = []
    with workers_for(0) as workers:
        final = Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96))), SearchControl(on_rung=rungs.append))
        alone = Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96))))
    assert [d.record.rungs for d in rungs] == [["plain"], ["plain", "20 steps"], ["plain", "20 steps", "100 steps"]]
    assert all(d.record.requests for d in rungs)
    assert {c.invariance for c in rungs[0].record.candidates} == {"polar"}
    assert rungs[-1].record == final.record
    assert final.record == alone.record
    assert {c.steps for c in final.record.candidates if c.invariance != "polar"} == {100}
    assert final.record.ended_early is False


@pytest.mark.slow
def test_at_the_deadline_the_last_complete_rung_is_decided_on() -> None:
    scan = scan_of(two_textures(96))
    rungs, times = [], Times("finalists")
    with workers_for(0) as workers:
        early = Agent(QUICK, workers).decide(
            DecisionInputs(scan), SearchControl(progress=times.progress, out_of_time=times.out, on_rung=rungs.append)
        )
        late = Agent(QUICK, workers).decide(DecisionInputs(scan))
    assert early.record.ended_early
    assert early.record.rungs == ["plain", "20 steps"]
    assert early.record.requests
    assert "The deadline ended the search" in early.record.explanation
    assert early.record.candidates == rungs[-1].record.candidates
    assert early.record.decision_id != late.record.decision_id


def test_a_deadline_before_the_first_rung_is_answered_with_nothing_to_recommend() -> None:
    with workers_for(0) as workers:
        record = (
            Agent(QUICK, workers)
            .decide(DecisionInputs(scan_of(two_textures(96))), SearchControl(out_of_time=lambda: True))
            .record
        )
    assert record.outcome == "not_resolvable"
    assert record.requests == []
    assert record.explanation.startswith("Nothing to recommend: the deadline passed before any candidate was finished")


@pytest.mark.slow
def test_a_deadline_ends_training_in_processes_long_before_its_end() -> None:
    config = changed("train", steps=1_000_000)
    began: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "training" and not began:
            began.append(time.monotonic())

    def out_of_time() -> bool:
        return bool(began) and time.monotonic() > began[0] + 1.0

    with workers_for(1) as workers:
        record = (
            Agent(config, workers)
            .decide(DecisionInputs(scan_of(two_textures(96))), SearchControl(progress=progress, out_of_time=out_of_time))
            .record
        )
        assert time.monotonic() - began[0] < 60  # all steps would take an hour
        again = Agent(changed("search", families=("polar",)), workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    assert record.rungs == ["plain"]
    assert record.requests
    assert again.requests


def fitted(elbo: float) -> FittedRepresentation:
    return FittedRepresentation(representation(blobs(2, n_each=5), elbo_per_px=elbo), np.zeros(1, np.float32))


def test_at_a_rung_models_are_dropped_by_their_held_out_elbo_where_it_can_be_compared() -> None:
    v7, r7, v9 = (Configuration(ModelSpec(w, i), "canny_walls", "amplitude") for w, i in ((7, "v"), (7, "r"), (9, "v")))
    other = replace(v7, channels="vector")
    elbos = {(v7, 0): -0.60, (v7, 1): -0.61, (r7, 0): -0.50, (r7, 1): -0.58, (r7, 2): math.nan, (v9, 0): -0.9, (other, 0): -0.9}
    reasons = reasons_to_drop({model: fitted(elbo) for model, elbo in elbos.items()}, limit=0.05)
    assert reasons == {
        (v7, 0): "dropped: held-out ELBO 0.1000 nats per pixel below that of r-w7",
        (v7, 1): "dropped: held-out ELBO 0.1000 nats per pixel below that of r-w7",
        (r7, 1): "dropped: held-out ELBO 0.0800 nats per pixel below that of the best seed",
        (r7, 2): "diverged: the training loss is not finite",
    }


@pytest.mark.slow
def test_what_is_dropped_at_a_rung_stays_in_the_record_with_its_reason() -> None:
    with workers_for(0) as workers:
        record = Agent(changed("search", drop_elbo_per_px=1e-6), workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    vaes = [c for c in record.candidates if c.invariance != "polar"]
    dropped = [c for c in vaes if c.guarded_out and c.guarded_out.startswith("dropped")]
    assert len(vaes) == 8
    assert len(dropped) >= 4
    assert {c.steps for c in dropped} == {20}
    assert {c.steps for c in vaes if c not in dropped} == {100}
    assert all(c.value is None for c in dropped)


class Counting(TaskCache):
    """Counts what is trained."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.kept = 0

    def put(self, image: str, task: RepresentTask, fitted: Sequence[FittedRepresentation]) -> None:
        self.kept += 1
        super().put(image, task, fitted)


@pytest.mark.slow
def test_finished_work_is_not_done_again_after_a_kill_and_the_decision_is_the_same(tmp_path: Path) -> None:
    scan, times = scan_of(two_textures(96)), Times("finalists")

    def killed() -> bool:
        return times.up

    with workers_for(0) as workers:
        agent = Agent(QUICK, workers)
        first = Counting(tmp_path / "work")
        with pytest.raises(SearchCancelledError):
            agent.decide(DecisionInputs(scan), SearchControl(progress=times.progress, cancelled=killed), cache=first)
        second = Counting(tmp_path / "work")
        resumed = agent.decide(DecisionInputs(scan), cache=second)
        plain = agent.decide(DecisionInputs(scan))
    assert first.kept == 4  # the rung of 20 steps, and not one of the finalists
    assert second.kept == 4
    assert resumed.record == plain.record
    assert all(np.array_equal(resumed.arrays[name], plain.arrays[name]) for name in plain.arrays)


@pytest.mark.slow
def test_all_axes_of_the_search_are_candidates_side_by_side() -> None:
    axes = {"windows_px": (5,), "invariances": ("r",), "latent_dims": (2, 3), "betas": (0.5, 1.0), "seeds": 1}
    updates = {
        "search": QUICK.search.model_copy(update=axes),
        "scan": QUICK.scan.model_copy(update={"channels": ("amplitude", "height")}),
        "keypoints": ("canny_walls", "grid"),
    }
    image = two_textures(96)
    scan = scan_of(image)
    scan = Scan({**scan.channels, "HeightRetrace": image[::-1].copy()}, scan.units, scan.frame, "scan-1")
    with workers_for(0) as workers:
        decision = Agent(QUICK.model_copy(update=updates), workers).decide(DecisionInputs(scan))
    record = decision.record
    ids = [c.candidate_id for c in record.candidates]
    assert len(set(ids)) == len(ids) == 16 + 4
    assert "r-w5-d3-b0.5-height-grid-s0" in ids
    assert {(c.keypoints, c.channels) for c in record.candidates} == {
        (k, c) for k in ("canny_walls", "grid") for c in ("amplitude", "height")
    }
    chosen = next(c for c in record.candidates if c.candidate_id == record.chosen)
    assert chosen.points == len(decision.arrays["points_rc"]) == record.keypoints_used
    assert len({c.points for c in record.candidates}) == 2
    assert set(draw_all(scan, decision)) == set(FIGURES)


@pytest.mark.slow
def test_a_large_scan_is_judged_on_a_subset_and_all_its_key_points_are_sorted() -> None:
    config = changed("search", most_points=300, windows_px=(5,), invariances=("r",))
    config = config.model_copy(update={"keypoints": ("grid",), "keypoints_options": {"step_px": 3}})
    config = config.model_copy(update={"scan": config.scan.model_copy(update={"spacing_px": 2.0})})
    with workers_for(0) as workers:
        decision = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96))))
    record = decision.record
    assert {c.points for c in record.candidates} == {300}
    assert record.common_points <= 300
    n = len(decision.arrays["points_rc"])
    assert n == record.keypoints_used > 900
    assert sum(c.points for c in record.clusters) == n
    assert len(decision.arrays["labels"]) == len(decision.arrays["z"]) == n
    assert set(draw_all(scan_of(two_textures(96)), decision)) == set(FIGURES)


@pytest.mark.slow
def test_the_consensus_of_the_vaes_is_a_candidate_too() -> None:
    config = changed("search", families=("vae", "consensus"), invariances=("v", "r"))
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    agreed = [c for c in record.candidates if c.invariance == "consensus"]
    assert [c.window_px for c in agreed] == [7, 7]
    assert all(c.value is not None for c in agreed)


@pytest.mark.slow
def test_finalists_are_verified_with_the_exact_decoder() -> None:
    config = changed("search", families=("vae",), windows_px=(5,), invariances=("r",), verify=1)
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    (verified,) = record.verified
    assert verified.configuration == "r-w5"
    assert verified.steps == 100
    assert verified.exact_elbo_per_px == pytest.approx(verified.elbo_per_px, abs=0.1)
    assert verified.agreement is not None
    assert "With the exact decoder, the held-out ELBO of r-w5 changes by" in record.explanation


@pytest.mark.slow
def test_the_process_that_hands_out_the_work_never_loads_pytorch() -> None:
    code = "import sys, agent.decision.agent, agent.service.service, agent.cli.analyze; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_scan_that_went_wrong_leads_to_no_place_and_the_record_says_why() -> None:
    saturated = scan_of(np.minimum(two_textures(96), 0.9).astype(np.float32))
    with workers_for(0) as workers:
        record = Agent(QUICK, workers).decide(DecisionInputs(saturated)).record
        warned = changed("quality", actions={"saturated": "warn"}).with_search(families=("polar",))
        anyway = Agent(warned, workers).decide(DecisionInputs(saturated)).record
    assert (record.outcome, record.requests, record.candidates) == ("bad_scan", [], [])
    assert [(p.name, p.action) for p in record.quality.problems] == [("saturated", "rescan")]
    assert record.explanation.endswith("Record a new scan.")
    assert anyway.outcome != "bad_scan"
    assert "Warning: " in anyway.explanation


def test_the_same_scan_under_another_name_is_not_decided_on_a_second_time() -> None:
    scan = scan_of(two_textures(96))
    with workers_for(0) as workers:
        agent = Agent(QUICK.with_search(families=("polar",)), workers)
        first = agent.decide(DecisionInputs(scan))
        again = agent.decide(DecisionInputs(replace(scan, scan_id="scan-2"), previous=first))
    assert again.record.outcome == "bad_scan"
    assert [p.name for p in again.record.quality.problems] == ["repeated"]


def test_no_patch_holds_a_line_on_which_the_resonance_was_lost() -> None:
    scan = scan_of(two_textures(112))
    frequency = np.random.default_rng(0).normal(3.7e5, 1e3, (112, 112)).astype(np.float32)
    frequency[40:50] = 3.7e5
    scan = replace(scan, channels={**scan.channels, "FrequencyRetrace": frequency})
    with workers_for(0) as workers:
        decision = Agent(QUICK.with_search(families=("polar",)), workers).decide(DecisionInputs(scan))
    rows = decision.arrays["points_rc"][:, 0]
    half = max(QUICK.search.windows_px) // 2
    assert len(rows) > 50
    assert not ((rows >= 40 - half) & (rows < 50 + half)).any()
    assert "lock_lost" in [p.name for p in decision.record.quality.problems]
    assert "these lines were masked" in decision.record.explanation

import math

import numpy as np
import pytest

from agent.config import Config, ConfigError
from agent.core import Agent
from agent.executor import workers_for
from agent.figures import FIGURES, draw_all
from agent.search import Candidate, _choose, compare
from agent.workflow.errors import PluginError, SearchCancelledError, UnusableScanError
from agent.workflow.families import PlainSpec
from agent.workflow.kinds import GEOMETRIC_LATENTS
from agent.workflow.vae import ModelSpec
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from rewards.base import Mixture, Score
from tests.agent.workflow.images import two_textures
from tests.rewards.clouds import blobs, representation

QUICK = Config.model_validate(
    {
        "search": {"windows_px": [5, 7], "invariances": ["v", "rt"], "seeds": 2, "workers": 0},
        "train": {"steps": 80},
        "guards": {"collapse_below": 0, "elbo_gap_per_px": 1},
        "filter": {"relative_density": 0.05},
        "reward_options": {"restarts": 2, "components": [1, 2, 3, 4]},
    }
)


def scan_of(image: np.ndarray, angle_rad: float = 0.0) -> Scan:
    rows, cols = image.shape
    frame = Frame(
        size_fast_m=2e-6, size_slow_m=2e-6, x_offset_m=5e-6, y_offset_m=-3e-6, angle_rad=angle_rad, rows=rows, cols=cols
    )
    return Scan({"Amplitude1Retrace": image, "HeightRetrace": np.zeros_like(image)}, {"Amplitude1Retrace": "m"}, frame, "scan-1")


def candidate(window: int, invariance: str, seed: int, value: float, types: int, elbo: float = -0.5) -> Candidate:
    z = blobs(2, n_each=20)
    mixture = Mixture(np.full(types, 1 / types), np.zeros((types, 2)), np.tile(np.eye(2), (types, 1, 1)))
    trained = invariance in GEOMETRIC_LATENTS
    elbo = elbo if trained else float("nan")
    r = representation(z, window_px=window, invariance=invariance, seed=seed, elbo_per_px=elbo, trained=trained)
    spec = ModelSpec(window, invariance) if trained else PlainSpec(window, invariance)
    return Candidate(spec, seed, r, np.ones(40, bool), None, Score(value, {}, mixture))


def test_the_same_scan_gives_the_same_decision_here_and_in_two_processes() -> None:
    scan = scan_of(two_textures(96))
    decisions = []
    for count in (0, 2):
        with workers_for(count) as workers:
            decisions.append(Agent(QUICK, workers).on_scan(scan))
    one, two = decisions
    assert one.record.decision_id == two.record.decision_id
    assert one.record.candidates == two.record.candidates
    assert one.record.requests == two.record.requests
    assert one.record == two.record
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)


def test_the_phase_and_the_plain_families_of_a_vector_scan_lead_to_a_decision_that_figures_can_show() -> None:
    scan = scan_of(two_textures(96))
    phase = np.where(two_textures(96, seed=1) > 0.5, 100.0, -80.0).astype(np.float32)
    scan = Scan({**scan.channels, "Phase1Retrace": phase}, scan.units, scan.frame, scan.scan_id)
    families = {"families": ("polar", "pca", "multi"), "plain_latent_dim": 4}
    updates = {"scan": QUICK.scan.model_copy(update={"channels": "vector"}), "search": QUICK.search.model_copy(update=families)}
    with workers_for(0) as workers:
        vector = Agent(QUICK.model_copy(update=updates), workers).on_scan(scan)
        amplitude = {**updates, "scan": QUICK.scan.model_copy(update={"channels": "amplitude"})}
        alone = Agent(QUICK.model_copy(update=amplitude), workers).on_scan(scan)
    assert vector.record.chosen is not None
    kinds = {(c.invariance, c.window_px) for c in vector.record.candidates}
    assert kinds == {("polar", 5), ("polar", 7), ("pca", 5), ("pca", 7), ("multi", 7)}
    assert {c.elbo_per_px for c in vector.record.candidates} == {None}
    assert not any(c.guarded_out for c in vector.record.candidates)
    assert "2 resamples" in vector.record.explanation
    assert not np.array_equal(vector.arrays["latents"], alone.arrays["latents"])
    assert vector.record.decision_id != alone.record.decision_id
    assert set(draw_all(scan, vector)) == set(FIGURES)


def test_latents_of_each_candidate_have_their_own_number() -> None:
    with workers_for(0) as workers:
        decision = Agent(QUICK, workers).on_scan(scan_of(two_textures(96)))
    for i, c in enumerate(decision.record.candidates):
        assert decision.latents_of(i).shape[1] == c.latent_dim == (2 if c.invariance in ("v", "rt") else 6)
        assert np.ptp(decision.latents_of(i), axis=0).min() > 0
    assert set(draw_all(scan_of(two_textures(96)), decision)) == set(FIGURES)


def test_every_recommended_pixel_lies_where_the_frame_says_also_when_it_is_rotated() -> None:
    with workers_for(0) as workers:
        record = Agent(QUICK, workers).on_scan(scan_of(two_textures(96), angle_rad=0.6)).record
    assert record.requests
    rc = np.array([[r.row, r.col] for r in record.requests], dtype=float)
    xy = np.array([[r.x_m, r.y_m] for r in record.requests])
    assert record.frame.to_metres(rc) == pytest.approx(xy)
    assert np.hypot(*(xy - np.array([5e-6, -3e-6])).T).max() < 2e-6 / math.sqrt(2)


def test_places_measured_before_are_kept_away_from() -> None:
    scan = scan_of(two_textures(96))
    with workers_for(0) as workers:
        agent = Agent(QUICK, workers)
        first = agent.on_scan(scan).record
        measured = np.array([[r.x_m, r.y_m] for r in first.requests])
        second = agent.on_scan(scan, measured_xy=measured).record
    again = np.array([[r.x_m, r.y_m] for r in second.requests])
    apart = np.linalg.norm(again[:, None] - measured, axis=2)
    assert apart.min() >= QUICK.recommend.spacing_m
    assert second.points_measured_before == len(measured)


def test_a_search_that_is_cancelled_says_so() -> None:
    with workers_for(0) as workers, pytest.raises(SearchCancelledError):
        Agent(QUICK, workers).on_scan(scan_of(two_textures(96)), cancelled=lambda: True)


def test_a_running_search_in_processes_is_cancelled_promptly() -> None:
    config = QUICK.model_copy(update={"train": QUICK.train.model_copy(update={"steps": 1_000_000})})
    told = []
    with workers_for(1) as workers, pytest.raises(SearchCancelledError):
        Agent(config, workers).on_scan(
            scan_of(two_textures(96)),
            progress=lambda *stage: told.append(stage),
            cancelled=lambda: bool(told) and told[-1][0] == "training",
        )


def test_a_constant_image_is_refused() -> None:
    with workers_for(0) as workers, pytest.raises(UnusableScanError, match="constant"):
        Agent(QUICK, workers).on_scan(scan_of(np.ones((96, 96), np.float32)))


def broken(representation: object, *, rng: object) -> Score:
    raise ZeroDivisionError("nothing to divide")


def test_a_reward_of_the_users_own_that_fails_is_named() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:broken", "reward_options": {}})
    with workers_for(0) as workers, pytest.raises(PluginError, match=r"failed: ZeroDivisionError: nothing to divide"):
        Agent(config, workers).on_scan(scan_of(two_textures(96)))


def test_an_option_that_a_reward_of_ours_does_not_take_is_named() -> None:
    config = QUICK.model_copy(update={"reward": "icl", "reward_options": {"components": [2, 3]}})
    with workers_for(0) as workers, pytest.raises(ConfigError, match=r"reward = 'icl' cannot be used .* must hold 1"):
        Agent(config, workers).on_scan(scan_of(two_textures(96)))


def wordy(representation: object, *, rng: object) -> Score:
    return Score(1.0, {"verdict": "good"})  # type: ignore[dict-item]


def test_metrics_that_are_not_numbers_are_blamed_on_the_users_reward() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:wordy", "reward_options": {}})
    with workers_for(0) as workers, pytest.raises(PluginError, match=r"(?s)failed: .*good"):
        Agent(config, workers).on_scan(scan_of(two_textures(96)))


def no_number(representation: object, *, rng: object) -> Score:
    return Score(float("nan"))


def test_a_reward_that_is_not_a_number_is_left_out_and_nothing_is_recommended() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:no_number", "reward_options": {}})
    with workers_for(0) as workers:
        record = Agent(config, workers).on_scan(scan_of(two_textures(96))).record
    assert record.outcome == "not_resolvable"
    assert record.requests == []
    assert {c.guarded_out for c in record.candidates} == {"the reward is nan, not a finite number"}


def test_configurations_within_noise_tie_and_the_most_parsimonious_is_chosen() -> None:
    spread = (-0.1, 0.0, 0.1)
    candidates = [candidate(9, "rt", s, 1.00 + d, types=6) for s, d in enumerate(spread)]
    candidates += [candidate(7, "r", s, 0.95 + d, types=3) for s, d in enumerate(spread)]
    candidates += [candidate(5, "v", s, 0.10 + d, types=1) for s, d in enumerate(spread)]
    table = compare(candidates)
    assert [(c.window_px, c.in_tie_set) for c in table] == [(9, True), (7, True), (5, False)]
    # σ of a difference of two means of three is 0.1·sqrt(2/3).
    assert table[1].sigmas_below_best == pytest.approx(0.05 / (0.1 * math.sqrt(2 / 3)))
    chosen = _choose(candidates, table)
    assert chosen is not None
    assert (chosen.spec.window_px, chosen.spec.invariance) == (7, "r")


def test_the_noise_of_training_is_not_held_against_a_plain_family() -> None:
    candidates = [candidate(9, "rt", s, 1.00 + d, types=3) for s, d in enumerate((-0.3, 0.0, 0.3))]
    candidates += [candidate(9, "polar", s, 2.00 + d, types=3) for s, d in enumerate((-0.01, 0.0, 0.01))]
    candidates += [candidate(7, "polar", s, 1.95 + d, types=2) for s, d in enumerate((-0.01, 0.0, 0.01))]
    table = {(c.window_px, c.invariance): c for c in compare(candidates)}
    assert table[7, "polar"].sigmas_below_best == pytest.approx(0.05 / (0.01 * math.sqrt(2 / 3)))
    assert not table[7, "polar"].in_tie_set
    assert table[9, "rt"].sigmas_below_best == pytest.approx(1 / math.sqrt((0.3**2 + 0.01**2) / 3))


def test_of_equal_types_a_family_without_training_is_plainer_than_a_vae() -> None:
    candidates = [candidate(5, "v", s, 1.0 + d, types=3) for s, d in enumerate((-0.3, 0.0, 0.3))]
    candidates += [candidate(9, "polar", s, 0.9 + d, types=3) for s, d in enumerate((-0.1, 0.0, 0.1))]
    chosen = _choose(candidates, compare(candidates))
    assert chosen is not None
    assert (chosen.spec.invariance, chosen.seed) == ("polar", 0)


def test_among_seeds_the_held_out_elbo_chooses_and_not_the_reward() -> None:
    candidates = [
        candidate(9, "r", s, value, 3, elbo) for s, (value, elbo) in enumerate(((1.3, -0.56), (1.0, -0.54), (1.2, -0.55)))
    ]
    chosen = _choose(candidates, compare(candidates))
    assert chosen is not None
    assert chosen.seed == 1


def test_with_one_seed_the_noise_is_unknown_and_said_to_be() -> None:
    table = compare([candidate(9, "r", 0, 1.0, 3), candidate(5, "v", 0, 0.9, 2)])
    assert [c.sigmas_below_best for c in table] == [0.0, None]
    assert [c.in_tie_set for c in table] == [True, False]

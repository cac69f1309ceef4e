"""What benchmarks say follows from what was measured: counts, intervals, charges for steps, and resuming."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import engine, scans
from benchmarks.harness.commandline import CannotRunError, Journal, seed_range
from benchmarks.harness.outcome import Outcome, share_interval, table, write
from benchmarks.harness.processes import Meter, descendants
from benchmarks.selection import stability
from benchmarks.selection import study as selection
from benchmarks.speed import against_pyroved as speed_pyroved
from benchmarks.speed import pyroved_peer
from benchmarks.speed.against_pyroved import Cost, Equal


def candidate(invariance: str, seed: int, value: float | None, elbo: float = -0.5) -> dict[str, Any]:
    return {
        "candidate_id": f"{invariance}-w9-s{seed}",
        "window_px": 9,
        "invariance": invariance,
        "latent_dim": 2,
        "seed": seed,
        "elbo_per_px": elbo,
        "value": value,
        "guarded_out": None if value is not None else "collapsed",
    }


def searched(values: dict[str, list[float | None]], types: dict[str, int]) -> dict[str, Any]:
    return {
        "outcome": "types_found",
        "configurations": [{"window_px": 9, "invariance": i, "types": k} for i, k in types.items()],
        "candidates": [candidate(i, seed, v) for i, row in values.items() for seed, v in enumerate(row)],
    }


#: v and r tie, rt stands below; the first seed of rt has the largest reward of the first seeds.
TIED = searched({"v": [0.30, 0.50, 0.40], "r": [0.45, 0.35, 0.45], "rt": [0.46, -0.9, -0.8]}, {"v": 3, "r": 2, "rt": 2})


def equal(**changes: Any) -> Equal:
    values = {
        "pyroved_elbo": -0.5,
        "epochs": 1000,
        "pyroved_measured_s": 100.0,
        "pyroved_multiplied_s": 100.0,
        "pyroved_epochs_to_ours": None,
        "ours_elbo": -0.4,
        "factor": 1.0,
        "ours_factor_s": 1.0,
        "reached": True,
        "share": 1.0,
    }
    return Equal(**(values | changes))


def test_the_tie_set_and_the_choice_follow_the_rule_of_the_search() -> None:
    assert set(engine.tie_set([TIED], vae_only=False)) == {"v-w9", "r-w9"}
    assert engine.choice(TIED, vae_only=False) == "r-w9"  # fewer types


@pytest.mark.slow
def test_a_single_seed_chooses_by_its_reward_alone() -> None:
    assert engine.single_seed_choice(TIED, vae_only=False) == "rt-w9"


def test_vaes_alone_leave_plain_families_out() -> None:
    one = searched({"v": [0.1, 0.2], "polar": [0.8, 0.9]}, {"v": 2, "polar": 3})
    assert engine.choice(one, vae_only=False) == "polar-w9"
    assert engine.choice(one, vae_only=True) == engine.single_seed_choice(one, vae_only=True) == "v-w9"


def test_guarded_candidates_are_never_chosen() -> None:
    one = searched({"v": [None, None]}, {})
    assert engine.choice(one, vae_only=False) is None
    assert engine.single_seed_choice(one, vae_only=False) is None


@pytest.mark.parametrize(
    ("picks", "tied", "hits"), [(["a", "b", "a"], ["a"], 2), ([None], ["a"], 0), ([None], [], 1), (["a"], [], 0)]
)
def test_agreement_counts_choices_within_the_tie_set(picks: list[str | None], tied: list[str], hits: int) -> None:
    assert selection.agreement(picks, tied) == hits


def test_the_report_scales_counts_to_its_keys() -> None:
    without = {"configurations": [], "candidates": [], "seed": 1}
    rejected = [
        without | {"kind": "noise", "outcome": o} for o in ("one_type_only", "not_resolvable", "types_found", "types_found")
    ]
    budget = {"points": 100, "steps": 8000, "epochs": 50, "models": 3, "fast_steps": 800}
    outcome = selection.report([TIED], [TIED, TIED], rejected, budget, "drawn", quick=True)
    assert outcome.figures["in_tie_set_of_10"] == 10
    assert outcome.figures["single_seed_in_tie_set_of_10"] == 0
    assert outcome.figures["structureless_rejected_of_20"] == 10


def test_the_reference_is_at_least_ten_times_as_long() -> None:
    config = engine.default_config()
    assert selection.reference_steps(config, 1000, epochs=0) == 10 * config.train.steps
    assert selection.reference_steps(config, 1000, epochs=1000) == math.ceil(1000 * 900 / config.train.batch_size)


def test_more_steps_are_charged_to_us_and_unreached_quality_to_nobody() -> None:
    cost = {("v", 5): Cost(1.0, -0.5, 100.0), ("r", 5): Cost(1.0, -0.5, 100.0)}
    assert speed_pyroved.ratio(cost, {}) == 100
    dearer = {("v", 5): equal(), ("r", 5): equal(ours_factor_s=3.0)}
    assert speed_pyroved.ratio(cost, dearer) == 50
    unreached = {("v", 5): equal(reached=False, share=0.5), ("r", 5): equal()}
    assert speed_pyroved.ratio(cost, unreached) == 75


def test_windows_between_the_measured_ones_lie_on_a_line_in_the_area() -> None:
    cost = {("r", w): Cost(1.0 + w**2, -0.5, 10.0 * w**2) for w in (5, 17)}
    every = speed_pyroved.over_all_windows(cost, range(3, 21))
    assert len(every) == 18
    assert every["r", 5] is cost["r", 5]
    assert every["r", 10].ours_s == pytest.approx(101)
    assert every["r", 10].pyroved_s == pytest.approx(1000)


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (9, 10), (10, 10), (3, 7)])
def test_the_interval_of_a_share_holds_the_share(hits: int, of: int) -> None:
    low, high = share_interval(hits, of)
    assert 0 <= low <= hits / of <= high <= 1


def test_wilsons_interval_is_the_textbook_one() -> None:
    assert share_interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_a_figure_without_a_number_is_null_and_has_its_reason(tmp_path: Path) -> None:
    outcome = Outcome("speed", "Speed", {"warm_s": None, "full_sweep_s": 2.5}, {}, missing={"warm_s": "not possible"})
    write(outcome, tmp_path, [1])
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["figures"] == {"warm_s": None, "full_sweep_s": 2.5}
    assert record["missing"] == {"warm_s": "not possible"}
    assert {"machine", "versions", "seeds"} <= record.keys()
    assert "warm_s was not measured: not possible" in (tmp_path / "speed.md").read_text()


def test_a_table_has_the_first_rows_columns() -> None:
    assert table([{"a": 1, "b": 0.5}, {"a": "x", "b": None}]).splitlines()[2:] == ["| 1 | 0.5000 |", "| x |  |"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path, {"quick": True}).once("first", lambda: {"value": 1})
    with path.open("a") as file:
        file.write('{"unit": "second", "resu')  # killed while writing
    again = Journal(path, {"quick": True})
    assert again.resumed == ["first"]
    assert again.once("first", lambda: {"value": 2}) == {"value": 1}
    again.once("second", lambda: 3)
    assert Journal(path, {"quick": True}).resumed == ["first", "second"]


def test_a_journal_of_another_question_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "run.jsonl", {"quick": True})
    with pytest.raises(CannotRunError, match="other options"):
        Journal(tmp_path / "run.jsonl", {"quick": False})


def test_seeds_are_a_range() -> None:
    assert seed_range("100-109") == tuple(range(100, 110))
    assert seed_range("7") == (7,)


def test_shuffling_blocks_keeps_the_pixels_and_moves_them() -> None:
    image = np.arange(64.0).reshape(8, 8)
    mixed = scans.shuffle_blocks(image, 2, np.random.default_rng(0))
    assert sorted(mixed.ravel()) == sorted(image.ravel())
    assert not np.array_equal(mixed, image)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")
def test_the_meter_counts_children(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    with Meter() as meter:
        child = subprocess.Popen([sys.executable, "-c", busy])
        assert child.pid in descendants(os.getpid())
        child.wait()
    assert 0.3 <= meter.cpu_s < 5
    assert meter.peak_rss_mb > 10


def test_the_benchmark_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyroved_peer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotRunError, match="make reference"):
        pyroved_peer.require_pyroved()


def test_a_rerun_agrees_where_its_outcome_is_the_usual_one_and_its_choice_ties() -> None:
    reruns = [
        TIED | {"chosen": "r-w9-s1"},
        TIED | {"chosen": "rt-w9-s0"},
        TIED | {"outcome": "one_type_only", "chosen": "r-w9-s0"},
    ]
    row = stability.agreement_of("scan", reruns)
    assert (row["agree"], row["reruns"]) == (1, 3)
    assert row["outcome"] == "types_found x2, one_type_only x1"
    assert row["single seed agrees"] == 0


def test_where_there_are_no_types_the_outcome_alone_must_agree() -> None:
    reruns = [TIED | {"outcome": "one_type_only", "chosen": f"{kind}-w9-s0"} for kind in ("v", "rt")]
    assert stability.agreement_of("scan", reruns)["agree"] == 2
    figures = stability.report({"a": reruns, "b": reruns}, quick=False).figures
    assert (figures["same_choice_of_10"], figures["least_of_10"]) == (10, 10)

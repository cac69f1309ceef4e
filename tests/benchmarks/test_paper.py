"""The paper's analysis: a tiny run writes all figures, rejected models are drawn, and the docs quote the findings."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.commandline import REPOSITORY, Journal, Task
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.scans import as_scan
from benchmarks.paper import findings as paper_findings
from benchmarks.paper import study as paper
from benchmarks.paper.curves import bayesian_figure, losses_figure, rewards_figure, winners_figure
from benchmarks.paper.models import DEFAULT, DENSE, Arrays, refit, scored_rows
from benchmarks.paper.spaces import grid_figure
from benchmarks.paper.typicality import component_sizes, explained
from rewards.base import Mixture

pytestmark = pytest.mark.slow

SEEDS = (4, 5)
TINY = paper.Plan(1, (5, 9), (5,), (), workers=0, steps=40, bayesian_steps=2)
KINDS = ("fig2", "fig3", "fig4", "fig4-default-filter", "fig5", "fig6", "fig7")


class InlineJournal(Journal):
    """Runs all tasks in this process, since starting others would take longer than the tasks."""

    def all_once(self, tasks: Mapping[str, Task], workers: int, *, fresh: bool = False) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for unit, (function, arguments, keywords) in tasks.items():
            done[unit] = self.once(unit, partial(function, *arguments, **keywords))
        return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    out = tmp_path_factory.mktemp("paper")
    down, right = np.mgrid[:160, :160]
    rng = np.random.default_rng(0)
    image = np.where(down > right, np.sin(down / 3), np.sin(right / 5)) + rng.normal(scale=0.1, size=down.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "_DPI", 40)
        patch.setattr(paper, "_FORMATS", ("png",))
        journal = InlineJournal(out / "paper.jsonl", {})
        outcome = paper.measure(TINY, {"drawn": as_scan(image, "drawn")}, SEEDS, journal, out / "paper")
    return outcome, out / "paper"


def row(model: str, value: float | None, **changes: Any) -> dict[str, Any]:
    """A model whose criteria are all `value` at K = 2, and larger by 1 at K = 3."""
    configuration, _, seed = model.rpartition("-s")
    invariance, _, window = configuration.partition("-w")
    known = value is not None
    base = {
        "model": model,
        "configuration": configuration,
        "window_px": int(window),
        "invariance": invariance,
        "seed": int(seed),
        "elbo_per_px": -0.5 if known else None,
        "reconstruction": -0.4 if known else None,
        "total_variance": 2.0 if known else None,
        "variance_product": 1.0 if known else None,
        "left_out": None if known else "diverged: the training loss is not finite",
        "K": [1, 2, 3] if known else [],
        "curve": {name: [value + 2, value, value + 1] for name in ("log_likelihood", "bic", "aic", "entropy")} if known else {},
    }
    return base | changes


#: v-w5 has the smaller mean BIC; the second seed alone would choose r-w9.
MODELS = [
    row("v-w5-s0", 1.0),
    row("v-w5-s1", 1.1),
    row("r-w9-s0", 3.0),
    row("r-w9-s1", 0.9),
    row("rt-w9-s0", -9.0, left_out="collapsed: latent variance 0.010 in the narrowest direction, below 0.25"),
    row("rt-w9-s1", None),
]


def test_a_tiny_run_draws_every_figure_and_counts_them(ran: tuple[Outcome, Path]) -> None:
    outcome, folder = ran
    drawn = outcome.details["figures"]
    assert drawn == [*(f"{kind}_drawn.png" for kind in KINDS), "winners.png"]
    assert outcome.figures["figures_written"] == len(drawn)
    for name in drawn:
        assert (folder / name).stat().st_size > 2000


def test_a_tiny_run_says_what_it_found_in_plain_values(ran: tuple[Outcome, Path]) -> None:
    outcome, _ = ran
    details = json.loads(json.dumps(outcome.details, allow_nan=False))
    assert len(details["scans"]["drawn"]["models"]) == 12
    assert {"clusters", "collapse", "loss", "filter", "windows", "thirteen", "noise", "core"} <= set(details["findings"])


@pytest.mark.parametrize("reading", [DEFAULT, DENSE])
def test_a_refitted_mixture_is_the_one_that_was_scored(ran: tuple[Outcome, Path], reading: Any) -> None:
    outcome, folder = ran
    arrays = Arrays.load(folder / "drawn.npz")
    for model in outcome.details["scans"]["drawn"]["models"][:3]:
        name, (likelihood, components) = model["model"], model[reading]["log_likelihood"]
        mixture = refit(name, arrays, SEEDS[0], reading, components)
        z = arrays.z[name][scored_rows(name, arrays, SEEDS[0], reading)].astype(float)
        found = float(np.log(np.exp(mixture.log_joint(z)).sum(axis=1)).mean())
        assert found == pytest.approx(likelihood, abs=1e-4)


def test_means_over_seeds_decide_and_single_seeds_are_reported() -> None:
    scores = paper_findings.scored(MODELS, "bic")
    found = paper_findings.winners(scores, "bic")
    assert found["best"] == "v-w5"
    assert found["single_seed"] == ["v-w5", "r-w9"]
    assert found["different"] == 2


def test_likelihood_is_maximised_and_bic_minimised() -> None:
    assert paper_findings.best_of_curve(MODELS[0], "bic") == (1.0, 2)
    assert paper_findings.best_of_curve(MODELS[0], "log_likelihood") == (2.0, 3)
    assert paper_findings.best_of_curve(MODELS[0], "log_likelihood", least=1) == (3.0, 1)
    assert paper_findings.best_of_curve(MODELS[-1], "bic") is None


def test_collapsed_models_are_ranked_but_cannot_win() -> None:
    scores = paper_findings.scored(MODELS, "bic")
    assert paper_findings.left_out_ranks(scores, "bic") == {"rt-w9-s0": 1}


def test_models_without_numbers_and_left_out_ones_are_drawn() -> None:
    z = {m["model"]: np.zeros((5, 2)) if m["K"] else np.full((5, 2), np.nan) for m in MODELS}
    arrays = Arrays(np.zeros((5, 2), dtype=int), z, {name: np.ones(5, dtype=bool) for name in z})
    bayesian = [m | {"K_effective": 3.0, "neg_elbo": 1.0, "entropy": 0.1, "neg_elbo_plus_entropy": 1.1} for m in MODELS[:5]]
    figures = [
        grid_figure(MODELS, arrays, "drawn"),
        losses_figure(MODELS, "drawn"),
        rewards_figure(MODELS, "drawn"),
        bayesian_figure(bayesian, "drawn"),
    ]
    for figure in figures:
        figure.canvas.draw()
    crosses = [c for c in figures[1].axes[0].collections if c.get_gid() == "left-out"]
    assert len(crosses[0].get_offsets()) == 1  # the collapsed one; the diverged one has no loss
    assert "collapsed" in [text.get_text() for axes in figures[0].axes for text in axes.texts]


def test_a_scan_on_which_everything_was_left_out_has_no_winner_and_is_drawn() -> None:
    models = [m | {"left_out": "collapsed: by hand"} for m in MODELS[:4]]
    found = paper_findings.winners(paper_findings.scored(models, "icl"), "icl")
    assert found["best"] is None
    winners_figure({"drawn": {"icl": found}}, (5, 9), "drawn").canvas.draw()
    rewards_figure(models, "drawn").canvas.draw()


def test_types_explain_all_of_what_is_apart_and_nothing_of_what_is_shuffled() -> None:
    x = np.repeat([[0.0, 0.0], [3.0, 4.0]], 10, axis=0)
    labels = np.repeat([0, 1], 10)
    assert explained(x, labels) == pytest.approx(1)
    assert explained(x, np.tile([0, 1], 10)) == pytest.approx(0, abs=1e-12)
    assert explained(np.zeros((4, 2)), np.array([0, 0, 1, 1])) == 0


def test_the_size_of_a_component_is_its_mean_radius() -> None:
    mixture = Mixture(np.array([0.5, 0.5]), np.zeros((2, 2)), np.array([np.eye(2) * 0.04, np.diag([0.01, 0.16])]))
    sizes = component_sizes(mixture)
    assert sizes["mean_radius"] == pytest.approx(0.2)
    assert sizes["variation_of_radius"] == pytest.approx(0, abs=1e-12)


def test_the_docs_quote_every_finding_of_the_committed_run() -> None:
    record = json.loads((REPOSITORY / "benchmarks" / "results" / "paper.json").read_text())
    page = (REPOSITORY / "docs" / "paper.md").read_text()
    missing = [text for text in record["details"]["findings"].values() if text not in page]
    assert not missing
    assert all((REPOSITORY / "docs" / "images" / f"paper-{name}.png").exists() for name in ("fig4", "winners"))

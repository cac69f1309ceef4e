import numpy as np
import pytest

from agent.reporting.figures import FigureError, pareto_figure
from agent.reporting.figures.pareto import has_front
from agent.schema.decision import DecisionRecord
from rewards.metrics import UnknownMetricError
from tests.support.data.drawn import draw_all
from tests.support.data.rendered_figures import render, texts
from tests.support.history.decision_records import make_decision, make_guarded_out, make_scan

VALUES = {5: (3.0, 1.0), 7: (2.0, 0.5), 9: (1.0, 2.0), 11: (0.5, 0.5)}  # neither of windows 5 and 9 is better in both


def record(**metrics: float) -> DecisionRecord:
    """Four windows of one invariance with two seeds each; the chosen one is window 9."""
    decision = make_decision(windows_px=(5, 7, 9, 11)).record
    candidates = [
        c.model_copy(
            update={
                "metrics": {
                    "bic_gain_per_d": VALUES[c.window_px][0] + 0.1 * c.seed,
                    "NMI_rot": VALUES[c.window_px][1],
                    "icl": -VALUES[c.window_px][1],
                }
                | metrics
            }
        )
        for c in decision.candidates
        if c.invariance == "v"
    ]
    return decision.model_copy(update={"candidates": candidates})


def front_of(figure: object) -> list[list[float]]:
    (line,) = [line for line in figure.axes[0].lines if line.get_gid() == "front"]  # type: ignore[attr-defined]
    return np.asarray(line.get_xydata()).tolist()


@pytest.mark.slow
def test_the_front_is_drawn_through_the_means_over_seeds_and_its_members_are_named() -> None:
    figure = pareto_figure(record())
    assert front_of(figure) == [pytest.approx([1.05, 2.0]), pytest.approx([3.05, 1.0])]
    shown = texts(figure)
    assert "2 of 4 configurations are on the front" in shown
    assert "1  VAE, window 9 px" in shown
    assert "2  VAE, window 5 px" in shown
    assert render(figure)


def test_the_star_is_on_what_was_chosen() -> None:
    (star,) = [c for c in pareto_figure(record()).axes[0].collections if c.get_gid() == "chosen"]
    assert np.asarray(star.get_offsets())[0] == pytest.approx([1.05, 2.0])


def test_better_is_up_and_to_the_right_also_for_minimised_criteria() -> None:
    axes = pareto_figure(record(), ("bic_gain_per_d", "icl")).axes[0]
    assert axes.yaxis_inverted()
    assert not axes.xaxis_inverted()
    assert front_of(pareto_figure(record(), ("bic_gain_per_d", "icl")))[0] == pytest.approx([1.05, -2.0])
    assert front_of(pareto_figure(record(), ("icl", "bic_gain_per_d")))[0] == pytest.approx([-1.0, 3.05])


def test_a_metric_of_the_users_own_needs_its_direction() -> None:
    mine = record(contrast=1.0)
    assert has_front(mine, ("NMI_rot", "-contrast"))
    assert pareto_figure(mine, ("NMI_rot", "-contrast")).axes[0].yaxis_inverted()
    with pytest.raises(UnknownMetricError, match="'contrast' is unknown"):
        pareto_figure(mine, ("NMI_rot", "contrast"))


def test_without_both_criteria_of_two_configurations_there_is_no_front() -> None:
    assert not has_front(record(), ("bic_gain_per_d", "stability"))
    with pytest.raises(FigureError, match="has bic_gain_per_d and stability for 0 configurations; a front needs at least two"):
        pareto_figure(record(), ("bic_gain_per_d", "stability"))
    assert "pareto" not in draw_all(make_scan(), make_guarded_out())


@pytest.mark.slow
def test_the_legend_of_a_long_front_fits_the_page() -> None:
    base = record().candidates[0]
    many = [
        base.model_copy(update={"window_px": w, "metrics": {"bic_gain_per_d": float(w), "NMI_rot": -float(w)}})
        for w in range(3, 43, 2)
    ]
    figure = pareto_figure(record().model_copy(update={"candidates": many}))
    assert "20 of 20" in texts(figure)
    assert "... and 7 more" in texts(figure)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y0 >= figure.bbox.y0

import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from agent.reporting import figure_output
from agent.reporting.drawing import drawings
from agent.reporting.figure_output import available_figures, figure_bytes, figure_of
from agent.reporting.figures.style import own_style
from agent.reporting.notebook import Analysis
from agent.schema.decision import Decision
from tests.support.history.decision_records import make_decision, make_guarded_out, make_scan, make_unresolved

USERS = {
    "text.usetex": True,
    "font.family": "a font that nobody has",
    "savefig.bbox": "tight",
    "axes.prop_cycle": mpl.cycler(c="k"),
}


def before_the_first_model() -> Decision:
    """A decision that a deadline ended before a candidate was trained: no candidate, but an (empty) array of latents."""
    unresolved = make_unresolved()
    assert not unresolved.record.candidates
    return replace(unresolved, arrays={"points_rc": np.zeros((3, 2), np.int64), "latents": np.zeros((0, 3, 0))})


@pytest.mark.attack(
    "a deadline ends the search before the first model", promise="the decision is written, with the figures it can show"
)
def test_a_decision_without_a_model_shows_its_scan_alone() -> None:
    assert available_figures(before_the_first_model(), ()) == ["scan"]


def test_arrays_that_were_released_leave_the_figures_that_need_none() -> None:
    for decision, drawable in ((make_decision(), ["scan", "pareto"]), (make_guarded_out(), ["scan"])):
        assert available_figures(replace(decision, arrays={}), ()) == drawable


@pytest.mark.attack("a user's matplotlibrc has text.usetex or another style", promise="figures have a style of their own")
def test_the_users_style_changes_no_figure() -> None:
    def scan_png() -> bytes:
        return figure_bytes(figure_of(make_scan(), make_unresolved(), (), "scan"), "png")

    plain = scan_png()
    with mpl.rc_context(USERS):
        styled = scan_png()
        assert mpl.rcParams["text.usetex"]  # the user's own figures keep the user's style
    assert styled == plain


def test_a_backend_that_becomes_interactive_with_the_first_figure_stays_so() -> None:
    with mpl.rc_context({"interactive": False}):
        with own_style():
            mpl.interactive(True)  # as the backend of notebooks does when it is loaded
        assert mpl.is_interactive()


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_the_same_decision_gives_the_same_file_in_every_format(form: str) -> None:
    one, two = (next(drawings(make_scan(), make_unresolved(), form=form)) for _ in range(2))
    assert one.content == two.content is not None


@pytest.mark.attack("a scan is named like a broken formula", promise="names are drawn as they are")
def test_a_name_with_dollars_is_no_formula() -> None:
    decision = make_unresolved()
    renamed = replace(decision, record=decision.record.model_copy(update={"scan_id": r"$\frac{$_1"}))
    (drawing,) = drawings(make_scan(), renamed)
    assert drawing.problem == ""


def test_a_figure_that_fails_is_named_on_one_line_and_the_others_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font\n  at all")

    monkeypatch.setattr(figure_output, "latent_grid_figure", fail)
    scan, grid = drawings(make_scan(), make_guarded_out())
    assert scan.kind == "scan"
    assert scan.content
    assert (grid.kind, grid.content) == ("latent_grid", None)
    name = make_guarded_out().record.decision_id
    assert grid.problem == f"figure 'latent_grid' of decision {name} could not be drawn: RuntimeError: no font at all"


def test_a_matplotlib_that_cannot_be_loaded_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agent.reporting.figure_output", None)
    (drawing,) = drawings(make_scan(), make_decision())
    assert drawing.kind is None
    assert "no figure of decision" in drawing.problem
    assert drawing.problem in Analysis(make_scan(), make_decision())._repr_html_()


def test_a_notebook_is_warned_of_a_figure_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(figure_output, "scan_figure", None)
    with pytest.warns(RuntimeWarning, match="figure 'scan' of decision"):
        written = Analysis(make_scan(), make_unresolved()).save(tmp_path)
    assert {path.name for path in written} == {"recommendations.csv", "decision.json"}

"""All figures of a decision, by name."""

from matplotlib.figure import Figure

from agent.reporting.figure_output import available_figures, figure_of
from agent.schema.decision import Decision
from instrument_adapters.scan import Scan

FIGURES = ("scan", "latent", "reward", "latent_grid", "patches", "pareto")


def draw_all(scan: Scan, decision: Decision) -> dict[str, Figure]:
    """Name -> figure, for all that the decision can show before anything was measured."""
    return {kind: figure_of(scan, decision, (), kind) for kind in available_figures(decision, ())}

"""Publication-quality figures of a decision. Every function returns a matplotlib `Figure` and leaves no global state."""

from matplotlib.figure import Figure

from agent.errors import FigureError
from agent.reporting.figures.latent import latent_figure
from agent.reporting.figures.latent_grid import latent_grid_figure
from agent.reporting.figures.loops import loops_figure, loops_of
from agent.reporting.figures.pareto import has_front, pareto_figure
from agent.reporting.figures.patches import patch_figure
from agent.reporting.figures.reward import reward_figure
from agent.reporting.figures.scan import scan_figure
from agent.schema.decision import Decision
from instrument_adapters.scan import Scan

__all__ = [
    "FIGURES",
    "FigureError",
    "draw_all",
    "latent_figure",
    "latent_grid_figure",
    "loops_figure",
    "loops_of",
    "pareto_figure",
    "patch_figure",
    "reward_figure",
    "scan_figure",
]

FIGURES = ("scan", "latent", "reward", "latent_grid", "patches", "pareto")


def draw_all(scan: Scan, decision: Decision) -> dict[str, Figure]:
    """Name -> figure, for all of `FIGURES` that the decision can show.

    A decision that chose nothing has only the scan and, if models were trained, their latent spaces. A Pareto front needs two
    configurations whose reward reports both criteria.
    """
    figures = {"scan": scan_figure(scan, decision)}
    if decision.record.chosen is not None:
        figures |= {
            "latent": latent_figure(decision),
            "reward": reward_figure(decision),
            "patches": patch_figure(scan, decision),
        }
    if "latents" in decision.arrays:
        figures["latent_grid"] = latent_grid_figure(decision)
    if has_front(decision.record):
        figures["pareto"] = pareto_figure(decision.record)
    return figures

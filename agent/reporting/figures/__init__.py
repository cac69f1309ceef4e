"""Publication-quality figures of a decision. Every function returns a matplotlib `Figure` and leaves no global state."""

from agent.errors import FigureError
from agent.reporting.figures.chosen_candidate import has_latent_space, has_latents
from agent.reporting.figures.latent import latent_figure
from agent.reporting.figures.latent_grid import latent_grid_figure
from agent.reporting.figures.loops import loops_figure, loops_of
from agent.reporting.figures.pareto import has_front, pareto_figure
from agent.reporting.figures.patches import patch_figure
from agent.reporting.figures.reward import reward_figure
from agent.reporting.figures.scan import scan_figure

__all__ = [
    "FigureError",
    "has_front",
    "has_latent_space",
    "has_latents",
    "latent_figure",
    "latent_grid_figure",
    "loops_figure",
    "loops_of",
    "pareto_figure",
    "patch_figure",
    "reward_figure",
    "scan_figure",
]

"""Names of the figures. This module does not load matplotlib, which a user's settings can make impossible."""

from typing import Literal, get_args

FigureKind = Literal["scan", "patches", "loops", "latent", "reward", "latent_grid", "pareto"]
KINDS: tuple[FigureKind, ...] = get_args(FigureKind)  # in reading order

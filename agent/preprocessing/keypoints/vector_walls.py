"""Points on the domain walls of the piezoresponse vector."""

import numpy as np

from agent.preprocessing.channels import Response
from agent.preprocessing.walls.detection import Walls, find_walls


def vector_walls(
    response: Response,
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the signature of every method
    sigma_px: float = 1.2,
    above: float = 4.0,
    least_px: int = 6,
) -> Walls:
    """Walls where the response changes by more than its background: of the vector, or of the amplitude if there is no phase.

    Parameters
    ----------
    response
        The response of the scan.
    rng
        Not used.
    sigma_px, above, least_px
        See `find_walls`.
    """
    return find_walls(response, sigma_px=sigma_px, above=above, least_px=least_px)

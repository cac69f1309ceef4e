"""All rewards at once, for a decision rule that combines them: every criterion uses the same mixtures, one for each K."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rewards.base import Representation, Score
from rewards.spatial import FAR_PX, NEAR_PX, spatial
from rewards.stability import reproducibility
from rewards.topology import topology


def panel(
    representation: Representation,
    *,
    rng: np.random.Generator,
    near_px: float = NEAR_PX,
    far_px: float = FAR_PX,
    symmetric: bool = True,
    types: Literal["informative", "bic"] = "informative",
    components: Sequence[int] = range(1, 11),
    restarts: int = 10,
    resamples: int = 8,
) -> Score:
    """The value of `spatial`, with the metrics of every reward except `bgmm`.

    The mixtures are fitted once, and the paper's criteria, the gains, the spatial information and the stability are computed from
    them. The cost is that of `spatial`, `topology` and the refits of `stability`; called one by one, each criterion fits its own
    mixtures.

    Parameters
    ----------
    representation
        Representation with the latents of rotated and mirrored patches.
    rng
        Random generator of all fits and draws.
    near_px, far_px, symmetric, types, components, restarts
        Options of `rewards.spatial.spatial`.
    resamples
        Number of bootstrap resamples of `rewards.stability.reproducibility`.
    """
    score = spatial(
        representation,
        rng=rng,
        near_px=near_px,
        far_px=far_px,
        symmetric=symmetric,
        types=types,
        components=components,
        restarts=restarts,
    )
    assert score.mixture is not None
    metrics = dict(score.metrics)
    metrics |= reproducibility(representation, score.mixture, rng=rng, resamples=resamples)
    metrics |= topology(representation, rng=rng).metrics
    return Score(score.value, metrics, score.mixture)

"""All rewards at once, for a rule that combines them: one mixture for each K serves every criterion."""

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
    """`spatial`'s verdict, with the metrics of every reward but `bgmm`.

    The mixtures are fitted once: the paper's criteria, the gains, the spatial information and the stability all look at the same
    ones. It costs what `spatial`, `stability`'s refits and `topology` cost, where each criterion by itself would fit them anew.

    Parameters
    ----------
    representation
        With the latents of turned and mirrored patches.
    near_px, far_px, symmetric, types, components, restarts
        See `rewards.spatial.spatial`.
    resamples
        See `rewards.stability.reproducibility`.
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

"""Symmetry-aware spatial mutual information: do clusters say something about their neighbourhood that orientation cannot?

Microstructure types extend over many pixels, so the cluster of a patch should tell something about the cluster of a
neighbouring patch that shares no pixel with it. Orientation extends as far, and clusters of orientation must not be mistaken for
types: so the neighbour is compared as it is, turned by 90 degrees and mirrored, in equal parts. A partition by orientation then
says nothing about its neighbours, one by type loses nothing. On simulated surfaces of known types this reward follows the truth
and the mixture criteria do not (docs/decisions/0005-default-reward.md).

Two assumptions, both parameters: that a type is the same when turned or mirrored (`symmetric`), and how far types extend
(`near_px`, `far_px`).
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from rewards.base import Mixture, Representation, Score
from rewards.guards import degenerate
from rewards.mixture.em import EMSettings
from rewards.mixture.gmm import MixtureFit, mixtures, report

NEAR_PX, FAR_PX = 22.0, 34.0
_SHUFFLES = 4
_MOST_PAIRS = 200_000


def neighbours(points_rc: Int[np.ndarray, "n 2"], near_px: float, far_px: float) -> Int[np.ndarray, "m 2"]:
    """Index pairs of points whose larger coordinate difference lies between `near_px` and `far_px`, each pair once."""
    tree = cKDTree(points_rc)
    pairs = tree.query_pairs(far_px, p=np.inf, output_type="ndarray")
    distance = np.abs(points_rc[pairs[:, 0]] - points_rc[pairs[:, 1]]).max(axis=1)
    return np.asarray(pairs[distance >= near_px], dtype=np.int64)


def joint_table(a: Int[np.ndarray, " m"], b: Int[np.ndarray, " m"], k: int) -> Float[np.ndarray, "k k"]:
    """Relative frequencies of label pairs."""
    counts = np.bincount(a * k + b, minlength=k * k).reshape(k, k)
    return np.asarray(counts / max(counts.sum(), 1))


def mutual_information(table: Float[np.ndarray, "k k"]) -> float:
    """Mutual information of a joint table, in nats."""
    independent = np.outer(table.sum(axis=1), table.sum(axis=0))
    seen = table > 0
    return float((table[seen] * np.log(table[seen] / independent[seen])).sum())


def spatial_information(
    views: Sequence[Int[np.ndarray, " n"]], pairs: Int[np.ndarray, "m 2"], k: int, rng: np.random.Generator
) -> float:
    """Mutual information, in nats, of the cluster of a patch and that of its neighbour, less that of shuffled points.

    Parameters
    ----------
    views
        Labels of each patch as it is, and of the same patch turned, mirrored, ...; the first view is that of the partner too.
    pairs
        Shape (m, 2): neighbours; each is used in both directions.
    k
        Number of clusters.
    rng
        Shuffles the points.
    """
    a, b = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    labels = views[0]

    def pooled(order: np.ndarray) -> float:
        return mutual_information(np.mean([joint_table(view[order][a], labels[b], k) for view in views], axis=0))

    observed = pooled(np.arange(len(labels)))
    chance = np.mean([pooled(rng.permutation(len(labels))) for _ in range(_SHUFFLES)])
    return observed - float(chance)


def consistency(labels: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"], k: int) -> float:
    """Cohen's kappa of two labellings of the same patches: 1 when equal, 0 when no more alike than by chance."""
    table = joint_table(labels, other, k)
    chance = float((table.sum(axis=1) * table.sum(axis=0)).sum())
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else 0.0


def spatial(
    representation: Representation,
    *,
    rng: np.random.Generator,
    near_px: float = NEAR_PX,
    far_px: float = FAR_PX,
    symmetric: bool = True,
    types: Literal["informative", "bic"] = "informative",
    components: Sequence[int] = range(1, 11),
    restarts: int = 10,
) -> Score:
    """√(MI_rot·NMI_rot) times the rotation consistency of the clusters; 0 says that they know nothing of their neighbourhood.

    MI_rot is the spatial information, NMI_rot the same over the entropy H of the labels, so their geometric mean is MI_rot/√H.
    MI_rot alone grows as clusters are split and NMI_rot falls. The consistency is the agreement between the clusters of the
    patches and those of the same patches turned and mirrored.

    How many types there are is asked of the neighbourhood too: K maximises MI_rot/√H among all K that BIC prefers to one
    Gaussian. BIC's own K goes on splitting a type that is not Gaussian, and on simulated scans such splits cost a tenth of the
    agreement with the truth (docs/decisions/0014-types-or-none.md). What was maximised is no evidence that there are types at
    all: "MI_rot_bic", at BIC's K, is.

    Parameters
    ----------
    representation
        With the latents of turned and mirrored patches.
    near_px, far_px
        Neighbours are this far apart (larger coordinate difference); `near_px` is raised to the window where that is larger, so
        that neighbours share no pixel.
    symmetric
        Whether a type is the same when turned or mirrored. If not, orientation counts as structure.
    types
        "informative": K as above; "bic": K of the smallest BIC.
    components, restarts
        Of the mixture.
    """
    fits, single = mixtures(representation, rng, components, EMSettings(restarts=restarts))
    open_ones, at_bic = _eligible(fits, single, types, len(representation.z))
    pairs = ring(representation, near_px, far_px, rng)
    said = [neighbourhood(representation, fit.mixture, pairs, rng=rng, symmetric=symmetric) for fit in open_ones]
    worth = [math.sqrt(max(one["MI_rot"], 0.0) * max(one["NMI_rot"], 0.0)) for one in said]
    at = int(np.argmax(worth))
    found, chosen = said[at], open_ones[at]
    value = worth[at] * (max(found["rotation_consistency"], 0.0) if symmetric else 1.0)
    metrics = report(representation, fits, single, chosen) | found | {"MI_rot_bic": said[at_bic]["MI_rot"]}
    return Score(value, metrics, chosen.mixture)


def _eligible(fits: Sequence[MixtureFit], single: MixtureFit, types: str, n: int) -> tuple[list[MixtureFit], int]:
    """Mixtures whose clusters may be the types, and which of them BIC prefers; degenerate ones only where all are."""
    sound = [fit for fit in fits if degenerate(fit.mixture, n) is None] or list(fits)
    best = min(sound, key=lambda fit: fit.bic)
    if types == "bic" or best is single or len(fits) == 1:
        return [best], 0
    open_ones = [fit for fit in sound if fit.K > 1 and fit.bic < single.bic]
    return open_ones, open_ones.index(best)


def ring(representation: Representation, near_px: float, far_px: float, rng: np.random.Generator) -> Int[np.ndarray, "m 2"]:
    """Neighbours that share no pixel; of very many, some that are drawn."""
    near = max(near_px, representation.window_px)
    pairs = neighbours(representation.points_rc, near, max(far_px, near + 12))
    if len(pairs) > _MOST_PAIRS:
        pairs = pairs[np.sort(rng.choice(len(pairs), _MOST_PAIRS, replace=False))]
    return pairs


def neighbourhood(
    representation: Representation,
    mixture: Mixture,
    pairs: Int[np.ndarray, "m 2"],
    *,
    rng: np.random.Generator,
    symmetric: bool = True,
) -> dict[str, float]:
    """What the clusters of `mixture` say of their neighbourhood, whatever reward found them.

    Parameters
    ----------
    representation
        With the latents of turned and mirrored patches.
    mixture
        In the coordinates of `z`.
    pairs
        Neighbours, see `ring`.
    rng
        Shuffles the points.
    symmetric
        See `spatial`.

    Returns
    -------
    MI_rot (nats), NMI_rot (over the entropy of the labels), rotation_consistency, and the number of pairs they rest on.
    """
    k = mixture.n_components
    turned = (representation.z_rotated, representation.z_mirrored)
    labels = mixture.labels(representation.z)
    views = [labels, *(mixture.labels(z) for z in turned)]
    information = spatial_information(views if symmetric else views[:1], pairs, k, rng) if len(pairs) else 0.0
    share = np.bincount(labels, minlength=k) / len(labels)
    entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    return {
        "MI_rot": information,
        "NMI_rot": information / entropy if entropy > 0 else 0.0,
        "rotation_consistency": float(np.mean([consistency(labels, view, k) for view in views[1:]])),
        "pairs": float(len(pairs)),
    }

"""Symmetry-aware spatial mutual information: do clusters predict their neighbourhood better than orientation can explain?

Microstructure types extend over many pixels, so the cluster of a patch should predict the cluster of a neighbouring patch that
shares no pixel with it. Orientations extend just as far, but clusters of orientation are not types. The patch is therefore
compared with its neighbour as it is, rotated by 90 degrees and mirrored, in equal shares: a partition by orientation then has no
information about its neighbours, and a partition by type loses none. On simulated surfaces with known types this reward follows
the truth, and the mixture criteria do not (docs/decisions/0014-types-or-none.md).

It makes two assumptions, which are options: a type is unchanged when rotated or mirrored (`symmetric`), and types extend over a
certain distance (`near_px`, `far_px`).
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
LEAST_WALL_PAIRS = 100  # below, information along walls says nothing
_SHUFFLES = 4
_MAX_PAIRS = 200_000


def neighbours(points_rc: Int[np.ndarray, "n 2"], near_px: float, far_px: float) -> Int[np.ndarray, "m 2"]:
    """Index pairs of points whose larger coordinate difference lies between `near_px` and `far_px`; each pair occurs once."""
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
    """Mutual information, in nats, of the clusters of a patch and of its neighbour, minus that of shuffled points.

    Parameters
    ----------
    views
        Cluster labels of the patches as they are, and of the same patches rotated, mirrored, ...; neighbours have the labels of
        the first view.
    pairs
        Shape (m, 2): indices of neighbours; each pair is used in both directions.
    k
        Number of clusters.
    rng
        Random generator that shuffles the points.
    """
    a, b = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    labels = views[0]

    def pooled(order: np.ndarray) -> float:
        return mutual_information(np.mean([joint_table(view[order][a], labels[b], k) for view in views], axis=0))

    observed = pooled(np.arange(len(labels)))
    chance = np.mean([pooled(rng.permutation(len(labels))) for _ in range(_SHUFFLES)])
    return observed - float(chance)


def consistency(labels: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"], k: int) -> float:
    """Cohen's kappa of two labellings of the same patches: 1 if they are equal, 0 for chance agreement."""
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
    """√(MI_rot·NMI_rot) times the rotation consistency of the clusters; 0 if clusters do not predict their neighbourhood.

    MI_rot is the spatial information and NMI_rot is MI_rot divided by the entropy H of the labels, so the geometric mean is
    MI_rot/√H. When clusters are split, MI_rot grows and NMI_rot falls. The rotation consistency is the agreement between the
    clusters of the patches and those of the same patches rotated and mirrored.

    Where the key points follow walls, information about the neighbours along the wall that share no pixel, MI_wall, takes the
    place of MI_rot: types are interspersed with others, but a wall stays of one type. K is then that of the smallest BIC. On
    simulated surfaces, MI_wall/√H had the largest rank correlation with the truth over families and windows, 0.77 against 0.70
    of MI_rot/√H (docs/decisions/0047-walls.md).

    Without walls, the number of types also follows from the neighbourhood: K maximises MI_rot/√H among all K that BIC prefers to
    one Gaussian.
    The K preferred by BIC itself splits types that are not Gaussian, and on simulated scans such splits cost a tenth of the
    agreement with the truth (docs/decisions/0014-types-or-none.md). A maximum is not evidence that there are types at all; the
    metric "MI_rot_bic", at the K that BIC prefers, is.

    Parameters
    ----------
    representation
        Representation with the latents of rotated and mirrored patches.
    rng
        Random generator of the mixture fits and of the shuffles.
    near_px, far_px
        Smallest and largest distance of neighbours in pixels (the larger coordinate difference). `near_px` is at least the
        window, so that neighbours share no pixel.
    symmetric
        Whether a type is unchanged when rotated or mirrored. If not, orientation counts as structure.
    types
        "informative": K as above; "bic": K of the smallest BIC, with or without walls.
    components, restarts
        Options of the mixture, see `rewards.mixture.gmm`.
    """
    fits, single = mixtures(representation, rng, components, EMSettings(restarts=restarts))
    along_walls = len(wall_pairs(representation, far_px)) >= LEAST_WALL_PAIRS
    eligible, at_bic = _eligible(fits, single, "bic" if along_walls else types, len(representation.z))
    pairs = ring(representation, near_px, far_px, rng)
    information = [neighbourhood(representation, fit.mixture, pairs, rng=rng, symmetric=symmetric) for fit in eligible]
    direction = "wall" if along_walls else "rot"
    values = [math.sqrt(max(one[f"MI_{direction}"], 0.0) * max(one[f"NMI_{direction}"], 0.0)) for one in information]
    best = int(np.argmax(values))
    found, chosen = information[best], eligible[best]
    value = values[best] * (max(found["rotation_consistency"], 0.0) if symmetric else 1.0)
    metrics = report(representation, fits, single, chosen) | found | {"MI_rot_bic": information[at_bic]["MI_rot"]}
    if along_walls:
        metrics |= {"MI_wall_bic": information[at_bic]["MI_wall"], "icl_gain_bic": single.icl - eligible[at_bic].icl}
    return Score(value, metrics, chosen.mixture)


def _eligible(fits: Sequence[MixtureFit], single: MixtureFit, types: str, n: int) -> tuple[list[MixtureFit], int]:
    """Mixtures that may be chosen, and the index of the one that BIC prefers; degenerate ones only if all are degenerate."""
    usable = [fit for fit in fits if degenerate(fit.mixture, n) is None] or list(fits)
    best = min(usable, key=lambda fit: fit.bic)
    if types == "bic" or best is single or len(fits) == 1:
        return [best], 0
    eligible = [fit for fit in usable if fit.K > 1 and fit.bic < single.bic]
    return eligible, eligible.index(best)


def ring(representation: Representation, near_px: float, far_px: float, rng: np.random.Generator) -> Int[np.ndarray, "m 2"]:
    """Index pairs of neighbours that share no pixel; a random subset if there are very many."""
    near = max(near_px, representation.window_px)
    pairs = neighbours(representation.points_rc, near, max(far_px, near + 12))
    if len(pairs) > _MAX_PAIRS:
        pairs = pairs[np.sort(rng.choice(len(pairs), _MAX_PAIRS, replace=False))]
    return pairs


def wall_pairs(representation: Representation, far_px: float = FAR_PX) -> Int[np.ndarray, "m 2"]:
    """Index pairs of points on the same wall that share no pixel and are at most `far_px` apart along it.

    With a window of more than `far_px` less 12 pixels, the largest distance is that of the window plus 12 pixels.
    """
    window_px = representation.window_px
    return representation.walls.between(window_px, max(far_px, window_px + 12))


def neighbourhood(
    representation: Representation,
    mixture: Mixture,
    pairs: Int[np.ndarray, "m 2"],
    *,
    rng: np.random.Generator,
    symmetric: bool = True,
) -> dict[str, float]:
    """How well the clusters of `mixture` predict their neighbourhood, whichever reward found them.

    Parameters
    ----------
    representation
        Representation with the latents of rotated and mirrored patches.
    mixture
        Mixture whose components are the clusters, in the coordinates of `z`.
    pairs
        Shape (m, 2): indices of neighbours, see `ring`.
    rng
        Random generator that shuffles the points.
    symmetric
        Whether a type is unchanged when rotated or mirrored.

    Returns
    -------
    dict
        `MI_rot` in nats, `NMI_rot` (MI_rot divided by the entropy of the labels), `rotation_consistency`, and `pairs`, the number
        of pairs; if enough pairs of points lie on the same wall, also `MI_wall`, `NMI_wall` and `wall_pairs`.
    """
    k = mixture.n_components
    transformed = (representation.z_rotated, representation.z_mirrored)
    labels = mixture.labels(representation.z)
    others = [mixture.labels(z) for z in transformed]
    views = [labels, *others]
    views = views if symmetric else views[:1]
    information = spatial_information(views, pairs, k, rng) if len(pairs) else 0.0
    share = np.bincount(labels, minlength=k) / len(labels)
    entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    along = wall_pairs(representation)
    walls = {}
    if len(along) >= LEAST_WALL_PAIRS:
        constant = spatial_information(views, along, k, rng)
        walls = {"MI_wall": constant, "NMI_wall": constant / entropy if entropy > 0 else 0.0, "wall_pairs": float(len(along))}
    return walls | {
        "MI_rot": information,
        "NMI_rot": information / entropy if entropy > 0 else 0.0,
        "rotation_consistency": float(np.mean([consistency(labels, view, k) for view in others])),
        "pairs": float(len(pairs)),
    }

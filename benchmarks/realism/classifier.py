"""Can a classifier distinguish recorded from simulated tiles of the amplitude?

Gradient-boosted trees and logistic regression on 95 features of a tile of 64 x 64 px with zero mean and unit variance: spectrum
by rings and directions, moments, autocorrelation, gradients, texture at several scales, lines, local binary patterns. A tile is
classified by models trained without any tile of its group; a group is a simulated world, or a place on a real sample. The area
under the ROC curve is computed within each fold, since scores of different folds may have different offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.stats import kurtosis, skew
from skimage.feature import local_binary_pattern
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.realism.statistics import radial_spectrum, robust_sd

TILE_PX = 64
_STRIDE_PX = 32
_RINGS = ((4, 8), (8, 14), (14, 24), (24, 36), (36, 52), (52, 72), (72, 96), (96, 127))  # cycles in 256 pixels
_LAGS_PX = (1, 2, 3, 4, 6, 8, 12, 16)
_DIRECTIONS = 6
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_SCALES_PX = (0.7, 1.4, 2.8, 5.6)


@dataclass(frozen=True, eq=False)
class Tiles:
    """Features of n tiles.

    Parameters
    ----------
    features
        Features, one row for each tile.
    groups
        Number of the world, or of the place on a sample, from which each tile was cut.
    positive
        Whether each tile belongs to the positive class.
    """

    features: Float[np.ndarray, "n features"]
    groups: Int[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"]


def cut(image: Float[np.ndarray, "rows cols"]) -> Float[np.ndarray, "n 64 64"]:
    """All tiles of 64 px at a stride of 32 px, each scaled to zero mean and unit standard deviation."""
    rows, cols = (range(0, n - TILE_PX + 1, _STRIDE_PX) for n in image.shape)
    tiles = np.array([image[r : r + TILE_PX, c : c + TILE_PX] for r in rows for c in cols], np.float64)
    centred = tiles - tiles.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / centred.std(axis=(1, 2), keepdims=True))


def halves(count: int) -> Int[np.ndarray, " n"]:
    """Half of a square image that each tile of `cut` lies in: 0 left, 1 right, -1 across the middle."""
    side = round(count**0.5)
    column = np.arange(count) % side
    return np.where(column < side // 2, 0, np.where(column > side // 2, 1, -1))


def describe(tile: Float[np.ndarray, "64 64"]) -> dict[str, float]:
    """Features of a tile: name -> value."""
    kinds = (_spectral, _moments, _correlations, _gradients, _textures, _lines, _patterns)
    return {name: value for kind in kinds for name, value in kind(tile).items()}


def folds(tiles: Tiles, rng: np.random.Generator) -> list[tuple[Int[np.ndarray, " test"], Int[np.ndarray, " train"]]]:
    """Folds as (test indices, training indices), as many as the smaller class has groups.

    Each fold leaves out one group of the smaller class and the same share of the groups of the other class. Only negative groups
    are assigned at random, so if there are fewer positive groups, fold n always leaves out the n-th of them.
    """
    positive, negative = (np.unique(tiles.groups[tiles.positive == side]) for side in (True, False))
    own = (positive, rng.permutation(negative))
    count = min(len(groups) for groups in own)
    held_out = [np.concatenate([groups[n::count] for groups in own]) for n in range(count)]
    return [(np.flatnonzero(out), np.flatnonzero(~out)) for out in (np.isin(tiles.groups, groups) for groups in held_out)]


def areas(tiles: Tiles, rng: np.random.Generator, repeats: int = 3) -> dict[str, list[float]]:
    """Model -> area under the ROC curve in each fold of each repeat."""
    out: dict[str, list[float]] = {name: [] for name in _models(0)}
    for repeat in range(repeats):
        for test, train in folds(tiles, rng):
            for name, model in _models(repeat).items():
                score = _fitted(model, tiles, train).predict_proba(tiles.features[test])[:, 1]
                out[name].append(float(roc_auc_score(tiles.positive[test], score)))
    return out


def importances(tiles: Tiles, rng: np.random.Generator, names: Sequence[str], repeats: int = 3) -> dict[str, float]:
    """Permutation importance for the trees: feature -> loss of area when its values are shuffled; largest first."""
    lost = np.zeros(len(names))
    splits = folds(tiles, rng)
    for test, train in splits:
        model = _fitted(_models(0)["trees"], tiles, train)
        base = roc_auc_score(tiles.positive[test], model.predict_proba(tiles.features[test])[:, 1])
        for column in np.repeat(np.arange(len(names)), repeats):
            shuffled = tiles.features[test].copy()
            shuffled[:, column] = rng.permutation(shuffled[:, column])
            lost[column] += base - roc_auc_score(tiles.positive[test], model.predict_proba(shuffled)[:, 1])
    ranked = np.argsort(-lost)
    return {names[n]: float(lost[n] / len(splits) / repeats) for n in ranked}


def _models(seed: int) -> dict[str, Pipeline]:
    trees = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=8, l2_regularization=1.0, max_features=0.3, random_state=seed
    )
    return {
        "trees": make_pipeline(trees),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000)),
    }


def _fitted(model: Pipeline, tiles: Tiles, train: np.ndarray) -> Pipeline:
    """The model, fitted with equal weight for both classes, and for all groups within a class."""
    groups, positive = tiles.groups[train], tiles.positive[train]
    weight = np.zeros(len(train))
    for side in (True, False):
        members = np.unique(groups[positive == side])
        for group in members:
            own = groups == group
            weight[own] = len(train) / 2 / len(members) / own.sum()
    with threadpool_limits(1):
        model.fit(tiles.features[train], positive, **{f"{model.steps[-1][0]}__sample_weight": weight})
    return model


def _spectral(tile: np.ndarray) -> dict[str, float]:
    cycles, power = radial_spectrum(tile)
    rings = np.array([power[(cycles >= low) & (cycles <= high)].mean() for low, high in _RINGS])
    out = {f"ring_{n}": float(v) for n, v in enumerate(np.log(rings / rings.sum()))}
    window = np.hanning(TILE_PX)
    k = np.fft.fftfreq(TILE_PX)
    full = np.abs(np.fft.fft2(tile * window[:, None] * window)) ** 2
    radius, angle = np.hypot(k[:, None], k), np.mod(np.arctan2(k[:, None], k + 0 * k[:, None]), np.pi)
    for name, low, high in (("coarse", 0.02, 0.12), ("fine", 0.12, 0.5)):
        band = (radius >= low) & (radius < high)
        sector = np.floor(angle / np.pi * 12).astype(int)
        shares = np.array([full[band & (sector == n)].sum() for n in range(12)]) / full[band].sum()
        out[f"one_direction_{name}"] = float(shares.max())
        out[f"directions_entropy_{name}"] = float(-np.sum(shares * np.log(shares + 1e-12)))
    peak = full[(radius > 0.04) & (radius < 0.3)]
    out["peak"] = float(np.log(peak.max() / peak.mean()))
    return out


def _moments(tile: np.ndarray) -> dict[str, float]:
    values = np.percentile(tile, _PERCENTILES)
    out = {f"percentile_{p}": float(v) for p, v in zip(_PERCENTILES, values, strict=True)}
    return out | {"skew": float(skew(tile, axis=None)), "kurtosis": float(kurtosis(tile, axis=None))}


def _correlations(tile: np.ndarray) -> dict[str, float]:
    out = {}
    for lag in _LAGS_PX:
        out[f"along_{lag}"] = float(np.mean(tile[:, lag:] * tile[:, :-lag]))
        out[f"across_{lag}"] = float(np.mean(tile[lag:] * tile[:-lag]))
    for lag in (2, 6):
        rising = float(np.mean(tile[lag:, lag:] * tile[:-lag, :-lag]))
        out[f"diagonals_{lag}"] = abs(rising - float(np.mean(tile[lag:, :-lag] * tile[:-lag, lag:])))
    return out


def _gradients(tile: np.ndarray) -> dict[str, float]:
    out = {}
    for scale in _SCALES_PX[:3]:
        by_row, by_col = (ndimage.gaussian_filter(tile, scale, order=o) for o in ((1, 0), (0, 1)))
        steep = np.hypot(by_row, by_col)
        out[f"steepness_{scale}"] = float(np.log(steep.mean()))
        out[f"steepness_spread_{scale}"] = float(steep.std() / steep.mean())
        out[f"steepness_top_{scale}"] = float(np.percentile(steep, 98) / steep.mean())
        products = (by_row * by_row, by_row * by_col, by_col * by_col)
        xx, xy, yy = (ndimage.gaussian_filter(product, 3 * scale) for product in products)
        coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-12)
        out[f"coherence_{scale}"] = float(coherence.mean())
        out[f"row_over_col_{scale}"] = float(np.log(by_row.std() / by_col.std()))
    return out


def _textures(tile: np.ndarray) -> dict[str, float]:
    out = {}
    for low in _SCALES_PX:
        band = ndimage.gaussian_filter(tile, low) - ndimage.gaussian_filter(tile, 2 * low)
        out[f"band_{low}"] = float(np.log(band.std()))
        out[f"band_skew_{low}"] = float(skew(band, axis=None))
        out[f"band_kurtosis_{low}"] = float(kurtosis(band, axis=None))
    rough = tile - ndimage.gaussian_filter(tile, 1.4)
    level = ndimage.gaussian_filter(tile, 2.8)
    loudness = np.sqrt(ndimage.gaussian_filter(rough**2, 2.8))
    out["noise_follows_level"] = float(np.corrcoef(level.ravel(), loudness.ravel())[0, 1])
    out["noise_spread"] = float(loudness.std() / loudness.mean())
    return out


def _lines(tile: np.ndarray) -> dict[str, float]:
    across, along = np.diff(tile, axis=0), np.diff(tile, axis=1)
    return {
        "line_steps": float(np.std(np.median(across, axis=1))),
        "column_steps": float(np.std(np.median(along, axis=0))),
        "noise_fast": robust_sd(np.diff(tile, 2, axis=1)),
        "noise_slow": robust_sd(np.diff(tile, 2, axis=0)),
        "spikes": float(kurtosis(np.diff(tile, 2, axis=1), axis=None)),
        "largest_line_step": float(np.abs(np.median(across, axis=1)).max()),
    }


def _patterns(tile: np.ndarray) -> dict[str, float]:
    levels = np.round(tile * 256).astype(np.int32)
    out: dict[str, float] = {}
    for radius in (1, 3):
        codes = local_binary_pattern(levels, 8, radius, method="uniform")
        shares = np.bincount(codes.astype(int).ravel(), minlength=10) / codes.size
        out |= {f"pattern_{radius}_{n}": float(v) for n, v in enumerate(shares)}
    return out

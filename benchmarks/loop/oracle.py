"""What could be reached at best: an order by someone who knows every loop, and predictions by someone who was told nearly all."""

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.ensemble import RandomForestRegressor

from benchmarks.loop.prediction import WINDOW_PX, Predictor

_CANDIDATES, _TARGETS, _FITTED = 1000, 1000, 300
_TREES, _LEAF, _FEATURES = 50, 5, 1 / 3
BLOCKS_PER_SIDE, FOLDS = 5, 5


def oracle_places(
    predictor: Predictor,
    loops: Float[np.ndarray, "n c"],
    held_out: Int[np.ndarray, " h"],
    count: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, " count"]:
    """Rows of pixels, each the one whose loop lowers the error of the judged loops most; every loop is known beforehand.

    Greedy, so no bound: the error is that of a Gaussian process with the kernel that fits 300 loops best, while the judge fits
    its own to what was measured.

    Parameters
    ----------
    predictor
        Patches and positions.
    loops
        Shape (n, c): of all pixels.
    held_out
        Rows of the pixels that are judged; a part of them is looked at.
    count
        How many places.
    rng
        Draws the candidates, and the part.
    """
    fitted = rng.choice(len(loops), min(_FITTED, len(loops)), replace=False)
    kernel, noise, _ = predictor.fit(fitted, loops[fitted])
    candidates = np.sort(rng.choice(len(loops), min(_CANDIDATES, len(loops)), replace=False))
    targets = rng.choice(held_out, min(_TARGETS, len(held_out)), replace=False)
    centred = loops - loops.mean(axis=0)
    at_targets, among = kernel(targets, candidates), kernel(candidates, candidates)
    left, surprise = centred[targets], centred[candidates]
    open_ = np.ones(len(candidates), dtype=bool)
    taken = []
    for _ in range(min(count, len(candidates))):
        spread = np.diag(among) + noise
        gain = 2 * ((at_targets.T @ left) * surprise).sum(axis=1) / spread
        gain -= (at_targets**2).sum(axis=0) * (surprise**2).sum(axis=1) / spread**2
        j = int(np.where(open_, gain, -np.inf).argmax())
        open_[j] = False
        taken.append(candidates[j])
        step, row = surprise[j] / spread[j], among[j].copy()
        left = left - at_targets[:, [j]] * step
        surprise = surprise - row[:, None] * step
        at_targets = at_targets - np.outer(at_targets[:, j], row / spread[j])
        among = among - np.outer(row, row / spread[j])
    return np.array(taken, dtype=np.int64)


def forest_r2(
    image: Float[np.ndarray, "rows cols"], values: Float[np.ndarray, "n p"], seed: int
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Mean squared error of each column and its variance, over all pixels, by a random forest on the 9 x 9 patch alone.

    Each pixel is predicted from the four fifths of the film that lie in other blocks, of 5 x 5 that are dealt to five folds:
    neighbours share most of their patch, and must not tell of each other.
    """
    padded = np.pad(image, WINDOW_PX // 2, mode="reflect")
    patches = sliding_window_view(padded, (WINDOW_PX, WINDOW_PX)).reshape(image.size, -1).astype(np.float32)
    folds = blocked_folds(image.shape, seed)
    predicted = np.empty_like(values)
    for fold in range(FOLDS):
        told = folds != fold
        forest = RandomForestRegressor(
            _TREES,
            min_samples_leaf=_LEAF,
            max_features=_FEATURES,
            random_state=np.random.default_rng([seed, fold]).integers(2**31),
        )
        predicted[~told] = forest.fit(patches[told], values[told]).predict(patches[~told])
    return ((values - predicted) ** 2).mean(axis=0), values.var(axis=0)


def blocked_folds(shape: tuple[int, int], seed: int) -> Int[np.ndarray, " n"]:
    """The fold of each pixel in raster order: square blocks, dealt at random, equally many to each fold."""
    dealt = np.random.default_rng(seed).permutation(np.arange(BLOCKS_PER_SIDE**2) % FOLDS).reshape(BLOCKS_PER_SIDE, -1)
    row, col = (np.arange(side) * BLOCKS_PER_SIDE // side for side in shape)
    return np.asarray(dealt[np.ix_(row, col)].ravel())

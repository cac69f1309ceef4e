"""Upper bounds: an order chosen with knowledge of every loop, and predictions from nearly all loops of a film."""

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
    """Rows of pixels, each chosen because its loop reduces the error of the held-out loops most; all loops are known.

    The choice is greedy and therefore not a strict bound. The error is that of a Gaussian process with the kernel that fits 300
    loops best, whereas the evaluation fits its own kernel to the measured loops.

    Parameters
    ----------
    predictor
        Predictor with the patches and positions of all pixels.
    loops
        Shape (n, c): loops of all pixels.
    held_out
        Rows of the held-out pixels, of which a random subset is used.
    count
        Number of points to choose.
    rng
        Random generator of candidates and subsets.
    """
    fitted = rng.choice(len(loops), min(_FITTED, len(loops)), replace=False)
    kernel, noise, _ = predictor.fit(fitted, loops[fitted])
    candidates = np.sort(rng.choice(len(loops), min(_CANDIDATES, len(loops)), replace=False))
    targets = rng.choice(held_out, min(_TARGETS, len(held_out)), replace=False)
    centred = loops - loops.mean(axis=0)
    at_targets, among = kernel(targets, candidates), kernel(candidates, candidates)
    residual, surprise = centred[targets], centred[candidates]
    available = np.ones(len(candidates), dtype=bool)
    chosen = []
    for _ in range(min(count, len(candidates))):
        spread = np.diag(among) + noise
        gain = 2 * ((at_targets.T @ residual) * surprise).sum(axis=1) / spread
        gain -= (at_targets**2).sum(axis=0) * (surprise**2).sum(axis=1) / spread**2
        j = int(np.where(available, gain, -np.inf).argmax())
        available[j] = False
        chosen.append(candidates[j])
        step, row = surprise[j] / spread[j], among[j].copy()
        residual = residual - at_targets[:, [j]] * step
        surprise = surprise - row[:, None] * step
        at_targets = at_targets - np.outer(at_targets[:, j], row / spread[j])
        among = among - np.outer(row, row / spread[j])
    return np.array(chosen, dtype=np.int64)


def forest_r2(
    image: Float[np.ndarray, "rows cols"], values: Float[np.ndarray, "n p"], seed: int
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Mean squared error and variance of each column over all pixels, predicted by a random forest from the 9 x 9 patch alone.

    The film is divided into 5 x 5 blocks in five folds, and each pixel is predicted from the other folds: neighbouring pixels
    share most of their patches and must not lie in training and test set.
    """
    padded = np.pad(image, WINDOW_PX // 2, mode="reflect")
    patches = sliding_window_view(padded, (WINDOW_PX, WINDOW_PX)).reshape(image.size, -1).astype(np.float32)
    folds = blocked_folds(image.shape, seed)
    predicted = np.empty_like(values)
    for fold in range(FOLDS):
        training = folds != fold
        forest = RandomForestRegressor(
            _TREES,
            min_samples_leaf=_LEAF,
            max_features=_FEATURES,
            random_state=np.random.default_rng([seed, fold]).integers(2**31),
        )
        predicted[~training] = forest.fit(patches[training], values[training]).predict(patches[~training])
    return ((values - predicted) ** 2).mean(axis=0), values.var(axis=0)


def blocked_folds(shape: tuple[int, int], seed: int) -> Int[np.ndarray, " n"]:
    """Fold of each pixel in raster order; square blocks are assigned at random, equally many to each fold."""
    fold_of_block = np.random.default_rng(seed).permutation(np.arange(BLOCKS_PER_SIDE**2) % FOLDS).reshape(BLOCKS_PER_SIDE, -1)
    row, col = (np.arange(side) * BLOCKS_PER_SIDE // side for side in shape)
    return np.asarray(fold_of_block[np.ix_(row, col)].ravel())

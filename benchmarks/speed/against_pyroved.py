"""CPU time of the agent's models and of pyroVED, configuration by configuration, at equal held-out ELBO per pixel.

Both use the same training and held-out patches, with one thread per process. pyroVED is timed over a few epochs after a warm-up,
and the time is extrapolated to 1000 epochs. A few configurations run all epochs, which checks the extrapolation and yields the
ELBO to be reached. If the agent's models do not reach it with the default steps, they are trained for more steps, and that time
counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.model import Config
from benchmarks.harness import engine
from benchmarks.harness.commandline import Journal
from benchmarks.speed.pyroved_peer import EPOCHS, train_pyroved

Key = tuple[str, int]  # invariance and window
FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # multiples of the default steps, tried in turn if the default is too short
JUDGE_EVERY = 20  # epochs


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one model of a configuration, ours and pyroVED's, and our held-out ELBO per pixel (median of the seeds)."""

    ours_s: float
    ours_elbo: float
    pyroved_s: float


@dataclass(frozen=True)
class Equal:
    """Comparison at equal ELBO for one configuration.

    Parameters
    ----------
    pyroved_elbo, epochs
        Final held-out ELBO per pixel of pyroVED, and its number of epochs.
    pyroved_measured_s, pyroved_multiplied_s
        CPU seconds of these epochs, measured, and extrapolated from the few timed ones.
    pyroved_epochs_to_ours
        Epochs after which pyroVED first reached the ELBO of our models at the default steps; None if it never did.
    ours_elbo
        Held-out ELBO per pixel of our models at `factor` times the default steps.
    factor
        Smallest tried multiple of the default steps at which our models reach `pyroved_elbo`, or the largest tried.
    ours_factor_s
        Ratio of our CPU seconds at these steps to those at the default steps.
    reached
        Whether our models reach `pyroved_elbo`.
    share
        Share of pyroVED's epochs that counts: 1 if our models reach its ELBO, else the share after which it first reached ours.
    """

    pyroved_elbo: float
    epochs: int
    pyroved_measured_s: float
    pyroved_multiplied_s: float
    pyroved_epochs_to_ours: int | None
    ours_elbo: float
    factor: float
    ours_factor_s: float
    reached: bool
    share: float


def costs(
    prepared: engine.Prepared, config: Config, windows_px: Sequence[int], epochs: int, journal: Journal, workers: int
) -> dict[Key, Cost]:
    """CPU seconds of both sides for each window and invariance of `config`; pyroVED's are extrapolated from `epochs` epochs."""
    keys = [(invariance, window) for window in windows_px for invariance in config.search.invariances]
    seeds = tuple(range(config.search.seeds))
    ours = journal.all_once(
        {f"our {_name(k)}": (engine.train_one, (prepared, config, k[1], k[0], seeds), {}) for k in keys}, workers
    )
    theirs = journal.all_once(
        {f"pyroVED {_name(k)}": (train_pyroved, _arguments(prepared, k), {"epochs": 1 + epochs}) for k in keys},
        workers,
        fresh=True,
    )
    return {
        k: Cost(
            ours_s=ours[f"our {_name(k)}"]["cpu_s"] / len(seeds),
            ours_elbo=_median(ours[f"our {_name(k)}"]),
            pyroved_s=theirs[f"pyroVED {_name(k)}"]["epoch_cpu_s"] * EPOCHS,
        )
        for k in keys
    }


def equals(
    prepared: engine.Prepared,
    config: Config,
    cost: Mapping[Key, Cost],
    keys: Sequence[Key],
    epochs: int,
    limit_s: float,
    journal: Journal,
    workers: int,
) -> dict[Key, Equal]:
    """Comparison at equal ELBO for the configurations `keys`; pyroVED runs `epochs` epochs, or until `limit_s` has passed."""
    options = {"epochs": epochs, "judge_every": JUDGE_EVERY, "time_limit_s": limit_s}
    finished = journal.all_once(
        {f"pyroVED {_name(k)} to the end": (train_pyroved, _arguments(prepared, k), options) for k in keys}, workers, fresh=True
    )
    return {k: _equal(prepared, config, k, cost[k], finished[f"pyroVED {_name(k)} to the end"], journal) for k in keys}


def _equal(prepared: engine.Prepared, config: Config, key: Key, cost: Cost, theirs: Mapping[str, Any], journal: Journal) -> Equal:
    target = theirs["curve"][-1][1]
    elbo, factor, cost_ratio = cost.ours_elbo, 1.0, 1.0
    seeds = tuple(range(config.search.seeds))
    for more in FACTORS:
        if elbo >= target:
            break
        steps = round(more * config.train.steps)
        longer = config.model_copy(update={"train": config.train.model_copy(update={"steps": steps})})
        unit = f"our {_name(key)}, {steps} steps"
        ours = journal.all_once({unit: (engine.train_one, (prepared, longer, key[1], key[0], seeds), {})}, 1)[unit]
        elbo, factor, cost_ratio = _median(ours), more, ours["cpu_s"] / len(seeds) / cost.ours_s
    reached = elbo >= target
    at_ours = next((int(epoch) for epoch, value, _ in theirs["curve"] if value >= cost.ours_elbo), None)
    at_longest = next((epoch for epoch, value, _ in theirs["curve"] if value >= elbo), theirs["epochs"])
    return Equal(
        pyroved_elbo=target,
        epochs=theirs["epochs"],
        pyroved_measured_s=theirs["cpu_s"],
        pyroved_multiplied_s=cost.pyroved_s * theirs["epochs"] / EPOCHS,
        pyroved_epochs_to_ours=at_ours,
        ours_elbo=elbo,
        factor=factor,
        ours_factor_s=cost_ratio,
        reached=reached,
        share=1.0 if reached else at_longest / theirs["epochs"],
    )


def over_all_windows(cost: Mapping[Key, Cost], windows_px: Sequence[int]) -> dict[Key, Cost]:
    """Costs of all windows; those that were not measured are interpolated linearly in window²."""
    out: dict[Key, Cost] = {}
    for invariance in dict.fromkeys(k[0] for k in cost):
        known = {w: c for (i, w), c in cost.items() if i == invariance}
        area = np.array([w**2 for w in known], dtype=float)
        fits = [np.polyfit(area, [getattr(c, side) for c in known.values()], 1) for side in ("ours_s", "pyroved_s")]
        for w in windows_px:
            ours, theirs = (max(float(np.polyval(fit, w**2)), 0.0) for fit in fits)
            out[invariance, w] = known.get(w) or Cost(ours, float("nan"), theirs)
    return out


def ratio(cost: Mapping[Key, Cost], equal: Mapping[Key, Equal]) -> float:
    """Ratio of the CPU seconds of pyroVED and ours at equal ELBO, summed over all configurations.

    If equal ELBO was not measured for a configuration, the factors of the nearest measured window are used, of the same
    invariance if possible.
    """
    ours = theirs = 0.0
    for key, c in cost.items():
        nearest = min(equal, key=lambda k: (k[0] != key[0], abs(k[1] - key[1])), default=None)
        ours += c.ours_s * (equal[nearest].ours_factor_s if nearest else 1.0)
        theirs += c.pyroved_s * (equal[nearest].share if nearest else 1.0)
    return theirs / ours


def _arguments(prepared: engine.Prepared, key: Key) -> tuple[np.ndarray, np.ndarray, str]:
    return prepared.patches(key[1]), prepared.held_out, key[0]


def _name(key: Key) -> str:
    return f"{key[0]}-w{key[1]}"


def _median(trained: Mapping[str, Any]) -> float:
    """Median over the seeds of the ELBO per pixel; a stuck seed does not count, since the search has others."""
    return float(np.median(trained["elbo_per_px"]))

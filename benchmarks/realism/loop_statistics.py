"""Are simulated hysteresis loops like real ones?

`python -m benchmarks.realism.loop_statistics [--quick] [--seeds 0] --out DIR` computes the same statistics, with the same code,
for loops of three PbTiO3 films (PyPI package mexpsimu; `make reference` fetches it) and for simulated loops with the bias range
and steps of the films.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.harness.commandline import CannotRunError, parser, run
from benchmarks.harness.outcome import Outcome, write
from simulators.errors import FailedLoopError
from simulators.physics.spectroscopy import Loop, SpectroscopyConfig, branch_of, loop_parameters, record_loop
from simulators.sample.domains import WALL_TYPES, Truth
from simulators.tiers import TIERS

NAMES = ("1d3um", "1d7um", "3um")
FILMS = Path(sys.prefix) / "reference" / "mexpsimu" / "data"  # where `make reference` puts them
LOOPS, QUICK_LOOPS = 2500, 500
CYCLE = 1  # the second: the first starts from an unknown state of the sample
PARAMETERS = ("coercive_plus_V", "coercive_minus_V", "width_V", "imprint_V")
REASONS = {"no hysteresis": "no hysteresis", "never crosses": "not switched", "is closed": "closed"}
_SPIKE = 5.0  # times the noise, and
_SPIKE_SHARE = 0.25  # of the height
_DWELL = 0.5  # slope of a plateau relative to the weaker step on either side of it


def main() -> None:
    """Compare all films with their simulations and write `loop_statistics.json` and `loop_statistics.md`."""
    options = parser(__doc__, "0")
    options.add_argument("--data", type=Path, default=FILMS, help="folder of the package's .npz files (default %(default)s)")
    arguments = options.parse_args()
    count = QUICK_LOOPS if arguments.quick else LOOPS
    rows = []
    for name in NAMES:
        rng = np.random.default_rng(arguments.seeds[0])
        loops = real(name, count, rng, arguments.data)
        rows.append({"": f"real, {name}", **describe(loops)})
    for steps, bias_max_V in ((32, 12.0), (64, 12.0), (64, 8.5)):
        config = TIERS["medium"].spectroscopy.model_copy(update={"steps": steps, "bias_max_V": bias_max_V})
        rng = np.random.default_rng(arguments.seeds[0])
        rows.append({"": f"simulated, {steps} steps, {bias_max_V:g} V", **describe(simulated(config, count, rng))})
    write(report(rows, count), arguments.out, arguments.seeds)


def report(rows: Sequence[dict[str, object]], count: int) -> Outcome:
    """Transposed table with one row for each statistic."""
    table = [{"statistic": key, **{str(row[""]): row[key] for row in rows}} for key in rows[0] if key]
    return Outcome(
        name="loop_statistics",
        title="Are simulated hysteresis loops like real ones?",
        figures={},
        details={"loops": count, "columns": list(rows)},
        tables={"5th percentile, median and 95th percentile, or share": table},
        notes=[f"{count} loops each. Real loops are second cycles, with the sign that makes most loops of a film upright."],
    )


def real(name: str, count: int, rng: np.random.Generator, folder: Path = FILMS) -> list[Loop]:
    """Loops of a film at random pixels, in arbitrary units.

    Raises
    ------
    CannotRunError
        If the file of the film is missing.
    """
    path = folder / f"PTO_BEPS_{name}.npz"
    if not path.is_file():
        raise CannotRunError(f"{path} is missing; fetch the loops of mexpsimu with: make reference")
    with np.load(path, allow_pickle=False) as data:
        spectra, bias_V = data["spectra"], data["vstep"]
    tops = np.flatnonzero(np.isclose(bias_V, bias_V.max()))
    period = int(tops[1] - tops[0])
    cycles, bias_V = 1e6 * spectra.reshape(-1, len(bias_V))[:, CYCLE * period : (CYCLE + 1) * period], bias_V[:period]
    loops = cycles[rng.choice(len(cycles), count, replace=False)]
    upright = np.sign(np.median(loops[:, bias_V.argmax()] - loops[:, bias_V.argmin()]))
    return [Loop(bias_V, upright * loop) for loop in loops]


def simulated(config: SpectroscopyConfig, count: int, rng: np.random.Generator) -> list[Loop]:
    """Simulated loops, equally many on walls of each type."""
    one = np.ones(1, np.int8)
    return [
        record_loop(Truth(0 * one, one * WALL_TYPES[i % len(WALL_TYPES)], np.zeros(1), one), config, rng) for i in range(count)
    ]


def describe(loops: Sequence[Loop]) -> dict[str, object]:
    """Statistic -> value, or text with 5th percentile, median and 95th percentile."""
    good, failed, found = [], Counter[str](), []
    for loop in loops:
        try:
            found.append(loop_parameters(loop))
            good.append(loop)
        except FailedLoopError as error:
            failed[next(short for words, short in REASONS.items() if words in str(error))] += 1
    out: dict[str, object] = {name: _spread([one[name] for one in found]) for name in PARAMETERS}
    height, noise = np.array([height_of(loop) for loop in good]), np.array([noise_of(loop) for loop in good])
    low, high = np.quantile(height, [0.05, 0.95])
    out["height, 95th / 5th percentile"] = float(high / low)
    out["noise / height"] = _spread(noise / height)
    out["noise grows as height to the power"] = float(np.polyfit(np.log(height), np.log(noise), 1)[0])
    out["loops with spikes"] = float(np.mean([spiked(loop) for loop in good]))
    out["branches in two steps"] = float(np.mean([two_steps(loop, rising=up) for loop in good for up in (True, False)]))
    out["failed"] = 1 - len(good) / len(loops)
    return out | {f"failed: {short}": failed[short] / len(loops) for short in REASONS.values()}


def height_of(loop: Loop) -> float:
    """Difference of the 90th and 10th percentile of the response."""
    low, high = np.quantile(loop.response_pm, [0.1, 0.9])
    return float(high - low)


def noise_of(loop: Loop) -> float:
    """Standard deviation of the noise, from second differences along the cycle."""
    return float(1.4826 * np.median(np.abs(np.diff(loop.response_pm, 2))) / np.sqrt(6))


def spiked(loop: Loop) -> bool:
    """Whether a step lies far above or far below both of its neighbours."""
    neighbours = np.stack([loop.response_pm[:-2], loop.response_pm[2:]])
    here = loop.response_pm[1:-1]
    out = np.maximum(here - neighbours.max(axis=0), neighbours.min(axis=0) - here)
    return bool(out.max() > max(_SPIKE * noise_of(loop), _SPIKE_SHARE * height_of(loop)))


def two_steps(loop: Loop, *, rising: bool) -> bool:
    """Whether the branch has a plateau between two rises, each of at least a fifth of the height.

    On a plateau, the slope is less than half of that of the weaker rise.
    """
    _, response = branch_of(loop, rising=rising)
    share = (response - response.min()) / (np.ptp(response) or 1.0)
    slope = np.diff(_smooth(share))
    for at in range(1, len(slope) - 1):
        weaker = min(slope[:at].max(), slope[at + 1 :].max())
        enough = 0.2 < share[at] < 0.8
        if enough and weaker > 0.12 and slope[at] < _DWELL * weaker:
            return True
    return False


def _smooth(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.convolve(np.pad(share, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")


def _spread(values: Sequence[float] | np.ndarray) -> str:
    low, middle, high = np.quantile(np.asarray(values), [0.05, 0.5, 0.95])
    return f"{low:.2g}, {middle:.2g}, {high:.2g}" if high < 1 else f"{low:.1f}, {middle:.1f}, {high:.1f}"


if __name__ == "__main__":
    run(main)

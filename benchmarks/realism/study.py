"""Does the medium tier look like real scans?

`python -m benchmarks.realism [--quick] [--seeds 100-109] --out DIR` compares the first frames of simulated worlds with five
recorded scans of `../shared/data`, taken at four places of their samples: by eight statistics, and by a classifier that
distinguishes recorded from simulated tiles of 64 x 64 pixels (`benchmarks.realism.classifier`). For comparison, the same
classifier is applied to the clean tier, which is not meant to look like a real scan, and to two families of real samples. Seeds
0-99 are for development.

Pixels are compared as recorded: the pixel sizes of the scans, 4 to 20 nm, lie on both sides of the simulated 10 nm, and
resampling would leave traces in one class. A tile is a sixteenth of a frame of 256 x 256 pixels in both classes, and has no
length scale.

Each finished world is kept in `DIR/realism.jsonl` until the run is complete; the same command continues from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness.agreement import bootstrap_interval
from benchmarks.harness.commandline import CannotRunError, Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.harness.scans import RECORDED
from benchmarks.realism import classifier
from benchmarks.realism.statistics import DART_ONLY, STATISTICS, inside, quarters, statistics_of
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan

TIER, ARTIFICIAL = "medium", "clean"
SCANS = ("scan_0001.ibw", "PZT_final0001.h5", "PZT_final0002.h5", "PTO_Funakubo0001.h5", "PTO_Funakubo0002.h5")
PLACES = (0, 1, 1, 2, 3)  # place of each scan; both PZT_final scans show the same place
DART_SCAN = SCANS[0]
FAMILIES = {"PZT_final and scan_0001": (0, 1), "PTO_Funakubo": (2, 3)}  # places
_PROCESSES = 2
_QUICK_WORLDS, _QUICK_REPEATS, _REPEATS = 5, 1, 3
_FIRST_WORLD = 100  # group number of the first simulated world; smaller numbers are places
_SHOWN = 15
_NOTES = (
    "classifier_auc is the area of the better of the two models, averaged over folds; 0.5 means indistinguishable.",
    "Its interval is a percentile bootstrap over the folds, each of which leaves one of only four real places out.",
    "families_auc distinguishes two families of real samples; below 0.5, a place resembles the other family more than its own.",
    "halves: one half of a scan is for training, the other for testing. Single scans are then recognised, which is easy.",
    "Q and detuning_rms come from the only DART scan; their range is that of its quarters.",
    "Real ranges differ from those of an earlier table (CV 0.47-0.76, noise 0.03-0.05), whose code is not available.",
)


@dataclass(frozen=True)
class Frame:
    """Data kept of one frame.

    Parameters
    ----------
    tiles
        Features of each tile, see `classifier.describe`.
    statistics
        Statistics of the frame, see `statistics_of`.
    """

    tiles: list[dict[str, float]]
    statistics: dict[str, float]

    @property
    def features(self) -> np.ndarray:
        """Features as an array, one row for each tile."""
        return np.array([list(tile.values()) for tile in self.tiles])


def main() -> None:
    """Run all worlds and write `realism.json` and `realism.md`."""
    arguments = parser(__doc__, "100-109").parse_args()
    if not RECORDED.is_dir():
        raise CannotRunError(f"the recorded scans are missing: {RECORDED} does not exist")
    seeds = arguments.seeds[: _QUICK_WORLDS if arguments.quick else None]
    if len(seeds) < len(set(PLACES)):
        raise CannotRunError(f"--seeds gives {len(seeds)} worlds; give at least {len(set(PLACES))}, the number of real places")
    journal = Journal(arguments.out / "realism.jsonl", {"quick": arguments.quick, "seeds": list(seeds)})
    tasks: dict[str, Task] = {f"{tier}, world {s}": (simulated, (tier, s), {}) for tier in (TIER, ARTIFICIAL) for s in seeds}
    done = {name: Frame(**one) for name, one in journal.all_once(tasks, _PROCESSES).items()}
    worlds = {tier: [done[f"{tier}, world {seed}"] for seed in seeds] for tier in (TIER, ARTIFICIAL)}
    scans = [read_scan(RECORDED / name) for name in SCANS]
    real = [_frame_of(scan) for scan in scans]
    write(report(real, quarters(scans[0]), worlds, quick=arguments.quick), arguments.out, seeds)
    journal.finish()


def simulated(tier: str, seed: int) -> dict[str, Any]:
    """First frame of a world, as the fields of `Frame`."""
    from simulators.clock import SimulatedClock
    from simulators.mfp3d import SimulatedMFP3D
    from simulators.tiers import tier as settings

    return vars(_frame_of(SimulatedMFP3D(settings(tier, seed), clock=SimulatedClock(None)).scan()))


def report(
    real: Sequence[Frame], real_quarters: Sequence[Mapping[str, float]], worlds: Mapping[str, Sequence[Frame]], *, quick: bool
) -> Outcome:
    """Figures, intervals and tables."""
    repeats = _QUICK_REPEATS if quick else _REPEATS
    rng = np.random.default_rng(0)
    sets = comparisons(real, worlds)
    areas = {name: classifier.areas(tiles, rng, repeats) for name, tiles in sets.items()}
    of_real = real_values(real, real_quarters)
    of_tier = {part: [world.statistics[part] for world in worlds[TIER]] for part in of_real}
    verdicts = inside(of_real, of_tier)
    importances = classifier.importances(sets[TIER], rng, list(real[0].tiles[0]), repeats)
    stronger = {name: max(one, key=lambda model: np.mean(one[model])) for name, one in areas.items()}
    auc = {name: float(np.mean(one[stronger[name]])) for name, one in areas.items()}
    by_place = np.reshape(areas[TIER][stronger[TIER]], (repeats, -1)).mean(axis=0)
    low, high = bootstrap_interval(list(by_place))
    figures: dict[str, float | None] = {
        "classifier_auc": auc[TIER],
        "classifier_auc_low": low,
        "classifier_auc_high": high,
        "statistics_inside_of_8": float(sum(verdicts.values())),
        "classifier_auc_clean": auc[ARTIFICIAL],
        "classifier_auc_halves": auc[f"{TIER}, halves"],
        "families_auc": auc["families"],
        "families_auc_halves": auc["families, halves"],
    }
    return Outcome(
        name="realism",
        title="Does the medium tier look like real scans?",
        figures=figures,
        details={
            "quick": quick,
            "areas": areas,
            "stronger": stronger,
            "inside": verdicts,
            "real": of_real,
            TIER: of_tier,
            ARTIFICIAL: {part: [world.statistics[part] for world in worlds[ARTIFICIAL]] for part in of_real},
            "importances": importances,
        },
        tables={
            "Statistics": statistics_rows(of_real, of_tier),
            "Classifier": classifier_rows(areas),
            "Most important features of the trees": [
                {"feature": name, "area lost when shuffled": lost} for name, lost in list(importances.items())[:_SHOWN]
            ],
        },
        notes=[*_NOTES, f"Quick: {_QUICK_WORLDS} worlds, one partition into folds."] if quick else _NOTES,
    )


def comparisons(real: Sequence[Frame], worlds: Mapping[str, Sequence[Frame]]) -> dict[str, classifier.Tiles]:
    """Name of a comparison -> tiles of the two classes."""
    of_real = list(zip(real, PLACES, strict=True))
    first, second = ([(frame, place) for frame, place in of_real if place in own] for own in FAMILIES.values())
    of_tiers = {tier: [(frame, _FIRST_WORLD + n) for n, frame in enumerate(frames)] for tier, frames in worlds.items()}
    out = {tier: _tiles(of_real, frames) for tier, frames in of_tiers.items()}
    out[f"{TIER}, halves"] = _tiles(of_real, of_tiers[TIER], halves=True)
    return out | {"families": _tiles(first, second), "families, halves": _tiles(first, second, halves=True)}


def real_values(real: Sequence[Frame], real_quarters: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Part of a statistic -> values of the real scans."""
    parts = [part for parts in STATISTICS.values() for part in parts]
    return {
        part: [one[part] for one in real_quarters] if part in DART_ONLY else [frame.statistics[part] for frame in real]
        for part in parts
    }


def statistics_rows(real: Mapping[str, Sequence[float]], tier: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """One row for each part of a statistic."""
    return [
        {
            "statistic": part,
            "real, median": float(np.median(values)),
            "real, range": f"{min(values):.3f} to {max(values):.3f}",
            f"{TIER}, median": float(np.median(tier[part])),
            f"{TIER}, range": f"{min(tier[part]):.3f} to {max(tier[part]):.3f}",
            "median inside": "yes" if min(values) <= np.median(tier[part]) <= max(values) else "no",
        }
        for part, values in real.items()
    ]


def classifier_rows(areas: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """One row for each comparison."""
    against = {TIER: "real against medium", ARTIFICIAL: "real against clean", f"{TIER}, halves": "real against medium, halves"}
    return [
        {"comparison": against.get(name, name)}
        | {f"AUC, {model}": float(np.mean(values)) for model, values in one.items()}
        | {"folds, trees": f"{min(one['trees']):.2f} to {max(one['trees']):.2f}"}
        for name, one in areas.items()
    ]


def _tiles(
    positive: Iterable[tuple[Frame, int]], negative: Iterable[tuple[Frame, int]], *, halves: bool = False
) -> classifier.Tiles:
    features, groups, classes = [], [], []
    for side, frames in ((True, positive), (False, negative)):
        for frame, group in frames:
            half = classifier.halves(len(frame.tiles))
            kept = half >= 0 if halves else np.ones(len(half), bool)
            features.append(frame.features[kept])
            groups.append(2 * group + half[kept] if halves else np.full(len(half), group))
            classes.append(np.full(int(kept.sum()), side))
    return classifier.Tiles(np.concatenate(features), np.concatenate(groups), np.concatenate(classes))


def _frame_of(scan: Scan) -> Frame:
    tiles = classifier.cut(scan.channels[scan.find_channel()])
    return Frame([classifier.describe(tile) for tile in tiles], statistics_of(scan))


if __name__ == "__main__":
    run(main)

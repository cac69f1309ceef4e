"""Are the same types found in a scan with fewer lines, and in one with hot pixels?

`python -m benchmarks.recovery.pixels [--seeds 0-1] --out DIR` decides on a recorded scan (where ../shared/data is present) and on
worlds of the tiers clean and easy: as they are, with every second, fourth and eighth line, and with 1, 10 and 0.1 % of the pixels
at 200 nm. Each is decided on by the present rules and by the first ones (`scan.rules = 1`), which took all pixels for square and
kept hot ones; for the latter the quality gate is switched off, since it refuses most of these scans. Only the plain family polar
is searched, with windows of 15 and 21 px, since it is what the default search chooses on these scans.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.errors import UnusableScanError
from agent.schema.decision import Decision
from agent.workers.factory import workers_for
from benchmarks.harness.agreement import adjusted_rand
from benchmarks.harness.commandline import Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.harness.scans import RECORDED
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.dart import DartRecording
from simulators.sample.surface import Surface
from simulators.tiers import tier

_SEARCH = {"families": ["polar"], "windows_px": [15, 21], "seeds": 2, "workers": 0}
_RULES = {
    "present": Config.model_validate({"search": _SEARCH}),
    "first": Config.model_validate({"search": _SEARCH, "scan": {"rules": 1}, "quality": {"enabled": False}}),
}
_HOT_M = 200e-9
_SAME_PLACE_M = 100e-9  # five pixels of these scans, the spacing of key points


@dataclass(frozen=True, eq=False)
class _Truth:
    """What the simulator knows of a scan: the surface, and where the tip was at each pixel."""

    scan: Scan
    surface: Surface
    recording: DartRecording

    def types(self, xy_m: np.ndarray) -> np.ndarray:
        frame = self.scan.frame
        rc = np.clip(np.rint(frame.to_pixels(xy_m)).astype(int), 0, [frame.rows - 1, frame.cols - 1])
        return self.surface.truth_at(self.recording.true_xy_m[tuple(rc.T)]).wall.astype(int)


def main() -> None:
    """Run all scans and write `pixels.json` and `pixels.md`."""
    arguments = parser(__doc__, "0-1").parse_args()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    journal = Journal(arguments.out / "pixels.jsonl", {"seeds": list(seeds)})
    tasks: dict[str, Task] = {f"{name} {seed}": (world, (name, seed), {}) for name in ("clean", "easy") for seed in seeds}
    if (RECORDED / "scan_0001.ibw").exists():
        tasks = {"recorded scan_0001": (recorded, (), {}), **tasks}
    done = journal.all_once(tasks, 1)
    write(report(done), arguments.out, seeds)
    journal.finish()


def recorded() -> list[dict[str, Any]]:
    """Rows of the recorded scan, without a truth."""
    return _rows(read_scan(RECORDED / "scan_0001.ibw"), None)


def world(name: str, seed: int) -> list[dict[str, Any]]:
    """Rows of the first scan of a simulated world."""
    instrument = SimulatedMFP3D(tier(name, seed), clock=SimulatedClock(None))
    scan = instrument.scan()
    assert instrument.last_recording is not None
    return _rows(scan, _Truth(scan, instrument.surface, instrument.last_recording))


def every(scan: Scan, step: int) -> Scan:
    """Every `step`-th line of a scan that is not rotated and lies about its frame's centre."""
    channels = {name: np.ascontiguousarray(image[::step]) for name, image in scan.channels.items()}
    kept = np.arange(0, scan.frame.rows, step)
    middle = scan.frame.to_metres(np.array([[kept[-1] / 2, (scan.frame.cols - 1) / 2]]))[0]
    changes = {
        "rows": len(kept),
        "size_slow_m": float(kept[-1] * scan.frame.pitch_m[0]),
        "x_offset_m": float(middle[0]),
        "y_offset_m": float(middle[1]),
    }
    return replace(scan, channels=channels, frame=scan.frame.model_copy(update=changes))


def hot(scan: Scan, pixels: int) -> Scan:
    """The scan with this many pixels of its amplitude at 200 nm."""
    name = scan.find_channel()
    image = scan.channels[name].copy()
    image.flat[np.random.default_rng(0).choice(image.size, pixels, replace=False)] = _HOT_M
    return replace(scan, channels={**scan.channels, name: image})


def _rows(scan: Scan, truth: _Truth | None) -> list[dict[str, Any]]:
    cases: Mapping[str, Scan] = {
        "as it is": scan,
        **{f"every {n} lines": every(scan, n) for n in (2, 4, 8)},
        **{f"{n} hot pixels": hot(scan, n) for n in (1, 10, 65)},
    }
    whole = _decided(scan, _RULES["present"])
    rows = []
    for case, spoiled in cases.items():
        row: dict[str, Any] = {"case": case}
        for rules, config in _RULES.items():
            decision = _decided(spoiled, config)
            types = len(decision.record.clusters) if decision else 0
            row |= {f"types, {rules} rules": types, f"ARI to whole, {rules}": _agreement(decision, whole)}
            if truth is not None:
                row[f"ARI to truth, {rules}"] = _recovered(decision, truth)
        rows.append(row)
    return rows


def _decided(scan: Scan, config: Config) -> Decision | None:
    try:
        with workers_for(0) as workers:
            return Agent(config, workers).decide(DecisionInputs(scan))
    except UnusableScanError:
        return None


def _labelled(decision: Decision) -> tuple[np.ndarray, np.ndarray]:
    points = decision.arrays["points_rc"]
    labels = decision.arrays.get("labels", np.zeros(len(points), int))
    return decision.record.analysed_frame.to_metres(points.astype(np.float64)), labels


def _agreement(decision: Decision | None, whole: Decision | None) -> float:
    if decision is None or whole is None:
        return 0.0
    (here, labels), (there, others) = _labelled(decision), _labelled(whole)
    distance, nearest = cKDTree(there).query(here)
    near = distance <= _SAME_PLACE_M
    return adjusted_rand(labels[near], others[nearest[near]])


def _recovered(decision: Decision | None, truth: _Truth) -> float:
    if decision is None:
        return 0.0
    xy, labels = _labelled(decision)
    return adjusted_rand(labels, truth.types(xy))


def report(done: Mapping[str, Sequence[Mapping[str, Any]]]) -> Outcome:
    """Figures and tables from the finished scans."""
    figures: dict[str, float | None] = {}
    cases = [row["case"] for row in next(iter(done.values()))]
    for case in cases:
        rows = [row for scans in done.values() for row in scans if row["case"] == case]
        for what in ("ARI to whole", "ARI to truth"):
            for rules in _RULES:
                values = [row[f"{what}, {rules}"] for row in rows if f"{what}, {rules}" in row]
                figures[f"{case}, {what}, {rules} rules"] = float(np.mean(values)) if values else None
    return Outcome(
        name="pixels",
        title="Are the same types found with fewer lines, and with hot pixels?",
        figures=figures,
        details={"scans": {name: list(rows) for name, rows in done.items()}},
        tables={name: [dict(row) for row in rows] for name, rows in done.items()},
        notes=[
            "ARI to whole: clusters against those of the whole scan by the present rules, at key points within 100 nm.",
            "First rules: all pixels are taken for square and hot ones are kept; the quality gate is off.",
            "Types of 0: the scan was refused. Means over all scans.",
        ],
        missing={name: "no simulated world was run" for name, value in figures.items() if value is None},
    )


if __name__ == "__main__":
    run(main)

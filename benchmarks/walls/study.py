"""Precision and recall of the walls that each key-point method finds, by type of wall.

`python -m benchmarks.walls [--quick] [--tiers clean,easy] [--seeds 100-109] --out DIR` detects walls in the first scan of each
world, before any thinning. Precision is the share of the detected pixels within 15 nm of a true wall, at the true position of the
tip; recall is the share of the true walls, away from the border, with a detected pixel within 30 nm. Seeds 0-99 are for
development.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from agent.config.model import Config
from agent.preprocessing.channels import Response, response_of, stack_channels
from agent.preprocessing.keypoints import canny_walls, sato_ridges, vector_walls
from agent.preprocessing.line_artifacts import level_lines
from benchmarks.harness.commandline import CONSOLE, parser
from benchmarks.harness.outcome import Outcome, write
from benchmarks.harness.worlds import World, scan_world
from simulators.sample.domains import WALL_TYPES
from simulators.tiers import GRADED

ON_WALL_M, FOUND_M = 15e-9, 30e-9
BORDER_PX = 11
_LEAST_WALL = 50  # grid points of a type of wall, below which its recall is left out
_QUICK_WORLDS = 2
_NOTE = (
    "Precision: share of the detected pixels within 15 nm of a true wall (a pixel is 20 nm), in all and by type of the nearest "
    "wall. Recall: share of the true walls of a type with a detected pixel within 30 nm. Both before key points are thinned, "
    "without 11 pixels at the border; means over worlds."
)

Method = Callable[[World], Float[np.ndarray, "n 2"]]


def main() -> None:
    """Detect walls in all worlds and write `walls.json` and `walls.md`."""
    options = parser(__doc__, "100-109")
    options.add_argument("--tiers", type=lambda text: tuple(text.split(",")), default=GRADED, help="separated by commas")
    arguments = options.parse_args()
    seeds = arguments.seeds[:_QUICK_WORLDS] if arguments.quick else arguments.seeds
    rows = []
    for tier in arguments.tiers:
        worlds = []
        for seed in seeds:
            worlds.append(scan_world(tier, seed, Config().with_search(families=("polar",))))
            CONSOLE.print(f"{tier} {seed}", highlight=False)
        rows += [row(tier, name, method, worlds) for name, method in METHODS.items()]
    write(as_outcome(rows), arguments.out, seeds)


def row(tier: str, name: str, method: Method, worlds: Sequence[World]) -> dict[str, Any]:
    """Means over the worlds of one tier: number of pixels, precision and recall, in all and by type, and CPU time."""
    started = time.process_time()
    found = [inside(method(world), world) for world in worlds]
    cpu_s = (time.process_time() - started) / len(worlds)
    precisions = [precision(points, world) for points, world in zip(found, worlds, strict=True)]
    recalls = [recall(points, world) for points, world in zip(found, worlds, strict=True)]
    by_type = {wall.name.lower(): _mean([one.get(wall) for one in recalls]) for wall in WALL_TYPES}
    return {
        "tier": tier,
        "method": name,
        "pixels": round(float(np.mean([len(points) for points in found]))),
        "precision": _mean([one[0] for one in precisions]),
        **{f"precision {wall.name.lower()}": _mean([one[1].get(wall) for one in precisions]) for wall in WALL_TYPES},
        **{f"recall {kind}": value for kind, value in by_type.items()},
        "least recall": min((value for value in by_type.values() if value is not None), default=None),
        "cpu_ms": round(1000 * cpu_s),
    }


def precision(points_rc: Float[np.ndarray, "n 2"], world: World) -> tuple[float, Mapping[Any, float]]:
    """Share of the points on a wall, in all and by the type of the nearest wall."""
    truth = world.surface.truth_at(true_positions(points_rc, world))
    on_wall = truth.distance_m <= ON_WALL_M
    kinds = {wall: float(on_wall[truth.wall == wall].mean()) for wall in WALL_TYPES if (truth.wall == wall).any()}
    return float(on_wall.mean()), kinds


def recall(points_rc: Float[np.ndarray, "n 2"], world: World) -> Mapping[Any, float]:
    """Share of the true walls of each type beside which a point was found; types of little wall are left out."""
    surface = world.surface
    grid_rc = np.argwhere(surface.walls != 0)
    kinds, positions = surface.walls[tuple(grid_rc.T)], surface.config.square.to_metres(grid_rc.astype(np.float64))
    seen = world.recording.true_xy_m
    margin_m = BORDER_PX * world.scan.frame.pitch_m[1]
    low, high = seen.reshape(-1, 2).min(axis=0) + margin_m, seen.reshape(-1, 2).max(axis=0) - margin_m
    within = ((positions > low) & (positions < high)).all(axis=1)
    kinds, positions = kinds[within], positions[within]
    distance = cKDTree(true_positions(points_rc, world)).query(positions)[0]
    return {
        wall: float((distance[kinds == wall] <= FOUND_M).mean()) for wall in WALL_TYPES if (kinds == wall).sum() >= _LEAST_WALL
    }


def true_positions(points_rc: Float[np.ndarray, "n 2"], world: World) -> Float[np.ndarray, "n 2"]:
    """True positions of the tip at pixel coordinates, which may be fractional, in metres."""
    seen = world.recording.true_xy_m
    at = np.asarray(points_rc, dtype=np.float64).T
    return np.stack([map_coordinates(seen[..., axis], at, order=1, mode="nearest") for axis in (0, 1)], axis=1)


def inside(points_rc: Float[np.ndarray, "n 2"], world: World) -> Float[np.ndarray, "n 2"]:
    """The points whose window does not touch the border."""
    last = np.array(world.prepared.valid.shape) - BORDER_PX
    return points_rc[((points_rc >= BORDER_PX) & (points_rc < last)).all(axis=1)]


def _response(world: World, *, with_phase: bool) -> Response:
    channel = world.prepared.channel
    image = stack_channels(world.scan, channel, "auto" if with_phase else "amplitude").image
    return response_of(world.scan, channel, image, with_phase=with_phase)


def _walls(world: World, *, with_phase: bool) -> Int[np.ndarray, "n 2"]:
    return vector_walls(_response(world, with_phase=with_phase), rng=np.random.default_rng(0)).pixels_rc


def _positions(world: World) -> Float[np.ndarray, "n 2"]:
    return vector_walls(_response(world, with_phase=True), rng=np.random.default_rng(0)).positions_rc


def _of_amplitude(method: Callable[..., Int[np.ndarray, "n 2"]], world: World) -> Int[np.ndarray, "n 2"]:
    amplitude = next(iter(world.prepared.stacks.values()))[0]
    return method(level_lines(amplitude).clip(0, 1), rng=np.random.default_rng(0))


METHODS: Mapping[str, Method] = {
    "walls (pixels)": lambda world: _walls(world, with_phase=True),
    "walls (positions)": _positions,
    "walls, amplitude alone": lambda world: _walls(world, with_phase=False),
    "canny_walls (amplitude)": lambda world: _of_amplitude(canny_walls, world),
    "sato_ridges (amplitude)": lambda world: _of_amplitude(sato_ridges, world),
}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def as_outcome(rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """Tables of precision and of recall by type, and the figures of the default method."""
    default = [one for one in rows if one["method"] == "walls (pixels)"]
    tables = {}
    for what in ("precision", "recall"):
        columns = [key for key in rows[0] if key.startswith(f"{what} ")]
        extra = ["pixels", "precision", "cpu_ms"] if what == "precision" else ["least recall"]
        tables[what.capitalize()] = [
            {"tier": one["tier"], "method": one["method"]}
            | {key: one[key] for key in extra}
            | {key.removeprefix(f"{what} "): one[key] for key in columns}
            for one in rows
        ]
    figures = {f"{one['tier']}_precision": one["precision"] for one in default}
    figures |= {f"{one['tier']}_least_recall": one["least recall"] for one in default}
    return Outcome(
        name="walls",
        title="Walls found, and missed",
        figures=figures,
        details={"rows": list(rows)},
        tables=tables,
        notes=[_NOTE],
    )

"""Policies that choose where the next loop is measured: each is a generator of commanded positions (x, y).

A position that the instrument refuses (closer to a measured one than the spacing) is skipped and costs nothing. Policies that use
images record a new scan after every 50 loops, since the sample drifts; the others never do.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.errors import UnusableScanError
from agent.preprocessing.patches import cut_patches
from agent.schema.decision import Decision
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.prepared_scan import prepare_scan
from agent.workers.factory import workers_for
from benchmarks.harness.worlds import WINDOW_PX
from benchmarks.loop.microscope import Bench
from benchmarks.loop.policies import kmeans_places
from instrument_adapters.protocol.messages import MeasurementRequest

BATCH = 50
GRID_LINES = 18  # 324 nodes, 139 nm apart
DECISION_S = 60.0  # simulated time of each decision of the agent
RANDOM, GRID = "random", "grid, coarse to fine"
KMEANS, AGENT, ORACLE = "k-means cores, K known", "the agent", "oracle"
ONCE, KNOWN = "the agent, first decision only", "the agent, first decision only, drift known"
POLICIES = (RANDOM, GRID, KMEANS, AGENT, ONCE, KNOWN, ORACLE)
_ORACLE_PLACES = 1500  # points of each type, enough to choose from
_CLEAR_M = 12e-9  # the oracle prefers walls that have no other type within this distance

Places = Iterator[Float[np.ndarray, " 2"]]
Policy = Callable[[Bench], Places]


def policies(first: Decision, config: Config, seed: int) -> Mapping[str, Policy]:
    """All policies of a world; those of the agent start with the same decision."""

    def rng(name: str) -> np.random.Generator:
        return np.random.default_rng([seed, POLICIES.index(name)])

    return {
        RANDOM: partial(random, rng=rng(RANDOM)),
        GRID: partial(grid, rng=rng(GRID)),
        KMEANS: partial(k_means, config=config, rng=rng(KMEANS)),
        AGENT: partial(agent, first=first, config=config),
        ONCE: partial(decided_once, first=first),
        KNOWN: partial(drift_known, first=first),
        ORACLE: partial(oracle, rng=rng(ORACLE)),
    }


def random(bench: Bench, rng: np.random.Generator) -> Places:
    """Random positions in the frame."""
    last = np.array(_shape(bench)) - 1
    while True:
        yield bench.scan.frame.to_metres(rng.uniform(0, last, (1, 2)))[0]


def grid(bench: Bench, rng: np.random.Generator) -> Places:
    """A square grid, randomly shifted within a fifth of a cell; each node is the farthest from the previous ones.

    Line by line, it would take longer to reach every type, since types lie in superdomains.
    """
    cell = np.array(_shape(bench)) / GRID_LINES
    nodes = np.argwhere(np.ones((GRID_LINES, GRID_LINES), bool)) + rng.uniform(0.4, 0.6, 2)
    xy = bench.scan.frame.to_metres(nodes * cell - 0.5)
    distance = np.hypot(*(xy - xy.mean(axis=0)).T)
    at = int(distance.argmin())
    distance[:] = np.inf
    for _ in range(len(xy)):
        yield xy[at]
        distance = np.minimum(distance, np.hypot(*(xy - xy[at]).T))
        at = int(distance.argmax())


def k_means(bench: Bench, config: Config, rng: np.random.Generator) -> Places:
    """Key points close to the k-means centres of amplitude patches, from each cluster in turn; the number of types is known."""
    while True:
        prepared = prepare_scan(bench.scan, config)
        (found,) = prepared.keypoints.values()
        patches = cut_patches(prepared.stacks[prepared.vae_modes[0]], found.points_rc, WINDOW_PX)
        with threadpool_limits(1):
            rows = kmeans_places(patches.reshape(len(patches), -1), len(patches), config.recommend, rng)
        if not (yield from _batch(bench, bench.scan.frame.to_metres(found.points_rc[rows].astype(float)))):
            return
        bench.rescan()


def agent(bench: Bench, first: Decision, config: Config) -> Places:
    """The order of the agent: a decision for every 50 loops, each on a new scan and with the results so far.

    The first search is the default one. Later ones are restricted to its chosen kind of representation and window with all seeds,
    which is equivalent to a warm start and costs a tenth.
    """
    decision = first
    while True:
        bench.instrument.clock.advance(DECISION_S)
        if not (yield from _batch(bench, _places(decision.record.requests))):
            return
        earlier = bench.scan
        bench.rescan()
        so_far = {"measured_xy": bench.measured_xy, "measured_s": bench.measured_s, "results": bench.results}
        so_far |= {"previous": decision, "earlier": earlier}
        decision = decide(narrowed(config, first), bench, **so_far)


def decided_once(bench: Bench, first: Decision) -> Places:
    """All points of the first decision, without a second scan."""
    bench.instrument.clock.advance(DECISION_S)
    yield from _places(first.record.requests)


def drift_known(bench: Bench, first: Decision) -> Places:
    """The points of `decided_once`, with the tip brought exactly to each recorded pixel: shows the cost of drift."""
    bench.instrument.clock.advance(DECISION_S)
    recorded = bench.first[1].true_xy_m
    for one in first.record.requests:
        yield _commanded(bench, recorded[one.row, one.col][None])[0]


def oracle(bench: Bench, rng: np.random.Generator) -> Places:
    """Knows all walls and the drift: points on a wall of the type with the fewest hits, away from other types if possible.

    It does not know the scatter of the stage, and keeps the spacing between commanded positions like every policy.
    """
    sample = bench.sample
    shuffled = {wall: rng.permutation(sample.wall_xy[wall])[:_ORACLE_PLACES] for wall in sample.types}
    clear = {wall: xy[_clear(xy, [other for w, other in shuffled.items() if w != wall])] for wall, xy in shuffled.items()}
    while True:
        options = {wall: _open(bench, clear[wall]) for wall in sample.types}
        options |= {wall: _open(bench, shuffled[wall]) for wall, xy in options.items() if not len(xy)}
        reachable = [wall for wall, xy in options.items() if len(xy)]
        if not reachable:
            return
        hits = dict(zip(sample.types, bench.hits(), strict=True))
        yield options[min(reachable, key=lambda wall: (hits[wall], len(options[wall])))][0]


def decide(config: Config, bench: Bench, **inputs: Any) -> Decision:
    """Decision of the agent on the latest scan, in this process; without requests if the scan is unusable."""
    with workers_for(0) as workers:
        deciding = Agent(config, workers)
        try:
            return deciding.decide(DecisionInputs(bench.scan, bench.sample.config.limits, **inputs))
        except UnusableScanError as error:
            return deciding.unresolved(bench.scan, str(error))


def narrowed(config: Config, first: Decision) -> Config:
    """`config` restricted to the first decision's kind of representation and window; unchanged if nothing was chosen."""
    chosen = [c for c in first.record.candidates if c.candidate_id == first.record.chosen]
    if not chosen:
        return config
    kind = chosen[0].invariance
    family = {"families": ["vae"], "invariances": [kind]} if kind in GEOMETRIC_LATENTS else {"families": [kind]}
    search = config.search.model_dump() | {"windows_px": [chosen[0].window_px]} | family
    recommend = config.recommend.model_dump() | {"points": BATCH}
    return Config.model_validate(config.model_dump() | {"search": search, "recommend": recommend})


def _batch(bench: Bench, places: np.ndarray) -> Generator[Float[np.ndarray, " 2"], None, bool]:
    """Yield positions until 50 of them were measured; return whether any was."""
    before = len(bench.visits)
    for place in places:
        if len(bench.visits) - before >= BATCH:
            break
        yield place
    return len(bench.visits) > before


def _places(requests: Sequence[MeasurementRequest]) -> Float[np.ndarray, "n 2"]:
    return np.array([(one.x_m, one.y_m) for one in requests]).reshape(-1, 2)


def _open(bench: Bench, true_xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Commanded positions that reach the true ones now and that the instrument would not refuse."""
    here = bench.measured_xy
    commanded = _commanded(bench, true_xy)
    allowed = bench.scan.frame.contains(commanded)
    if len(here) and len(commanded):
        allowed &= cKDTree(here).query(commanded)[0] >= bench.sample.config.limits.spacing_min_m
    return np.asarray(commanded[allowed])


def _commanded(bench: Bench, true_xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Commanded positions that now bring the tip to the true ones."""
    return np.asarray(2 * true_xy - bench.instrument.true_position(true_xy))


def _clear(xy: Float[np.ndarray, "n 2"], others: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each point is farther than `_CLEAR_M` from walls of other types."""
    if not len(xy) or not sum(len(other) for other in others):
        return np.ones(len(xy), bool)
    return np.asarray(cKDTree(np.concatenate(others)).query(xy)[0] > _CLEAR_M)


def _shape(bench: Bench) -> tuple[int, int]:
    return bench.scan.frame.rows, bench.scan.frame.cols

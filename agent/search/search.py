"""Candidates made, judged and compared: what represents this scan best, and how sure that is.

The work is ordered so that there is an answer early, and a better one later:

1. Plain families, which need no training.
2. VAEs for a share of the steps; seeds and configurations that fail by their held-out ELBO are dropped. The ELBO is comparable at
   equal window, channels, key points and β only; the reward drifts while a model trains and never decides here.
3. The others go on to the full number of steps, all to the same.

After each of these rungs all candidates of equal budget are judged alike: guards leave out what collapsed, diverged or got
stuck; the density filter thins each latent space; all are cut to the common number of points, so that scores do not depend on
how many points a candidate kept; the reward judges; configurations are compared (`agent.search.ranking`). At a deadline the last
complete rung is the answer, so a decision depends on the rung that was reached and not on how far the next one had come.

On the next scan of the same sample the VAEs go on from the last decision's weights instead (`agent.search.warm_start`), for a
fraction of the steps, beside one control trained from nothing: where the control is better, the search starts from nothing
after all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from agent.config.model import Config
from agent.errors import OutOfTimeError
from agent.representation.tasks import FittedRepresentation
from agent.representation.vae.spec import ModelSpec, weight_count
from agent.schema.decision import ConfigurationRecord, VerificationRecord
from agent.search.candidate_builder import CandidateBuilder, Model
from agent.search.candidates import Candidate, Configuration, Rows, plain_configurations, seeds_of, vae_configurations
from agent.search.prepared_scan import PreparedScan
from agent.search.ranking import choose, compare
from agent.search.score_adjustment import with_criteria, with_evidence
from agent.search.scoring import Scorer
from agent.search.task_cache import NullCache, Store
from agent.search.task_runner import Progress, TaskRunner, never, silent
from agent.search.type_evidence import Finding, as_one_type, found_in
from agent.search.verification import verify
from agent.search.warm_start import WarmStart
from agent.workers.base import Workers

_CONTROL_SEED = 999


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search has found when a rung is complete.

    Parameters
    ----------
    candidates
        In the order of the configuration, VAEs first.
    configurations
        Best first.
    chosen
        None where nothing may be chosen.
    z
        Shape (n, d): latents of all key points of the chosen candidate's set; None where nothing was chosen.
    rows
        Key-point method -> which of its points were judged and trained on.
    common_points
        On how many points candidates were compared.
    rungs
        What was complete, in order.
    ended_early
        True where a deadline ended the search.
    warm_from
        The decision whose weights training began with; None for a cold start.
    cold_because
        Why training began from nothing; empty for a warm start.
    warm_scans
        How many scans in a row began with the weights of the one before.
    warm_deep
        Whether they were those of a deeper search.
    verified
        Configurations that were trained with the exact decoder as well.
    finding
        "types", or why there are none to tell apart: of "one_type" the chosen candidate's mixture is a single Gaussian; of a
        "continuum" nothing is chosen.
    faults
        What did not work, and how the decision was made all the same.
    """

    candidates: tuple[Candidate, ...] = ()
    configurations: tuple[ConfigurationRecord, ...] = ()
    chosen: Candidate | None = None
    z: Float[np.ndarray, "n d"] | None = None
    rows: Mapping[str, Rows] | None = None
    common_points: int = 0
    rungs: tuple[str, ...] = ()
    ended_early: bool = False
    warm_from: str | None = None
    cold_because: str = ""
    warm_scans: int = 0
    warm_deep: bool = False
    verified: tuple[VerificationRecord, ...] = ()
    finding: Finding = "types"
    faults: tuple[str, ...] = ()


def search(
    scene: PreparedScan,
    config: Config,
    workers: Workers,
    *,
    start: WarmStart | str = "no earlier decision on this sample",
    store: Store | None = None,
    progress: Progress = silent,
    cancelled: Callable[[], bool] = never,
    out_of_time: Callable[[], bool] | None = None,
    on_rung: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """The best of all candidates of `config`, with all the others.

    Parameters
    ----------
    scene
        Images and key points.
    config
        Which candidates, budget, reward; the result depends on it, the scene and `start` only, and on the rung that was reached.
    workers
        Where the work is done; does not influence the result.
    start
        Weights to go on from, or why there are none.
    store
        Keeps finished work in case the process is killed.
    progress
        Told of each finished task.
    cancelled, out_of_time
        Asked about ten times a second. With the second one, rungs before the last are judged too, and when it says so the last
        complete rung's result is returned.
    on_rung
        Told of each rung's result; rungs before the last are judged only if this or `out_of_time` is given.

    Raises
    ------
    SearchCancelledError
        If `cancelled` said so.
    AgentError
        If workers keep dying.
    """
    best = SearchResult()
    eager = on_rung is not None or out_of_time is not None
    ask = TaskRunner(workers, progress, cancelled, out_of_time or never)
    try:
        ask.check()  # what came before may have taken so long that nobody waits any more, and the workers are another search's
        maker = CandidateBuilder(scene, config, workers, ask, store or NullCache())
        for best in _Search(scene, config, maker, Scorer(config, ask, scene.results)).results(start, eager=eager):
            if on_rung is not None:
                on_rung(best)
    except OutOfTimeError:
        best = replace(best, ended_early=True)
    return best


class _Search:
    """The rungs of one search, in order."""

    def __init__(self, scene: PreparedScan, config: Config, maker: CandidateBuilder, judge: Scorer) -> None:
        self._scene, self._config, self._maker, self._judge = scene, config, maker, judge

    def results(self, start: WarmStart | str, *, eager: bool) -> Iterator[SearchResult]:
        """The result of each rung, the last one always, those before it if `eager`."""
        plain = self._maker.plain(plain_configurations(self._config, self._scene))
        vaes = vae_configurations(self._config, self._scene)
        if not vaes:
            yield self._result(plain, ("plain",))
            return
        if eager and plain:
            yield self._result(plain, ("plain",))
        self._maker.find_device()
        done = ("plain",) if plain else ()
        if isinstance(start, WarmStart):
            trained, start_over = self._go_on(vaes, start)
            if not start_over:
                result = self._result([*trained, *plain], (*done, "warm"))
                yield self._verified(replace(result, warm_from=start.decision_id, warm_scans=start.scans, warm_deep=start.deep))
                return
            start = start_over
        for result in self._from_nothing(vaes, plain, done, eager=eager):
            yield replace(result, cold_because=start)

    def _from_nothing(
        self, vaes: Sequence[Configuration], plain: list[Candidate], done: tuple[str, ...], *, eager: bool
    ) -> Iterator[SearchResult]:
        steps, spent = self._config.train.steps, 0
        order: list[Model] = [(c, seed) for c in vaes for seed in seeds_of(self._config)]
        alive: dict[Model, np.ndarray | None] = dict.fromkeys(order)
        dropped: dict[Model, Candidate] = {}
        for share in self._config.search.rungs:
            budget = max(1, round(share * steps))
            spent += budget
            made = self._maker.train(alive, budget, "training")
            reasons = failing(made, self._config.search.drop_elbo_per_px)
            dropped |= {model: self._maker.candidate(model, made[model], spent, why) for model, why in reasons.items()}
            alive = {model: m.state for model, m in made.items() if model not in reasons}
            done = (*done, f"{spent} steps")
            if eager:
                trained = self._maker.guarded({model: (made[model], spent) for model in alive}) | dropped
                yield self._result([*(trained[model] for model in order), *plain], done)
        made = self._maker.train(alive, steps, "finalists")
        trained = self._maker.guarded({model: (m, spent + steps) for model, m in made.items()}) | dropped
        result = self._result([*(trained[model] for model in order), *plain], (*done, f"{spent + steps} steps"))
        yield self._verified(result)

    def _go_on(self, vaes: Sequence[Configuration], start: WarmStart) -> tuple[list[Candidate], str]:
        """Models that go on from the last decision's weights, or why that is no good: a control, from nothing, is better."""
        config, known = self._config, {c.name: c for c in vaes}
        again = [known[name] for name in start.order if name in known]
        if not again:
            return [], ""
        before = {
            (c, seed): weights
            for c in again
            for seed in seeds_of(config)
            if (weights := _fitting(start.weights.get(f"{c.name}-s{seed}"), c)) is not None
        }
        if not before:
            return [], f"decision {start.decision_id} holds no weights to go on from"
        steps = max(1, round(config.warm.share * config.train.steps))
        control = again[0], config.seed * 1000 + _CONTROL_SEED
        new = [(c, seed) for c in again for seed in seeds_of(config) if (c, seed) not in before] if start.complete else []
        fresh = [[control], *self._maker.groups(dict.fromkeys(new))]
        further = self._maker.groups(before)
        groups = [*fresh, *further]
        tasks = [self._maker.stacked(group, config.train.steps) for group in fresh]
        tasks += [self._maker.stacked(group, steps, [before[model] for model in group], config.warm.rate) for group in further]
        made = self._maker.run("going on", groups, tasks)
        reference = made.pop(control).representation.elbo_per_px
        best = max((m.representation.elbo_per_px for (c, _), m in made.items() if c == again[0]), default=-math.inf)
        if math.isfinite(reference) and not reference - best <= config.warm.gap_per_px:
            gap = f"{reference - best:.4f} nats a pixel above" if math.isfinite(best) else "a number, unlike"
            return (
                [],
                f"the held-out ELBO of a model trained from nothing is {gap} that of one that goes on from {start.decision_id}",
            )
        spent = {model: (m, steps if model in before else config.train.steps) for model, m in made.items()}
        return list(self._maker.guarded(spent).values()), ""

    def _result(self, candidates: list[Candidate], rungs: tuple[str, ...]) -> SearchResult:
        common = min((int(c.kept.sum()) for c in candidates if c.guarded_out is None), default=0)
        verdict, rule = self._judge.verdict(candidates, common, self._maker), self._config.rule
        judged = with_evidence(with_criteria(verdict.candidates, rule), self._scene.results, self._config.evidence)
        configurations = compare(judged, rule)
        chosen = choose(judged, configurations, rule)
        finding = found_in(configurations)
        if chosen is not None and finding != "types":
            chosen = as_one_type(chosen) if finding == "one_type" else None
        z = None if chosen is None else self._maker.applied(chosen)
        return SearchResult(
            tuple(judged),
            tuple(configurations),
            chosen,
            z,
            self._maker.rows,
            common,
            rungs,
            finding=finding,
            faults=verdict.faults,
        )

    def _verified(self, result: SearchResult) -> SearchResult:
        count = self._config.search.verify
        if not count or self._config.search.decoder == "exact":
            return result
        return replace(result, verified=tuple(verify(result.candidates, result.configurations, count, self._maker, self._judge)))


def failing(made: Mapping[Model, FittedRepresentation], limit: float) -> dict[Model, str]:
    """Models that are not worth more steps, each with the reason.

    Parameters
    ----------
    made
        All models that have had equally many steps.
    limit
        How far, in nats a pixel, the held-out ELBO may lie below the best seed's of the configuration, and the configuration's
        below that of the best one that it can be compared with.
    """
    elbos = {model: m.representation.elbo_per_px for model, m in made.items()}
    best_seed: dict[Configuration, float] = {}
    best_rival: dict[object, tuple[float, str]] = {}
    for (c, _), elbo in elbos.items():
        if math.isfinite(elbo):
            best_seed[c] = max(elbo, best_seed.get(c, -math.inf))
            best_rival[_comparable(c)] = max((elbo, c.name), best_rival.get(_comparable(c), (-math.inf, "")))
    reasons = {}
    for (c, seed), elbo in elbos.items():
        if not math.isfinite(elbo):
            reasons[c, seed] = "diverged: the training loss is not finite"
            continue
        rival, name = best_rival[_comparable(c)]
        if rival - best_seed[c] > limit:
            reasons[c, seed] = f"dropped: held-out ELBO {rival - best_seed[c]:.4f} nats a pixel below that of {name}"
        elif best_seed[c] - elbo > limit:
            reasons[c, seed] = f"dropped: held-out ELBO {best_seed[c] - elbo:.4f} nats a pixel below that of the best seed"
    return reasons


def _comparable(c: Configuration) -> tuple[object, ...]:
    """Held-out ELBOs of configurations are comparable where this is equal."""
    return c.spec.window_px, c.channels, c.keypoints, c.spec.kl_weight


def _fitting(weights: np.ndarray | None, c: Configuration) -> np.ndarray | None:
    assert isinstance(c.spec, ModelSpec)
    return weights if weights is not None and weights.shape == (weight_count(c.spec),) else None

"""Search for the representation of a scan: candidates are built, scored and ranked in rungs, stages of increasing training.

The rungs give an early result first and better ones later:

1. Plain families, which need no training.
2. VAEs trained for a share of the steps; seeds and configurations with a low held-out ELBO are dropped. ELBOs are comparable at
   equal window, channels, key points and β only. The reward is not used here, since it drifts while a model trains.
3. The remaining VAEs, trained on for the full number of steps, in addition to those of the rungs.

After each rung all candidates with the same budget are treated alike. Guards exclude models that collapsed, diverged or got
stuck. The density filter removes points in sparse regions of each latent space. All candidates are cut to the common number of
points, so that scores do not depend on how many points a candidate kept. Then they are scored by the reward, and configurations
are ranked (`agent.search.ranking`). At a deadline the last complete rung is the result, so a decision depends on the rung
reached, and not on the progress of the next one.

On the next scan of the same sample, VAEs start from the weights of the last decision (`agent.search.warm_start`) and need a
fraction of the steps. A control model is trained from random weights: if it is better, the search starts cold.
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
from agent.search.task_cache import NullCache, ResultCache
from agent.search.task_runner import Progress, TaskRunner, never, no_progress
from agent.search.type_evidence import Finding, as_one_type, overall_finding
from agent.search.verification import verify
from agent.search.warm_start import WarmStart
from agent.workers.base import Workers

_CONTROL_SEED = 999


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Result of a search after a complete rung.

    Parameters
    ----------
    candidates
        Candidates in the order of the configuration file, VAEs first.
    configurations
        Ranked configurations, best first.
    chosen
        Chosen candidate; None if no candidate is eligible.
    z
        Shape (n, d): latents of all key points of the chosen candidate's set; None if nothing was chosen.
    rows
        Indices of the key points used for scoring and for training, by key-point method.
    common_points
        Number of points on which candidates were scored.
    rungs
        Names of the complete rungs, in order.
    ended_early
        Whether a deadline ended the search.
    warm_from
        Id of the decision whose weights training started from; None for a cold start.
    cold_because
        Reason for a cold start; empty for a warm start.
    warm_scans
        Number of consecutive warm starts.
    warm_deep
        Whether the weights were those of a deeper search.
    verified
        Comparisons with the exact decoder.
    finding
        "types"; "one_type", where the mixture of the chosen candidate is a single Gaussian; or "continuum", where nothing is
        chosen.
    faults
        Sentences on what failed and what was done instead.
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
    scan: PreparedScan,
    config: Config,
    workers: Workers,
    *,
    start: WarmStart | str = "no earlier decision on this sample",
    cache: ResultCache | None = None,
    progress: Progress = no_progress,
    cancelled: Callable[[], bool] = never,
    out_of_time: Callable[[], bool] | None = None,
    on_rung: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """Build, score and rank all candidates of a configuration.

    The result depends on `scan`, `config`, `start` and the last complete rung only.

    Parameters
    ----------
    scan
        Images and key points.
    config
        Configuration with candidates, training budget and reward.
    workers
        Workers that run the tasks; the result does not depend on them.
    start
        Weights to start from, or the reason for a cold start.
    cache
        Cache of finished tasks, in case the process is killed.
    progress
        Called with (stage, done, total) after each task.
    cancelled
        Polled about ten times a second; once true, the search is discarded.
    out_of_time
        Polled likewise; once true, the result of the last complete rung is returned. If given, every rung is scored.
    on_rung
        Called with the result of each rung. If neither this nor `out_of_time` is given, only the last rung is scored.

    Raises
    ------
    SearchCancelledError
        If `cancelled` returned true.
    AgentError
        If workers keep dying.
    """
    best = SearchResult()
    every_rung = on_rung is not None or out_of_time is not None
    runner = TaskRunner(workers, progress, cancelled, out_of_time or never)
    try:
        # If preparing the scan took so long that the search was cancelled, the workers may already run the next search.
        runner.raise_if_interrupted()
        builder = CandidateBuilder(scan, config, workers, runner, cache or NullCache())
        rungs = _Search(scan, config, builder, Scorer(config, runner, scan.results))
        for best in rungs.results(start, every_rung=every_rung):
            if on_rung is not None:
                on_rung(best)
    except OutOfTimeError:
        best = replace(best, ended_early=True)
    return best


class _Search:
    """The rungs of one search, in order."""

    def __init__(self, scan: PreparedScan, config: Config, builder: CandidateBuilder, scorer: Scorer) -> None:
        self._scan, self._config, self._builder, self._scorer = scan, config, builder, scorer

    def results(self, start: WarmStart | str, *, every_rung: bool) -> Iterator[SearchResult]:
        """The result of the last rung; with `every_rung`, also of those before."""
        plain = self._builder.plain_candidates(plain_configurations(self._config, self._scan))
        vaes = vae_configurations(self._config, self._scan)
        if not vaes:
            yield self._result(plain, ("plain",))
            return
        if every_rung and plain:
            yield self._result(plain, ("plain",))
        self._builder.find_device()
        done = ("plain",) if plain else ()
        if isinstance(start, WarmStart):
            trained, cold_because = self._warm(vaes, start)
            if not cold_because:
                result = self._result([*trained, *plain], (*done, "warm"))
                yield self._verified(replace(result, warm_from=start.decision_id, warm_scans=start.scans, warm_deep=start.deep))
                return
            start = cold_because
        for result in self._cold(vaes, plain, done, every_rung=every_rung):
            yield replace(result, cold_because=start)

    def _cold(
        self, vaes: Sequence[Configuration], plain: list[Candidate], done: tuple[str, ...], *, every_rung: bool
    ) -> Iterator[SearchResult]:
        """Results of the rungs of a cold start."""
        steps, spent = self._config.train.steps, 0
        order: list[Model] = [(c, seed) for c in vaes for seed in seeds_of(self._config)]
        alive: dict[Model, np.ndarray | None] = dict.fromkeys(order)
        dropped: dict[Model, Candidate] = {}
        for share in self._config.search.rungs:
            budget = max(1, round(share * steps))
            spent += budget
            fitted = self._builder.train(alive, budget, "training")
            reasons = reasons_to_drop(fitted, self._config.search.drop_elbo_per_px)
            dropped |= {model: self._builder.candidate(model, fitted[model], spent, why) for model, why in reasons.items()}
            alive = {model: f.state for model, f in fitted.items() if model not in reasons}
            done = (*done, f"{spent} steps")
            if every_rung:
                trained = self._builder.guarded({model: (fitted[model], spent) for model in alive}) | dropped
                yield self._result([*(trained[model] for model in order), *plain], done)
        fitted = self._builder.train(alive, steps, "finalists")
        trained = self._builder.guarded({model: (f, spent + steps) for model, f in fitted.items()}) | dropped
        result = self._result([*(trained[model] for model in order), *plain], (*done, f"{spent + steps} steps"))
        yield self._verified(result)

    def _warm(self, vaes: Sequence[Configuration], start: WarmStart) -> tuple[list[Candidate], str]:
        """Candidates of a warm start, or the reason for a cold one: no usable weights, or a better control model.

        `agent.history.retention` recognises these reasons by how they begin: "decision " and "the held-out ELBO".
        """
        config, known = self._config, {c.name: c for c in vaes}
        again = [known[name] for name in start.order if name in known]
        if not again:
            return [], ""
        before = {
            (c, seed): weights
            for c in again
            for seed in seeds_of(config)
            if (weights := _fitting_weights(start.weights.get(f"{c.name}-s{seed}"), c)) is not None
        }
        if not before:
            return [], f"decision {start.decision_id} has no weights to start from"
        steps = max(1, round(config.warm.share * config.train.steps))
        control = again[0], config.seed * 1000 + _CONTROL_SEED
        new = [(c, seed) for c in again for seed in seeds_of(config) if (c, seed) not in before] if start.complete else []
        from_random = [[control], *self._builder.groups(dict.fromkeys(new))]
        from_weights = self._builder.groups(before)
        tasks = [self._builder.training_task(group, config.train.steps) for group in from_random]
        tasks += [
            self._builder.training_task(group, steps, [before[model] for model in group], config.warm.rate)
            for group in from_weights
        ]
        fitted = self._builder.run("going on", [*from_random, *from_weights], tasks)
        reference = fitted.pop(control).representation.elbo_per_px
        best = max((f.representation.elbo_per_px for (c, _), f in fitted.items() if c == again[0]), default=-math.inf)
        if math.isfinite(reference) and not reference - best <= config.warm.gap_per_px:
            gap = f"{reference - best:.4f} nats per pixel above" if math.isfinite(best) else "finite, unlike"
            return (
                [],
                f"the held-out ELBO of a control trained from random weights is {gap} that of models from {start.decision_id}",
            )
        spent = {model: (f, steps if model in before else config.train.steps) for model, f in fitted.items()}
        return list(self._builder.guarded(spent).values()), ""

    def _result(self, candidates: list[Candidate], rungs: tuple[str, ...]) -> SearchResult:
        common = min((int(c.kept.sum()) for c in candidates if c.guarded_out is None), default=0)
        scored, rule = self._scorer.score_with_consensus(candidates, common, self._builder), self._config.rule
        adjusted = with_evidence(with_criteria(scored.candidates, rule), self._scan.results, self._config.evidence)
        configurations = compare(adjusted, rule, self._config.walls)
        chosen = choose(adjusted, configurations, rule)
        finding = overall_finding(configurations)
        if chosen is not None and finding != "types":
            chosen = as_one_type(chosen) if finding == "one_type" else None
        z = None if chosen is None else self._builder.latents_of_all_points(chosen)
        return SearchResult(
            tuple(adjusted),
            tuple(configurations),
            chosen,
            z,
            self._builder.rows,
            common,
            rungs,
            finding=finding,
            faults=scored.faults,
        )

    def _verified(self, result: SearchResult) -> SearchResult:
        count = self._config.search.verify
        if not count or self._config.search.decoder == "exact":
            return result
        records = verify(result.candidates, result.configurations, count, self._builder, self._scorer)
        return replace(result, verified=tuple(records))


def reasons_to_drop(fitted: Mapping[Model, FittedRepresentation], limit: float) -> dict[Model, str]:
    """Models to drop at a rung, each with the reason.

    Parameters
    ----------
    fitted
        All models, trained for equally many steps.
    limit
        Largest gap in held-out ELBO, in nats per pixel, from a seed to the best seed of its configuration, and from a
        configuration to the best comparable one.
    """
    elbos = {model: f.representation.elbo_per_px for model, f in fitted.items()}
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
            reasons[c, seed] = f"dropped: held-out ELBO {rival - best_seed[c]:.4f} nats per pixel below that of {name}"
        elif best_seed[c] - elbo > limit:
            reasons[c, seed] = f"dropped: held-out ELBO {best_seed[c] - elbo:.4f} nats per pixel below that of the best seed"
    return reasons


def _comparable(c: Configuration) -> tuple[object, ...]:
    """A key that is equal for configurations whose held-out ELBOs can be compared."""
    return c.spec.window_px, c.channels, c.keypoints, c.spec.kl_weight


def _fitting_weights(weights: np.ndarray | None, c: Configuration) -> np.ndarray | None:
    """The weights if they have the length that this configuration's models need; else None."""
    assert isinstance(c.spec, ModelSpec)
    return weights if weights is not None and weights.shape == (weight_count(c.spec),) else None

"""Candidates trained, judged and compared: which window and invariance represents this scan best, and how sure that is.

1. Each configuration (window, and a VAE's invariance or a plain family) is made with all its seeds in one task. A plain family
   is not trained; its seeds are resamples of the patches that its basis is fitted to.
2. Guards leave out what collapsed, diverged or got stuck; the density filter thins each latent space; then all are cut to the
   common number of points, so that scores do not depend on how many points a candidate kept.
3. The reward judges each candidate.
4. A configuration's worth is its mean over seeds. Those within two standard errors of the best tie with it, and among these the
   most parsimonious is chosen: fewest types, then fewest latents, then the smallest window. Of its seeds, the one with the best
   held-out ELBO is used; the reward never chooses among seeds, since at one seed it is noise.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from agent.config import Config, ConfigError
from agent.decision import ConfigurationRecord
from agent.executor import Workers
from agent.plugins import is_users_own, load_reward
from agent.workflow.errors import AgentError, PluginError, SearchCancelledError
from agent.workflow.families import PlainSpec
from agent.workflow.keypoints import Keypoints
from agent.workflow.kinds import GEOMETRIC_LATENTS
from agent.workflow.pipeline import RepresentTask, judge, represent, survivors
from agent.workflow.spec import ModelSpec
from agent.workflow.train import split_held_out
from rewards.base import Representation, Score
from rewards.density import equal_subset
from rewards.guards import guard_seeds

Progress = Callable[[str, int, int], None]  # stage, done, total
TIE_SIGMAS = 2.0
_POLL_S = 0.1
_WORKER_DEATHS = 3


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One representation of all points, by a trained model or a plain family, and, where it was not guarded out, its score."""

    spec: ModelSpec | PlainSpec
    seed: int
    representation: Representation
    kept: np.ndarray
    guarded_out: str | None = None
    score: Score | None = None

    @property
    def candidate_id(self) -> str:
        """Such as "rt-w9-s0" or "polar-w15-s0"."""
        return f"{self.spec.invariance}-w{self.spec.window_px}-s{self.seed}"


@dataclass(frozen=True, eq=False)
class SearchResult:
    """All candidates, in the order of the configuration; the comparison of configurations, best first; the one chosen."""

    candidates: tuple[Candidate, ...]
    configurations: tuple[ConfigurationRecord, ...]
    chosen: Candidate | None
    common_points: int


def search(
    channels: Float32[np.ndarray, "C rows cols"],
    keypoints: Keypoints,
    config: Config,
    workers: Workers,
    *,
    progress: Progress = silent,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """The best of all candidates of `config`, with all the others.

    Parameters
    ----------
    channels
        Shape (C, rows, cols), in [0, 1].
    keypoints
        One set for all windows.
    config
        Which candidates, budget, reward; the result depends on it, the channels and the key points only.
    workers
        Where the work is done; does not influence the result.
    progress
        Told of each finished task.
    cancelled
        Asked about ten times a second.

    Raises
    ------
    SearchCancelledError
        If `cancelled` said so.
    PluginError
        If the user's own reward fails.
    AgentError
        If workers keep dying.
    """
    workers.begin()
    ask = _Asker(workers, progress, cancelled)
    candidates = _train_all(channels, keypoints, config, ask)
    open_ones = [c for c in candidates if c.guarded_out is None]
    common = min((int(c.kept.sum()) for c in open_ones), default=0)
    judged = _judge_all(candidates, common, config, ask)
    configurations = compare(judged)
    return SearchResult(tuple(judged), tuple(configurations), _choose(judged, configurations), common)


def _train_all(channels: np.ndarray, keypoints: Keypoints, config: Config, ask: "_Asker") -> list[Candidate]:
    points = keypoints.points_rc
    held_out = split_held_out(len(points), config.train.held_out, np.random.default_rng([config.seed, 1]))
    seeds = tuple(config.seed * 1000 + i for i in range(config.search.seeds))
    for_vae = channels[:1] if config.scan.channels == "auto" else channels  # three channels would double the time of training
    specs: list[ModelSpec | PlainSpec] = [*_vae_specs(config, len(for_vae)), *_plain_specs(config, len(channels))]
    seen = [channels if isinstance(spec, PlainSpec) else for_vae for spec in specs]
    tasks = [RepresentTask(images, points, held_out, spec, seeds, config.train) for images, spec in zip(seen, specs, strict=True)]
    # The dearest first, so that no worker is left alone with a long one at the end.
    order = sorted(range(len(tasks)), key=lambda i: (-specs[i].window_px, -GEOMETRIC_LATENTS.get(specs[i].invariance, -1)))
    trained = ask("training", represent, [(tasks[i],) for i in order])
    by_task = dict(zip(order, trained, strict=True))
    candidates = []
    for i, spec in enumerate(specs):
        kept = [survivors(r, **config.filter.model_dump()) for r in by_task[i]]
        reasons = guard_seeds(by_task[i], [int(k.sum()) for k in kept], config.guards)
        candidates += [Candidate(spec, r.seed, r, k, reason) for r, k, reason in zip(by_task[i], kept, reasons, strict=True)]
    return candidates


def _vae_specs(config: Config, channels: int) -> list[ModelSpec]:
    search = config.search
    if "vae" not in search.families:
        return []
    defaults = [ModelSpec(w, i, search.latent_dim, channels) for w in search.windows_px for i in search.invariances]
    return [replace(spec, beta=spec.kl_weight * search.beta) for spec in defaults]


def _plain_specs(config: Config, channels: int) -> list[PlainSpec]:
    search, specs = config.search, []
    for family in search.families:
        if family == "multi":
            windows = tuple(sorted(search.windows_px))
            specs.append(PlainSpec(windows[-1], family, search.plain_latent_dim, channels, windows))
        elif family != "vae":
            specs += [PlainSpec(w, family, search.plain_latent_dim, channels) for w in search.windows_px]
    return specs


def _judge_all(candidates: Sequence[Candidate], common: int, config: Config, ask: "_Asker") -> list[Candidate]:
    reward = load_reward(config.reward, config.reward_options, config.directory)
    open_ones = [i for i, c in enumerate(candidates) if c.guarded_out is None]
    tasks = []
    for i in open_ones:
        rows = equal_subset(candidates[i].kept, common, np.random.default_rng([config.seed, 2, i]))
        tasks.append((candidates[i].representation.take(rows), reward, (config.seed, 3, i), config.reward))
    scores = dict(zip(open_ones, ask("judging", _judge, tasks), strict=True))
    return [_with_score(c, scores.get(i)) for i, c in enumerate(candidates)]


def _with_score(candidate: Candidate, score: Score | None) -> Candidate:
    if score is None:
        return candidate
    if not np.isfinite(score.value):
        return replace(candidate, guarded_out=f"the reward is {score.value}, not a finite number")
    return replace(candidate, score=score)


def _judge(
    representation: Representation,
    reward: Callable[..., Score],
    entropy: Sequence[int],
    name: str,
    *,
    stopped: Callable[[], bool],  # noqa: ARG001 - a reward takes seconds and is not interrupted
) -> Score:
    if not is_users_own(name):
        try:
            return judge(representation, reward, entropy)
        except ValueError as error:  # an option out of range
            raise ConfigError(f"reward = '{name}' cannot be used with these reward_options: {error}") from error
    try:
        score = judge(representation, reward, entropy)
        score = replace(score, value=float(score.value), metrics={str(k): float(v) for k, v in score.metrics.items()})
    except Exception as error:  # the user's function may raise anything
        raise PluginError(
            f"reward = '{name}' failed: {type(error).__name__}: {error}; it must return a rewards.base.Score"
        ) from error
    return score


def compare(candidates: Sequence[Candidate]) -> list[ConfigurationRecord]:
    """Each configuration's mean reward over seeds, and whether it ties with the best; best first.

    The spread over seeds is pooled over configurations, since three seeds say little about a spread: over the trained ones and
    over the plain ones by themselves, since training scatters and a basis hardly does. σ of a difference of means is
    sqrt(s_a²/n_a + s_b²/n_b); with one seed everywhere the spread is unknown, and only equals tie.
    """
    groups: dict[tuple[int, str], list[Candidate]] = {}
    for c in candidates:
        if c.score is not None:
            groups.setdefault((c.spec.window_px, c.spec.invariance), []).append(c)
    if not groups:
        return []
    values = {key: np.array([c.score.value for c in group if c.score]) for key, group in groups.items()}
    pooled = {trained: _pooled([v for k, v in values.items() if _is_trained(k[1]) == trained]) for trained in (True, False)}
    error = {key: pooled[_is_trained(key[1])] / math.sqrt(len(v)) for key, v in values.items()}
    best = max(values, key=lambda key: (values[key].mean(), key))
    records = []
    for key, v in values.items():
        gap = float(values[best].mean() - v.mean())
        sigma = math.hypot(error[key], error[best])
        below = gap / sigma if sigma > 0 else (math.inf if gap > 0 else 0.0)
        records.append(
            ConfigurationRecord(
                window_px=key[0],
                invariance=key[1],
                mean=float(v.mean()),
                std=float(v.std(ddof=1)) if len(v) > 1 else float("nan"),
                seeds=len(v),
                types=int(np.median([c.score.mixture.n_components for c in groups[key] if c.score and c.score.mixture])),
                sigmas_below_best=0.0 if key == best else below,
                in_tie_set=key == best or below <= TIE_SIGMAS,
            )
        )
    return sorted(records, key=lambda r: (-r.mean, r.window_px, r.invariance))


def _is_trained(invariance: str) -> bool:
    return invariance in GEOMETRIC_LATENTS


def _pooled(values: Sequence[np.ndarray]) -> float:
    """Standard deviation within groups; 0 where no group has two."""
    freedom = sum(len(v) - 1 for v in values)
    return float(np.sqrt(sum(((v - v.mean()) ** 2).sum() for v in values) / freedom)) if freedom else 0.0


def _choose(candidates: Sequence[Candidate], configurations: Sequence[ConfigurationRecord]) -> Candidate | None:
    tied = [c for c in configurations if c.in_tie_set]
    if not tied:
        return None
    # A plain family has no weights to train: it counts as plainer than any VAE.
    plainest = min(tied, key=lambda c: (c.types, GEOMETRIC_LATENTS.get(c.invariance, -1), c.window_px, c.invariance))
    seeds = [
        c for c in candidates if c.score and (c.spec.window_px, c.spec.invariance) == (plainest.window_px, plainest.invariance)
    ]
    # Resamples of a plain family have no ELBO: the first is used.
    return max(seeds, key=lambda c: (c.representation.elbo_per_px if c.representation.trained else 0.0, -c.seed))


class _Asker:
    """Runs a stage's tasks in the workers and returns their results in order."""

    def __init__(self, workers: Workers, progress: Progress, cancelled: Callable[[], bool]) -> None:
        self._workers, self._progress, self._cancelled = workers, progress, cancelled
        self._deaths = 0

    def __call__(self, stage: str, fn: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        results: dict[int, Any] = {}
        self._progress(stage, 0, len(tasks))
        while len(results) < len(tasks):
            if self._cancelled():
                raise SearchCancelledError("the search was cancelled")
            futures = {self._workers.submit(fn, *tasks[i]): i for i in range(len(tasks)) if i not in results}
            try:
                self._collect(stage, futures, results, len(tasks))
            except BrokenExecutor as error:
                self._survive(error)
        return [results[i] for i in range(len(tasks))]

    def _collect(self, stage: str, futures: dict[Future[Any], int], results: dict[int, Any], total: int) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                results[futures[future]] = future.result()
                self._progress(stage, len(results), total)
            if self._cancelled():
                self._workers.cancel()
                for future in pending:
                    future.cancel()
                wait(pending)
                raise SearchCancelledError("the search was cancelled")

    def _survive(self, error: BrokenExecutor) -> None:
        self._deaths += 1
        if self._deaths > _WORKER_DEATHS:
            raise AgentError(f"training processes died {self._deaths} times in one search; is there enough memory?") from error
        self._workers.restart()

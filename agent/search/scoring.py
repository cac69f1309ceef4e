"""Scores candidates: cuts them to a common number of points, computes the reward, and adds the consensus of trusted VAEs."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.config.model import Config
from agent.errors import ConfigError
from agent.representation.classical import PlainSpec
from agent.representation.consensus import consensus_types
from agent.representation.tasks import FittedRepresentation, judge
from agent.schema.seed_streams import Stream, stream
from agent.search.candidate_builder import CandidateBuilder, Model
from agent.search.candidates import Candidate, Configuration, seeds_of
from agent.search.plugins import is_user_defined, load_reward
from agent.search.task_runner import TaskRunner
from rewards.base import MeasuredResults, Representation, Score
from rewards.density import equal_subset
from rewards.guards import GuardSettings, guard_mixture
from rewards.mixture.wall_field import wall_labels
from rewards.stability import pairwise_agreement

_MIN_MEMBERS = 2  # of a consensus


@dataclass(frozen=True)
class Failure:
    """Reason why a user-defined reward gave no score."""

    reason: str


@dataclass(frozen=True, eq=False)
class ScoredCandidates:
    """All candidates of a search after scoring.

    Parameters
    ----------
    candidates
        Candidates; the eligible ones have a score.
    faults
        Sentences on what failed and what was done instead.
    """

    candidates: list[Candidate]
    faults: tuple[str, ...] = ()


class Scorer:
    """Scores candidates by the configured reward.

    Parameters
    ----------
    config
        Configuration with the reward, and with "consensus" among the families if one is to be built.
    runner
        Runner of the tasks that compute the reward.
    results
        Measured results, for rewards that use them.
    """

    def __init__(self, config: Config, runner: TaskRunner, results: MeasuredResults | None = None) -> None:
        self._config, self._runner, self._results = config, runner, results

    def score_with_consensus(self, candidates: Sequence[Candidate], common: int, builder: CandidateBuilder) -> ScoredCandidates:
        """Score candidates on `common` points, and add the consensus of the trusted ones.

        If a user-defined reward fails on some candidates, these are not eligible. If it gives no score at all, the default
        reward is used instead. `faults` reports either.
        """
        scored, reasons = self._scored(candidates, common, self._config.reward, self._config.reward_options)
        name, options, faults = self._config.reward, self._config.reward_options, tuple(_sentences(self._config.reward, reasons))
        if reasons and not any(c.score for c in scored):
            name, options = Config.model_fields["reward"].default, {}
            faults = (f"{faults[0]} The default reward '{name}' was used instead.",)
            scored, _ = self._scored(candidates, common, name, options)
        consensus = self._consensus(scored, common, builder)
        return ScoredCandidates(
            with_agreement(scored + self._scored(consensus, common, name, options)[0], self._config.walls.smoothing), faults
        )

    def score(self, candidates: Sequence[Candidate], common: int) -> list[Candidate]:
        """The candidates, with the score of eligible ones on `common` points."""
        return self._scored(candidates, common, self._config.reward, self._config.reward_options)[0]

    def _scored(
        self, candidates: Sequence[Candidate], common: int, name: str, options: dict[str, object]
    ) -> tuple[list[Candidate], list[str]]:
        """The candidates with their scores, and the reason of each failure of the reward."""
        seed, reward = self._config.seed, load_reward(name, options, self._config.directory)
        eligible = [i for i, c in enumerate(candidates) if c.guarded_out is None]
        tasks = []
        for i in eligible:
            # The random draws of a candidate do not depend on which other candidates there are.
            key = zlib.crc32(candidates[i].candidate_id.encode())
            rows = equal_subset(candidates[i].kept, common, stream(seed, Stream.COMMON_POINTS, key))
            subset = replace(candidates[i].representation.take(rows), results=self._results)
            tasks.append((subset, reward, (seed, Stream.REWARD, key), name))
        scores = dict(zip(eligible, self._runner.run("judging", score_of, tasks), strict=True)) if tasks else {}
        reasons = [score.reason for score in scores.values() if isinstance(score, Failure)]
        guards = self._config.guards
        return [_with_score(c, scores.get(i), common, guards) for i, c in enumerate(candidates)], reasons

    def _consensus(self, scored: Sequence[Candidate], common: int, builder: CandidateBuilder) -> list[Candidate]:
        """Consensus of the trusted VAEs for each set of key points; of the rotation-invariant ones, if there are any."""
        if "consensus" not in self._config.search.families:
            return []
        out: dict[Model, tuple[FittedRepresentation, int]] = {}
        for keypoints in dict.fromkeys(c.configuration.keypoints for c in scored):
            trusted = [c for c in scored if c.score and c.configuration.trained and c.configuration.keypoints == keypoints]
            members = [c for c in trusted if "r" in c.spec.invariance] or trusted
            pairs = [(c.representation, c.score.mixture) for c in members if c.score and c.score.mixture]
            if len(pairs) < _MIN_MEMBERS:
                continue
            variant = keypoints.replace(":", ".") if len(self._config.keypoints) > 1 else ""
            for seed in seeds_of(self._config):
                found, types = consensus_types(pairs, self._config.search.plain_latent_dim, seed)
                spec = PlainSpec(found.window_px, found.invariance, self._config.search.plain_latent_dim)
                configuration = Configuration(spec, keypoints, members[0].configuration.channels, variant)
                out[configuration, seed] = (FittedRepresentation(replace(found, types=types), np.empty(0)), 0)
        return [_guard_few_points(replace(c, state=None), common) for c in builder.guarded(out).values()]


def with_agreement(candidates: Sequence[Candidate], smoothing: float = 0.0) -> list[Candidate]:
    """The candidates with the metric "stability_seeds": the agreement between the clusters of a configuration's seeds.

    It is the mean adjusted Rand index over all pairs of seeds, on all points that they represent. If each seed found one cluster
    only, agreement is trivial and the metric is 0. It is absent if a configuration has one seed. Labels are smoothed along walls,
    as those of a decision are.
    """
    seeds: dict[Configuration, list[Candidate]] = {}
    for c in candidates:
        if c.score and c.score.mixture:
            seeds.setdefault(c.configuration, []).append(c)
    agreement = {key: _agreement(group, smoothing) for key, group in seeds.items() if len(group) > 1}
    return [
        replace(c, score=replace(c.score, metrics={**c.score.metrics, "stability_seeds": agreement[c.configuration]}))
        if c.score and c.score.mixture and c.configuration in agreement
        else c
        for c in candidates
    ]


def _agreement(group: Sequence[Candidate], smoothing: float) -> float:
    mixtures = [c.score.mixture for c in group if c.score and c.score.mixture]
    if all(mixture.n_components == 1 for mixture in mixtures):
        return 0.0
    seen = [c.representation for c in group]
    return pairwise_agreement([wall_labels(m, r.z, r.walls, smoothing) for m, r in zip(mixtures, seen, strict=True)])


def score_of(
    representation: Representation,
    reward: Callable[..., Score],
    entropy: Sequence[int],
    name: str,
    *,
    stopped: Callable[[], bool],  # noqa: ARG001 - a reward takes seconds and need not be interrupted
) -> Score | Failure:
    """The score of a representation, as a task for a worker. A failure of a user-defined reward is returned, not raised.

    Raises
    ------
    ConfigError
        If an option of a built-in reward is out of range.
    """
    if not is_user_defined(name):
        try:
            return judge(representation, reward, entropy)
        except ValueError as error:
            raise ConfigError(f"reward = '{name}' cannot be used with these reward_options: {error}") from error
    try:
        score = judge(representation, reward, entropy)
        return replace(score, value=float(score.value), metrics={str(k): float(v) for k, v in score.metrics.items()})
    except Exception as error:  # noqa: BLE001 - a user-defined function may raise anything
        message = " ".join(str(error).split())  # on one line
        return Failure(f"{type(error).__name__}: {message}; it must return a rewards.base.Score")


def _sentences(name: str, reasons: Sequence[str]) -> list[str]:
    return [f"reward = '{name}' failed on {_times(n)} ({why})." for why, n in Counter(reasons).most_common(1)] if reasons else []


def _times(n: int) -> str:
    return "a candidate" if n == 1 else f"{n} candidates"


def _guard_few_points(candidate: Candidate, common: int) -> Candidate:
    left = int(candidate.kept.sum())
    if candidate.guarded_out is not None or left >= common:
        return candidate
    return replace(candidate, guarded_out=f"too few points: {left} left by the density filter, the others are scored on {common}")


def _with_score(candidate: Candidate, score: Score | Failure | None, points: int, guards: GuardSettings) -> Candidate:
    if score is None:
        return candidate
    if isinstance(score, Failure):
        return replace(candidate, guarded_out=f"the reward failed: {score.reason}")
    if not np.isfinite(score.value):
        return replace(candidate, guarded_out=f"the reward is {score.value}, not a finite number")
    if (reason := guard_mixture(score, points, guards)) is not None:
        return replace(candidate, guarded_out=reason)
    return replace(candidate, score=score)

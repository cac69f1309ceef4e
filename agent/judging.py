"""Candidates judged alike: cut to the common number of points, scored, and the consensus of the trusted ones beside them."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agent.asking import Asker
from agent.candidates import Candidate, Configuration, seeds_of
from agent.config import Config, ConfigError
from agent.making import Maker, Model
from agent.plugins import is_users_own, load_reward
from agent.workflow.consensus import consensus_types
from agent.workflow.errors import PluginError
from agent.workflow.families import PlainSpec
from agent.workflow.pipeline import Made, judge
from rewards.base import Representation, Score
from rewards.density import equal_subset

_LEAST_MEMBERS = 2  # of a consensus


class Judge:
    """Scores candidates by the configured reward.

    Parameters
    ----------
    config
        Names the reward, and whether a consensus is wanted.
    ask
        Where the reward is computed.
    """

    def __init__(self, config: Config, ask: Asker) -> None:
        self._config, self._ask = config, ask
        self._reward = load_reward(config.reward, config.reward_options, config.directory)

    def judged(self, candidates: Sequence[Candidate], common: int) -> list[Candidate]:
        """The candidates, those that are not guarded out with their score on `common` points."""
        seed = self._config.seed
        open_ones = [i for i, c in enumerate(candidates) if c.guarded_out is None]
        tasks = []
        for i in open_ones:
            # Its own draws, whatever other candidates there are.
            own = zlib.crc32(candidates[i].candidate_id.encode())
            rows = equal_subset(candidates[i].kept, common, np.random.default_rng([seed, 2, own]))
            taken = candidates[i].representation.take(rows)
            tasks.append((taken, self._reward, (seed, 3, own), self._config.reward))
        scores = dict(zip(open_ones, self._ask("judging", score_of, tasks), strict=True)) if tasks else {}
        return [_with_score(c, scores.get(i)) for i, c in enumerate(candidates)]

    def consensus(self, judged: Sequence[Candidate], common: int, maker: Maker) -> list[Candidate]:
        """For each set of key points, what all trusted VAEs that know of rotation agree on (or all VAEs, if none does)."""
        if "consensus" not in self._config.search.families:
            return []
        out: dict[Model, tuple[Made, int]] = {}
        for keypoints in dict.fromkeys(c.configuration.keypoints for c in judged):
            trusted = [c for c in judged if c.score and c.configuration.trained and c.configuration.keypoints == keypoints]
            members = [c for c in trusted if "r" in c.spec.invariance] or trusted
            pairs = [(c.representation, c.score.mixture) for c in members if c.score and c.score.mixture]
            if len(pairs) < _LEAST_MEMBERS:
                continue
            variant = keypoints.replace(":", ".") if len(self._config.keypoints) > 1 else ""
            for seed in seeds_of(self._config):
                found, types = consensus_types(pairs, self._config.search.plain_latent_dim, seed)
                spec = PlainSpec(found.window_px, found.invariance, self._config.search.plain_latent_dim)
                configuration = Configuration(spec, keypoints, members[0].configuration.channels, variant)
                out[configuration, seed] = (Made(replace(found, types=types), np.empty(0)), 0)
        return [_enough(replace(c, state=None), common) for c in maker.guarded(out).values()]


def score_of(
    representation: Representation,
    reward: Callable[..., Score],
    entropy: Sequence[int],
    name: str,
    *,
    stopped: Callable[[], bool],  # noqa: ARG001 - a reward takes seconds and is not interrupted
) -> Score:
    """The reward's score, its failures blamed on whom they belong to; a task for a worker.

    Raises
    ------
    ConfigError
        If an option of our own reward is out of range.
    PluginError
        If the user's own reward fails or returns no score.
    """
    if not is_users_own(name):
        try:
            return judge(representation, reward, entropy)
        except ValueError as error:
            raise ConfigError(f"reward = '{name}' cannot be used with these reward_options: {error}") from error
    try:
        score = judge(representation, reward, entropy)
        score = replace(score, value=float(score.value), metrics={str(k): float(v) for k, v in score.metrics.items()})
    except Exception as error:  # the user's function may raise anything
        raise PluginError(
            f"reward = '{name}' failed: {type(error).__name__}: {error}; it must return a rewards.base.Score"
        ) from error
    return score


def _enough(candidate: Candidate, common: int) -> Candidate:
    left = int(candidate.kept.sum())
    if candidate.guarded_out is not None or left >= common:
        return candidate
    return replace(
        candidate, guarded_out=f"too few points: {left} left by the density filter, the others are compared on {common}"
    )


def _with_score(candidate: Candidate, score: Score | None) -> Candidate:
    if score is None:
        return candidate
    if not np.isfinite(score.value):
        return replace(candidate, guarded_out=f"the reward is {score.value}, not a finite number")
    return replace(candidate, score=score)

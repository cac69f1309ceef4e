"""Builds candidates: groups models into tasks, runs them on the workers, and applies density filter and guards to the results."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.representation.tasks import FittedRepresentation, RepresentTask, apply, device_for, represent, survivors
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import Candidate, Configuration, Rows, rows_of, seeds_of
from agent.search.prepared_scan import PreparedScan
from agent.search.task_cache import ResultCache
from agent.search.task_runner import TaskRunner
from agent.workers.base import Workers
from rewards.guards import guard_seeds

Model = tuple[Configuration, int]  # a configuration and a seed


class CandidateBuilder:
    """Builds the candidates of one scan.

    Parameters
    ----------
    scan
        Images and key points; each image is sent to the workers once.
    config
        Configuration with training budget, guards and density filter.
    workers
        Workers on which tasks run.
    runner
        Runner that submits tasks to `workers`.
    cache
        Cache of finished tasks, which are not run again.
    """

    def __init__(self, scan: PreparedScan, config: Config, workers: Workers, runner: TaskRunner, cache: ResultCache) -> None:
        workers.begin(runner.interrupted)
        self._scan, self._config, self._runner, self._cache = scan, config, runner, cache
        self._images = {mode: workers.share(stack) for mode, stack in scan.stacks.items()}
        self._digests = {mode: _digest(stack) for mode, stack in scan.stacks.items()}
        self._device = "cpu"
        self.rows: dict[str, Rows] = {name: rows_of(found.points_rc, config) for name, found in scan.keypoints.items()}

    def plain_candidates(self, configurations: Sequence[Configuration]) -> list[Candidate]:
        """Candidates of plain families with the guards applied, in the order of the configurations."""
        tasks = [self.task(c, seeds_of(self._config)) for c in configurations]
        order = sorted(range(len(tasks)), key=lambda i: -configurations[i].spec.window_px)
        arguments = [(self._images[configurations[i].channels], tasks[i]) for i in order]
        by_task = dict(zip(order, self._runner.run("plain", represent, arguments), strict=True))
        fitted = {(c, f.representation.seed): (f, 0) for i, c in enumerate(configurations) for f in by_task[i]}
        return list(self.guarded(fitted).values())

    def find_device(self) -> None:
        """Find out from a worker whether it trains on a GPU."""
        if self._config.train.device != "cpu":
            self._device = self._runner.run("device", device_for, [(self._config.train,)])[0]

    def train(self, models: Mapping[Model, np.ndarray | None], steps: int, stage: str) -> dict[Model, FittedRepresentation]:
        """Train each model for `steps` steps, starting from its weights if given."""
        groups = self.groups(models)
        return self.run(stage, groups, [self.training_task(group, steps, [models[m] for m in group]) for group in groups])

    def run(
        self, stage: str, groups: Sequence[Sequence[Model]], tasks: Sequence[RepresentTask]
    ) -> dict[Model, FittedRepresentation]:
        """Results of the tasks by model. Tasks in the cache are not run again; results of the others are added to it."""
        digests = [self._digests[group[0][0].channels] for group in groups]
        results = {i: cached for i, task in enumerate(tasks) if (cached := self._cache.get(digests[i], task)) is not None}
        todo = [i for i in range(len(tasks)) if i not in results]

        def finished(k: int, fitted: list[FittedRepresentation]) -> None:
            self._cache.put(digests[todo[k]], tasks[todo[k]], fitted)

        arguments = [(self._images[groups[i][0][0].channels], tasks[i]) for i in todo]
        results |= dict(zip(todo, self._runner.run(stage, represent, arguments, finished), strict=True))
        return {model: fitted for i, group in enumerate(groups) for model, fitted in zip(group, results[i], strict=True)}

    def training_task(
        self, group: Sequence[Model], steps: int, start: Sequence[np.ndarray | None] = (), rate: float = 1.0
    ) -> RepresentTask:
        """A task that trains a group of models together, at `rate` times the configured learning rate."""
        task = self.task(group[0][0], tuple(seed for _, seed in group), steps, rate)
        return replace(task, specs=tuple(c.spec for c, _ in group), start=tuple(w for w in start if w is not None))

    def task(
        self, configuration: Configuration, seeds: tuple[int, ...], steps: int | None = None, rate: float = 1.0
    ) -> RepresentTask:
        """A task that fits one model or resample of a configuration for each seed."""
        keypoints, rows = self._scan.keypoints[configuration.keypoints], self.rows[configuration.keypoints]
        points, walls = keypoints.points_rc, keypoints.walls
        train = self._config.train
        changes = {"learning_rate": rate * train.learning_rate} | ({} if steps is None else {"steps": steps})
        train = train.model_copy(update=changes)
        specs = (configuration.spec,) * len(seeds)
        device = self._device if configuration.trained else "cpu"
        return RepresentTask(
            points[rows.judged],
            points[rows.fitted],
            points[rows.held_out],
            specs,
            seeds,
            train,
            device=device,
            walls=walls.take(rows.judged),
            fitted_walls=walls.take(rows.fitted),
        )

    def candidate(self, model: Model, fitted: FittedRepresentation, steps: int, reason: str | None = None) -> Candidate:
        """A candidate with the points that the density filter keeps; `reason` says why it is not eligible."""
        kept = survivors(fitted.representation, **self._config.filter.model_dump())
        return Candidate(model[0], model[1], fitted.representation, kept, fitted.state, steps, reason)

    def guarded(self, fitted: Mapping[Model, tuple[FittedRepresentation, int]]) -> dict[Model, Candidate]:
        """Candidates with the guards applied; seeds of one configuration are compared with each other.

        Parameters
        ----------
        fitted
            Fitted representation of each model, and the optimiser steps spent on it.
        """
        out = {model: self.candidate(model, f, steps) for model, (f, steps) in fitted.items()}
        for configuration in dict.fromkeys(c for c, _ in fitted):
            models = [model for model in out if model[0] == configuration]
            seeds = [out[model] for model in models]
            kept = [int(c.kept.sum()) for c in seeds]
            reasons = guard_seeds([c.representation for c in seeds], kept, self._config.guards)
            out |= {model: replace(out[model], guarded_out=reason) for model, reason in zip(models, reasons, strict=True)}
        return out

    def latents_of_all_points(self, chosen: Candidate) -> np.ndarray | None:
        """Latents (n, d) of all key points of the candidate's set; None if it can represent the judged points only."""
        points = self._scan.keypoints[chosen.configuration.keypoints].points_rc
        if len(points) == len(chosen.representation.z):
            return chosen.representation.z
        if chosen.state is None:
            return None
        arguments = (self._images[chosen.configuration.channels], points, chosen.spec, chosen.state, self._device)
        return np.asarray(self._runner.run("applying", apply, [arguments])[0])

    def groups(self, models: Mapping[Model, Any]) -> list[list[Model]]:
        """Groups of models that train in one task: the seeds of a configuration; on a GPU, all models that can be stacked."""
        groups: dict[Any, list[Model]] = {}
        for c, seed in models:
            key = c if self._device == "cpu" else (c.spec.window_px, c.channels, c.keypoints)
            groups.setdefault(key, []).append((c, seed))
        # The most expensive first, so that no long task is left running alone at the end.
        return sorted(groups.values(), key=lambda group: _cost(group[0][0]), reverse=True)


def _cost(c: Configuration) -> tuple[int, int]:
    return c.spec.window_px, GEOMETRIC_LATENTS.get(c.spec.invariance, -1)


def _digest(stack: np.ndarray) -> str:
    return hashlib.sha256(repr(stack.shape).encode() + np.ascontiguousarray(stack).tobytes()).hexdigest()

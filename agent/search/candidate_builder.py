"""Candidates made: tasks put together, grouped, sent to the workers, and their results turned into guarded candidates."""

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
from agent.search.task_cache import Store
from agent.search.task_runner import TaskRunner
from agent.workers.base import Workers
from rewards.guards import guard_seeds

Model = tuple[Configuration, int]  # a configuration and a seed


class CandidateBuilder:
    """Makes candidates of one scene.

    Parameters
    ----------
    scene
        Images and key points; the images are handed to the workers once.
    config
        Budget, guards, filter.
    workers, ask
        Where the work is done.
    store
        What it has is not trained again.
    """

    def __init__(self, scene: PreparedScan, config: Config, workers: Workers, ask: TaskRunner, store: Store) -> None:
        workers.begin(ask.interrupted)
        self._scene, self._config, self._ask, self._store = scene, config, ask, store
        self._images = {mode: workers.share(stack) for mode, stack in scene.stacks.items()}
        self._digests = {mode: _digest(stack) for mode, stack in scene.stacks.items()}
        self._device = "cpu"
        self.rows: dict[str, Rows] = {name: rows_of(found.points_rc, config) for name, found in scene.keypoints.items()}

    def plain(self, configurations: Sequence[Configuration]) -> list[Candidate]:
        """Candidates of plain families, guarded, in the order of the configurations."""
        tasks = [self.task(c, seeds_of(self._config)) for c in configurations]
        order = sorted(range(len(tasks)), key=lambda i: -configurations[i].spec.window_px)
        arguments = [(self._images[configurations[i].channels], tasks[i]) for i in order]
        by_task = dict(zip(order, self._ask("plain", represent, arguments), strict=True))
        found = {(c, m.representation.seed): (m, 0) for i, c in enumerate(configurations) for m in by_task[i]}
        return list(self.guarded(found).values())

    def find_device(self) -> None:
        """Ask a worker where it trains."""
        if self._config.train.device != "cpu":
            self._device = self._ask("device", device_for, [(self._config.train,)])[0]

    def train(self, models: Mapping[Model, np.ndarray | None], steps: int, stage: str) -> dict[Model, FittedRepresentation]:
        """Each model trained for so many steps, going on from its weights where it has any."""
        groups = self.groups(models)
        return self.run(stage, groups, [self.stacked(group, steps, [models[m] for m in group]) for group in groups])

    def run(
        self, stage: str, groups: Sequence[Sequence[Model]], tasks: Sequence[RepresentTask]
    ) -> dict[Model, FittedRepresentation]:
        """The tasks' results by model; what the store has is not made again, and what is made is kept there."""
        digests = [self._digests[group[0][0].channels] for group in groups]
        results = {i: kept for i, task in enumerate(tasks) if (kept := self._store.get(digests[i], task)) is not None}
        todo = [i for i in range(len(tasks)) if i not in results]

        def finished(k: int, made: list[FittedRepresentation]) -> None:
            self._store.put(digests[todo[k]], tasks[todo[k]], made)

        arguments = [(self._images[groups[i][0][0].channels], tasks[i]) for i in todo]
        results |= dict(zip(todo, self._ask(stage, represent, arguments, finished), strict=True))
        return {model: made for i, group in enumerate(groups) for model, made in zip(group, results[i], strict=True)}

    def stacked(
        self, group: Sequence[Model], steps: int, start: Sequence[np.ndarray | None] = (), rate: float = 1.0
    ) -> RepresentTask:
        """One task that trains a group of models, at `rate` times the configured learning rate."""
        task = self.task(group[0][0], tuple(seed for _, seed in group), steps, rate)
        return replace(task, specs=tuple(c.spec for c, _ in group), start=tuple(w for w in start if w is not None))

    def task(
        self, configuration: Configuration, seeds: tuple[int, ...], steps: int | None = None, rate: float = 1.0
    ) -> RepresentTask:
        """One task that makes a configuration's candidates."""
        points, rows = self._scene.keypoints[configuration.keypoints].points_rc, self.rows[configuration.keypoints]
        train = self._config.train
        changes = {"learning_rate": rate * train.learning_rate} | ({} if steps is None else {"steps": steps})
        train = train.model_copy(update=changes)
        specs = (configuration.spec,) * len(seeds)
        device = self._device if configuration.trained else "cpu"
        return RepresentTask(points[rows.judged], points[rows.fitted], points[rows.held_out], specs, seeds, train, device=device)

    def candidate(self, model: Model, made: FittedRepresentation, steps: int, reason: str | None = None) -> Candidate:
        """What was made, with the points that the density filter keeps."""
        kept = survivors(made.representation, **self._config.filter.model_dump())
        return Candidate(model[0], model[1], made.representation, kept, made.state, steps, reason)

    def guarded(self, made: Mapping[Model, tuple[FittedRepresentation, int]]) -> dict[Model, Candidate]:
        """Candidates, those that cannot be trusted with the reason; seeds of one configuration are held against each other.

        Parameters
        ----------
        made
            What was made, and the steps spent on it.
        """
        out = {model: self.candidate(model, m, steps) for model, (m, steps) in made.items()}
        for configuration in dict.fromkeys(c for c, _ in made):
            models = [model for model in out if model[0] == configuration]
            seeds = [out[model] for model in models]
            kept = [int(c.kept.sum()) for c in seeds]
            reasons = guard_seeds([c.representation for c in seeds], kept, self._config.guards)
            out |= {model: replace(out[model], guarded_out=reason) for model, reason in zip(models, reasons, strict=True)}
        return out

    def applied(self, chosen: Candidate) -> np.ndarray | None:
        """Shape (n, d): latents of all key points of its set; None for one that knows the judged points only."""
        points = self._scene.keypoints[chosen.configuration.keypoints].points_rc
        if len(points) == len(chosen.representation.z):
            return chosen.representation.z
        if chosen.state is None:
            return None
        arguments = (self._images[chosen.configuration.channels], points, chosen.spec, chosen.state, self._device)
        return np.asarray(self._ask("applying", apply, [arguments])[0])

    def groups(self, models: Mapping[Model, Any]) -> list[list[Model]]:
        """Models that are trained together: the seeds of one configuration; on a GPU, all that can be stacked."""
        groups: dict[Any, list[Model]] = {}
        for c, seed in models:
            key = c if self._device == "cpu" else (c.spec.window_px, c.channels, c.keypoints)
            groups.setdefault(key, []).append((c, seed))
        # The dearest first, so that no worker is left alone with a long one at the end.
        return sorted(groups.values(), key=lambda group: _cost(group[0][0]), reverse=True)


def _cost(c: Configuration) -> tuple[int, int]:
    return c.spec.window_px, GEOMETRIC_LATENTS.get(c.spec.invariance, -1)


def _digest(stack: np.ndarray) -> str:
    return hashlib.sha256(repr(stack.shape).encode() + np.ascontiguousarray(stack).tobytes()).hexdigest()

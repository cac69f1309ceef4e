"""Finished work of a search on disk, so that a killed one need not train again what it had trained.

One file for each task, named after all that its result depends on, complete or absent. It is a cache, not a record: a file that
cannot be read counts as absent, and all are removed once the decision that they led to has been recorded.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from agent.representation.tasks import FittedRepresentation, RepresentTask
from agent.schema.decision import versions
from rewards.base import Representation

_ARRAYS = ("z", "z_std", "z_rotated", "z_mirrored")
_FACTS = ("window_px", "invariance", "seed", "elbo_per_px", "reconstruction_per_px", "trained")


class Store(Protocol):
    """Keeps results of finished tasks."""

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:
        """What was kept for this task on the image of this digest, or None."""

    def put(self, image: str, task: RepresentTask, made: Sequence[FittedRepresentation]) -> None:
        """Keep the result of this task on the image of this digest."""


class NullCache:
    """Keeps nothing."""

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:  # noqa: ARG002 - the Store protocol
        """None."""
        return None

    def put(self, image: str, task: RepresentTask, made: Sequence[FittedRepresentation]) -> None:
        """Nothing happens."""


class TaskCache:
    """Keeps results as `.npz` files (no pickle) in a directory, which is made when the first one comes.

    Parameters
    ----------
    directory
        Used for nothing else.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:
        """What was kept for this task, or None."""
        try:
            with np.load(self._path(image, task), allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                return [
                    FittedRepresentation(
                        Representation(**{name: file[f"{name}{i}"] for name in _ARRAYS}, points_rc=task.points_rc, **fact),
                        file[f"state{i}"],
                    )
                    for i, fact in enumerate(facts)
                ]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, image: str, task: RepresentTask, made: Sequence[FittedRepresentation]) -> None:
        """Keep the result of this task; what cannot be written is not kept, and the search goes on."""
        arrays = {"facts": np.array(json.dumps([{name: getattr(m.representation, name) for name in _FACTS} for m in made]))}
        for i, m in enumerate(made):
            arrays |= {f"{name}{i}": getattr(m.representation, name) for name in _ARRAYS} | {f"state{i}": m.state}
        path = self._path(image, task)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all that is kept, and the directory where nothing else lies in it."""
        for path in [*self.directory.glob("*.npz"), *self.directory.glob("*.part")]:
            path.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _path(self, image: str, task: RepresentTask) -> Path:
        digest = hashlib.sha256()
        facts = [image, repr(task.specs), task.seeds, task.train.model_dump(mode="json"), task.device, versions()]
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for array in (task.points_rc, task.fitted_rc, task.held_out_rc, *task.start):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return self.directory / f"{digest.hexdigest()[:32]}.npz"

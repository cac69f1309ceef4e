"""Cache of finished tasks on disk, so that a search that was killed does not repeat them.

Each task has one file, named after a hash of everything that its result depends on, which is complete or absent. A file that
cannot be read counts as absent. All files are removed once the decision to which they led has been recorded.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from agent.representation.tasks import FittedRepresentation, RepresentTask
from agent.schema.decision import versions
from instrument_adapters.new_file import open_new
from rewards.base import Representation

_ARRAYS = ("z", "z_std", "z_rotated", "z_mirrored")
_FACTS = ("window_px", "invariance", "seed", "elbo_per_px", "reconstruction_per_px", "trained")


class ResultCache(Protocol):
    """Keeps results of finished tasks."""

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:
        """The kept result of a task on the image with the digest `image`, or None."""

    def put(self, image: str, task: RepresentTask, fitted: Sequence[FittedRepresentation]) -> None:
        """Keep the result of a task on the image with the digest `image`."""


class NullCache:
    """Keeps nothing."""

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:  # noqa: ARG002 - see ResultCache
        """None."""
        return None

    def put(self, image: str, task: RepresentTask, fitted: Sequence[FittedRepresentation]) -> None:
        """Do nothing."""


class TaskCache:
    """Keeps results as `.npz` files (without pickle).

    Parameters
    ----------
    directory
        Path of a directory for the files alone; it is created with the first one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, image: str, task: RepresentTask) -> list[FittedRepresentation] | None:
        """The kept result of a task on the image with the digest `image`, or None."""
        try:
            with np.load(self._path(image, task), allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                return [
                    FittedRepresentation(
                        Representation(
                            **{name: file[f"{name}{i}"] for name in _ARRAYS}, points_rc=task.points_rc, walls=task.walls, **fact
                        ),
                        file[f"state{i}"],
                    )
                    for i, fact in enumerate(facts)
                ]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, image: str, task: RepresentTask, fitted: Sequence[FittedRepresentation]) -> None:
        """Keep the result of a task on the image with the digest `image`; if it cannot be written, the search continues."""
        arrays = {"facts": np.array(json.dumps([{name: getattr(f.representation, name) for name in _FACTS} for f in fitted]))}
        for i, f in enumerate(fitted):
            arrays |= {f"{name}{i}": getattr(f.representation, name) for name in _ARRAYS} | {f"state{i}": f.state}
        path = self._path(image, task)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with open_new(part) as file:
                np.savez(file, allow_pickle=False, **arrays)
            part.replace(path)
        except OSError:
            _remove(part)

    def clear(self) -> None:
        """Remove all kept results, and the directory if nothing else is in it. What cannot be removed stays, and does no harm."""
        for path in [*self.directory.glob("*.npz"), *self.directory.glob("*.part")]:
            _remove(path)
        with contextlib.suppress(OSError):  # it does not exist, or holds other files
            self.directory.rmdir()

    def _path(self, image: str, task: RepresentTask) -> Path:
        digest = hashlib.sha256()
        facts = [image, repr(task.specs), task.seeds, task.train.model_dump(mode="json"), task.device, versions()]
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for array in (task.points_rc, task.fitted_rc, task.held_out_rc, *task.start, *_wall_arrays(task)):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return self.directory / f"{digest.hexdigest()[:32]}.npz"


def _wall_arrays(task: RepresentTask) -> tuple[np.ndarray, ...]:
    return (*vars(task.walls).values(), *vars(task.fitted_walls).values())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def unfinished_files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Temporary files in the directory of a task cache, each with the id of the process that wrote it."""
    for path in directory.glob("*.part"):
        yield path, path.name.split(".")[-2]

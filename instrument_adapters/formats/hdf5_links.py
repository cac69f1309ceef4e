"""Opens the objects of an HDF5 file, and refuses those that bring in the content of another file.

HDF5 knows three ways to refer to other files: external links, virtual data sets and external raw storage. A scan file that a
stranger wrote could show any file of this computer with them. Links are therefore followed here, one after another, and each
data set is asked where its numbers are before any is read.
"""

from collections import deque
from pathlib import Path

import h5py

from instrument_adapters.errors import ScanFileError

_SOFT_LINKS_MAX = 16


def find_object(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset | h5py.Datatype | None:
    """The object called `name` from `group`; None if there is none. Soft links are followed inside the file.

    Parameters
    ----------
    group
        Group to start from.
    name
        Names of links, separated by slashes.
    path
        Path of the file, for messages.

    Raises
    ------
    ScanFileError
        If the object, or a link on the way to it, refers to another file.
    """
    item, steps, soft_links = group, deque(name.split("/")), 0
    while steps:
        step = steps.popleft().encode("utf-8", "surrogateescape")
        if step in (b"", b"."):
            continue
        if not isinstance(item, h5py.Group) or not item.id.links.exists(step):
            return None
        kind = item.id.links.get_info(step).type
        if kind == h5py.h5l.TYPE_SOFT:
            target = item.id.links.get_val(step).decode("utf-8", "surrogateescape")
            soft_links += 1
            if soft_links > _SOFT_LINKS_MAX:
                raise ScanFileError(f"{path} is damaged (its links lead in a circle); write the file again")
            item = item.file["/"] if target.startswith("/") else item
            steps.extendleft(reversed(target.split("/")))
        elif kind == h5py.h5l.TYPE_HARD:
            item = item[step]
            _refuse_foreign_numbers(item, path)
        else:
            raise _elsewhere(path, f"{item.name}/{step.decode('utf-8', 'replace')}", "a link to another file")
    return item


def bytes_unpacked(data: h5py.Dataset) -> int:
    """Bytes that reading `data` unpacks: whole chunks, which may be far larger than the data set."""
    if data.size is None or data.chunks is None:
        return int(data.nbytes) if data.size else 0
    points = 1
    for side, chunk in zip(data.shape, data.chunks, strict=True):
        points *= -(-side // chunk) * chunk
    return points * int(data.dtype.itemsize)


def _refuse_foreign_numbers(item: object, path: Path) -> None:
    if isinstance(item, h5py.Dataset):
        creation = item.id.get_create_plist()  # asked before the shape, for which a virtual data set opens its sources
        if creation.get_layout() == h5py.h5d.VIRTUAL:
            raise _elsewhere(path, item.name, "a virtual data set")
        if creation.get_external_count() > 0:
            raise _elsewhere(path, item.name, "external storage")


def _elsewhere(path: Path, name: str, what: str) -> ScanFileError:
    return ScanFileError(
        f"{path} does not hold all of its data ({name} is {what}); only one file is read, so write the scan to one file"
    )

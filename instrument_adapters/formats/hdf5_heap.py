"""Whether an HDF5 file's global heaps can be walked: the HDF5 library loops for ever in a damaged one.

Text of variable length lives there. Of small files with a few random bytes damaged about one in 200 hung h5py 3.16, nearly
each time in a heap whose object sizes had been hit, and no exception or signal gets out of that loop. Where a text says how long
it is, the library believes it and takes up to 4 GB. With both checked, and with attributes of odd types left alone (`nsid`), a
few damaged files are left at which it is slow or hangs: `hdf5_guard` reads all in a process of its own, with a deadline.
"""

import struct
from collections.abc import Iterator

_SIGNATURE = b"GCOL\x01\0\0\0"  # version 1 and three reserved bytes
_HEADER, _OBJECT = 16, 16
_HEAP_MIN = 4096
_SEARCH_MAX = 1 << 31  # bytes to look through for references: a second


def heaps_are_sound(raw: bytes) -> bool:
    """True if the objects of every global heap in `raw` lie one behind the other inside it (HDF5 file format, III.E).

    And if nothing that refers to one of them claims to be longer than the file.
    """
    heaps = {}
    for at in _places(raw, _SIGNATURE):
        if len(raw) < at + _HEADER:
            return False
        size = int.from_bytes(raw[at + 8 : at + _HEADER], "little")
        # A size that cannot be: the signature is image data, or HDF5 itself refuses the heap.
        if _HEAP_MIN <= size <= len(raw) - at:
            found = _objects(raw, at + _HEADER, at + size)
            if found is None:
                return False
            heaps[at] = found
    return len(heaps) * len(raw) > _SEARCH_MAX or all(_lengths_are_sound(raw, at, found) for at, found in heaps.items())


def _objects(raw: bytes, at: int, end: int) -> set[int] | None:
    """Numbers of the objects of a heap, or None if they cannot be walked."""
    found: set[int] = set()
    while at + _OBJECT <= end:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, at)
        if index == 0:  # what is left is free, its own header included
            return found if at + size == end else None
        found.add(index)
        at += _OBJECT + (size + 7) // 8 * 8
    return found if at <= end else None


def _lengths_are_sound(raw: bytes, heap: int, objects: set[int]) -> bool:
    """What refers to an object: its length in four bytes, the heap's address in eight, the object's number in four."""
    for at in _places(raw, heap.to_bytes(8, "little")):
        if at >= 4 and at + 12 <= len(raw):
            length, _, index = struct.unpack_from("<IQI", raw, at - 4)
            if length > len(raw) and index in objects:
                return False
    return True


def _places(raw: bytes, pattern: bytes) -> Iterator[int]:
    at = raw.find(pattern)
    while at >= 0:
        yield at
        at = raw.find(pattern, at + 1)

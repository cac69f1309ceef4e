"""Checks the global heaps of an HDF5 file, because the HDF5 library loops forever in a damaged one.

The global heaps hold text of variable length. Of small files with a few random bytes damaged, about one in 200 hung h5py 3.16,
nearly always in a heap with damaged object sizes, and neither an exception nor a signal ends that loop. The library also trusts
the stated length of a text and allocates up to 4 GB for it. With both checked, and attributes of unusual types ignored (`nsid`),
a few damaged files remain that are slow or hang. `hdf5_guard` therefore reads every file in a child process with a deadline.
"""

import struct
from collections.abc import Iterator

_SIGNATURE = b"GCOL\x01\0\0\0"  # version 1 and three reserved bytes
_HEADER, _OBJECT = 16, 16
# Version and class before the heap address of a virtual data set, which is no text; as a length they would be 51 MB.
_VIRTUAL_LAYOUT = (b"\x04\x03", b"\x05\x03")
_HEAP_MIN = 4096
_SEARCH_MAX = 1 << 31  # heaps times bytes searched for references: about a second


def heaps_are_sound(raw: bytes) -> bool:
    """True if all global heaps in `raw` are consistent.

    The objects of each heap must lie one after another inside it (HDF5 file format, III.E), and no reference to one of them may
    state a length greater than that of the file.
    """
    heaps = {}
    for at in _positions(raw, _SIGNATURE):
        if len(raw) < at + _HEADER:
            return False
        size = int.from_bytes(raw[at + 8 : at + _HEADER], "little")
        # With an impossible size the signature is image data, or HDF5 itself refuses the heap.
        if _HEAP_MIN <= size <= len(raw) - at:
            found = _objects(raw, at + _HEADER, at + size)
            if found is None:
                return False
            heaps[at] = found
    return len(heaps) * len(raw) > _SEARCH_MAX or all(_lengths_are_sound(raw, at, found) for at, found in heaps.items())


def _objects(raw: bytes, at: int, end: int) -> set[int] | None:
    """Numbers of the objects in a heap, or None if they do not lie one after another."""
    found: set[int] = set()
    while at + _OBJECT <= end:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, at)
        if index == 0:  # the rest is free space, including this header
            return found if at + size == end else None
        found.add(index)
        at += _OBJECT + (size + 7) // 8 * 8
    return found if at <= end else None


def _lengths_are_sound(raw: bytes, heap: int, objects: set[int]) -> bool:
    """False if a reference (4 bytes length, 8 bytes heap address, 4 bytes object number) states a length beyond the file."""
    for at in _positions(raw, heap.to_bytes(8, "little")):
        if at >= 4 and at + 12 <= len(raw):
            length, _, index = struct.unpack_from("<IQI", raw, at - 4)
            if length > len(raw) and index in objects and raw[at - 2 : at] not in _VIRTUAL_LAYOUT:
                return False
    return True


def _positions(raw: bytes, pattern: bytes) -> Iterator[int]:
    at = raw.find(pattern)
    while at >= 0:
        yield at
        at = raw.find(pattern, at + 1)

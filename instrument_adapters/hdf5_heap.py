"""Whether an HDF5 file's global heaps can be walked: the HDF5 library loops for ever in a damaged one.

Text of variable length lives there. Of small files with a few random bytes damaged about one in 200 hung h5py 3.16, nearly
each time in a heap whose object sizes had been hit, and no exception or signal gets out of that loop. With this check, and
with attributes of odd types left alone (`nsid`), two of 8000 still hung and none crashed: `hdf5_guard` reads such a file in a
process of its own, with a deadline.
"""

import struct

_SIGNATURE = b"GCOL\x01\0\0\0"  # version 1 and three reserved bytes
_HEADER, _OBJECT = 16, 16
_HEAP_MIN = 4096


def heaps_are_sound(raw: bytes) -> bool:
    """True if the objects of every global heap in `raw` lie one behind the other inside it (HDF5 file format, III.E)."""
    at = raw.find(_SIGNATURE)
    while at >= 0:
        if len(raw) < at + _HEADER:
            return False
        size = int.from_bytes(raw[at + 8 : at + _HEADER], "little")
        # A size that cannot be: the signature is image data, or HDF5 itself refuses the heap.
        if _HEAP_MIN <= size <= len(raw) - at and not _is_sound(raw, at + _HEADER, at + size):
            return False
        at = raw.find(_SIGNATURE, at + 1)
    return True


def _is_sound(raw: bytes, at: int, end: int) -> bool:
    while at + _OBJECT <= end:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, at)
        if index == 0:  # what is left is free, its own header included
            return bool(at + size == end)
        at += _OBJECT + (size + 7) // 8 * 8
    return at <= end

"""Resident memory of this process, and the return of freed memory to the system."""

import ctypes
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Return the resident memory: current on Linux, the peak on other Unix systems, 0 on Windows (no standard-library call)."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return _peak_bytes()
    import resource

    return int(fields[1]) * resource.getpagesize()


def release_freed_memory() -> None:
    """Return the memory that a search has freed to the system, if the C library can (glibc); it would otherwise keep it."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

"""How much memory this process holds, and giving back what it does not need."""

import ctypes
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Now, where Linux says it; elsewhere the most so far, and 0 on Windows, which says neither without another library."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return _most()
    import resource

    return int(fields[1]) * resource.getpagesize()


def give_back() -> None:
    """Return freed memory to the system, where the C library can (glibc): it would keep what a search took for a moment."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _most() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

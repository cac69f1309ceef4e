"""Limits on CPU time that do not depend on the speed of the machine: they are scaled by a fixed piece of work."""

import time

_WORK = 400_000
_NOMINAL_S = 0.03  # CPU time of the fixed work, rounded up, on the machine on which the limits hold with room


def scaled(limit_s: float) -> float:
    """`limit_s` seconds of the reference machine, in CPU seconds of this one under its present load; never less."""
    began = time.process_time()
    total = 0
    for i in range(_WORK):
        total += i * i % 7
    return limit_s * max(1.0, (time.process_time() - began) / _NOMINAL_S)

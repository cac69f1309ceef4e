"""Uptime and acknowledgement latency of the service, independent of how they are exported."""

import time
from dataclasses import dataclass, field

from agent.history.counters import Histogram

ACK_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Meters:
    """Measurements of one process, zero at its start."""

    started_s: float = field(default_factory=time.monotonic)
    ack_s: Histogram = field(default_factory=lambda: Histogram(ACK_BOUNDS_S))

    def acknowledged(self, since_s: float) -> None:
        """Count a message that was read at `since_s` (`time.perf_counter`) and is now recorded and acknowledged."""
        self.ack_s.observe(time.perf_counter() - since_s)

    @property
    def uptime_s(self) -> float:
        """Seconds since the process started to serve."""
        return time.monotonic() - self.started_s

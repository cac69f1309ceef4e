"""What the service measures of itself while it runs; kept in plain numbers, so that nothing depends on whoever asks for them."""

import time
from dataclasses import dataclass, field

from agent.history.counters import Histogram

ACK_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Meters:
    """Figures of one process; they begin anew when it does."""

    started_s: float = field(default_factory=time.monotonic)
    ack_s: Histogram = field(default_factory=lambda: Histogram(ACK_BOUNDS_S))

    def acknowledged(self, since_s: float) -> None:
        """A message that was read at `since_s` (of `time.perf_counter`) has been recorded and acknowledged."""
        self.ack_s.observe(time.perf_counter() - since_s)

    @property
    def uptime_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started_s

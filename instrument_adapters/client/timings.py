"""Pauses and time-outs of a client."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClientTimings:
    """Pauses and time-outs of a client, in seconds.

    Parameters
    ----------
    repeat_s, repeat_max_s
        First and longest pause before an unanswered message is repeated; the pause doubles in between.
    heartbeat_s
        Interval between heartbeats.
    silence_s
        Time without any message after which the agent counts as disconnected.
    resume_s
        Longest interruption after which a restarted client still measures earlier recommendations; after a longer one it begins
        with a new scan.
    lines_s
        Shortest interval between two messages with lines of the scan being recorded.
    status_s
        Shortest interval between two status messages.
    halt_s
        Time after which an emergency stop is acknowledged even if the instrument's `halt` has not returned.
    halt_max_s
        Time after an emergency stop at which an instrument whose call has not ended is closed, and the client ends.
    stop_s
        Time that a client waits for the last answers before it ends.
    """

    repeat_s: float = 5.0
    repeat_max_s: float = 30.0
    heartbeat_s: float = 3.0
    silence_s: float = 30.0
    resume_s: float = 900.0
    lines_s: float = 1.0
    status_s: float = 0.25
    halt_s: float = 0.5
    halt_max_s: float = 20.0
    stop_s: float = 0.3

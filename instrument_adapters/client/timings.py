"""How long a client waits for what."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClientTimings:
    """Pauses and time-outs of a client, in seconds.

    Parameters
    ----------
    repeat_s, repeat_max_s
        First and longest pause before a message without an answer is repeated; it doubles in between.
    heartbeat_s
        Pause between heartbeats.
    silence_s
        The agent counts as gone after so long without a word.
    resume_s
        A client that was down for longer measures no recommendation from before; it begins with a new scan.
    lines_s
        Lines of a frame that is being recorded are sent no more often than once in so long.
    status_s
        What the instrument is doing is told no more often than once in so long.
    halt_s
        At an emergency stop, a command is acknowledged after so long even if the instrument's `halt` has not returned.
    halt_max_s
        An instrument whose call has not ended so long after an emergency stop is closed, and the client ends.
    stop_s
        At the end, how long answers to the last messages are waited for.
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

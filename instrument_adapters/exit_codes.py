"""Exit codes of all commands: one table for the agent, the adapters and the simulators (docs/operations.md)."""

OK = 0
"""Finished, or shut down cleanly by a signal."""

FAILED = 1
"""A check failed, the agent or the instrument refused, or the program ended with an error."""

BAD_INPUT = 2
"""Invalid input: an option, a configuration, a file or an address. Nothing was started."""

NOT_RUNNING = 3
"""The agent that the command needs is not running or does not answer."""

STORAGE = 4
"""The run directory, the spool or the output cannot be read or written: disk full, read-only, locked, damaged or missing."""

INCOMPLETE = 5
"""The result was written, but some of its figures, or some decisions of a report, are missing; stderr names each."""

INTERRUPTED = 130
"""Interrupted by Ctrl-C, SIGTERM or SIGHUP; finished work is kept, and what was started has ended."""

OUTPUT_CLOSED = 141
"""The program that read the output has closed it, as `head` does; nothing is said about what was left to print."""


def for_error(error: Exception, default: int) -> int:
    """Exit code of an error: its attribute `exit_code` if it has one, else `default`."""
    return int(getattr(error, "exit_code", default))

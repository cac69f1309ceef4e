"""How every command of this distribution ends: one table for the agent, the adapters and the simulators (docs/operations.md)."""

OK = 0
"""Done, or ended in order by a signal."""

FAILED = 1
"""Something was found wrong, somebody refused, or what ran ended with an error."""

BAD_INPUT = 2
"""What was given is not allowed: an option, a configuration, a file, an address. Nothing was begun."""

NOT_RUNNING = 3
"""No agent runs where one was asked for something, or it does not answer."""

STORAGE = 4
"""The run directory cannot be read or written: disk full, read-only, locked, damaged, gone."""

INTERRUPTED = 130
"""Ended by Ctrl-C before it was done; what was finished is kept."""


def of(error: Exception, otherwise: int) -> int:
    """The exit code that an error names, or another."""
    return int(getattr(error, "exit_code", otherwise))

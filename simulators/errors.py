"""Errors of the simulated instrument; those of the running instrument derive from `instrument_adapters.errors`."""

from instrument_adapters.errors import InstrumentFaultError


class SimulatorError(Exception):
    """Base of all errors raised by this package."""


class InterruptedWaitError(SimulatorError, InstrumentFaultError):
    """The simulated clock was stopped or halted before or during a wait."""


class FailedLoopError(SimulatorError, InstrumentFaultError):
    """A hysteresis loop was recorded, but no meaningful parameters can be determined from it."""


class UnknownTierError(SimulatorError, ValueError):
    """No tier of worlds has this name."""


class InvalidSettingsError(SimulatorError, ValueError):
    """A configuration has an unknown key or an invalid value; the message names it."""


class UnknownFaultError(SimulatorError, ValueError):
    """No fault has this name, or it cannot occur at the given place or with the given parameters."""

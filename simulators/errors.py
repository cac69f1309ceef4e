"""What can go wrong inside a simulated instrument; each is also an error of `instrument_adapters`, so the client knows it."""

from instrument_adapters.errors import InstrumentFaultError


class SimulatorError(Exception):
    """Base of all errors raised by this package."""


class InterruptedWaitError(SimulatorError, InstrumentFaultError):
    """The simulated clock was stopped while something waited for it."""


class FailedLoopError(SimulatorError, InstrumentFaultError):
    """A hysteresis loop was recorded and no parameters can honestly be drawn from it."""


class UnknownTierError(SimulatorError, ValueError):
    """No tier of worlds has this name."""


class InvalidSettingsError(SimulatorError, ValueError):
    """A configuration has a key or a value that is not allowed; the message names it."""


class UnknownFaultError(SimulatorError, ValueError):
    """No fault has this name, or it cannot happen at the place or with the parameters that were given."""

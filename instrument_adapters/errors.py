"""What can go wrong between an instrument and the agent, one exception per kind.

Every message says what was given, what is allowed and what to do, in one sentence that can be shown to a person.
"""


class AdapterError(Exception):
    """Base of all errors raised by this package."""


class ScanFileError(AdapterError, ValueError):
    """A scan file is missing, damaged, or not what its name says."""


class NoImageError(ScanFileError):
    """A sound file that holds something other than an image: curves, text."""


class ScanDataError(AdapterError, ValueError):
    """A scan was read, but its arrays or its geometry make no sense."""


class UnknownChannelError(AdapterError, LookupError):
    """A channel was asked for that the scan does not hold."""


class ProtocolError(AdapterError, ValueError):
    """A message breaks the wire protocol.

    Parameters
    ----------
    code
        Short machine-readable name of the fault, sent back in `Refused.code`.
    reason
        One sentence for a person.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LimitError(AdapterError, ValueError):
    """A position or a setting lies outside the instrument's limits; it is refused, never clamped."""


class InstrumentFaultError(AdapterError, RuntimeError):
    """The instrument accepted a command and could not carry it out."""


class EmergencyStopError(AdapterError, RuntimeError):
    """A person had everything stopped, and the instrument could only be stopped for good: it has to be connected anew."""

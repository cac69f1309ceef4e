"""Exceptions of the adapters and the client, one for each kind of failure.

Every message states in one sentence for people what was given, what is allowed and what to do.
"""

import errno

_PLAIN = {
    errno.EEXIST: "there is already a file of that name",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "there is no such file or folder",
}


def plain_reason(error: Exception) -> str:
    """Why a file or an address cannot be used, without the error number and the path, which the message around it names."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    if isinstance(error, OSError):
        return _PLAIN.get(error.errno or 0) or error.strerror or str(error)
    return str(error)


class AdapterError(Exception):
    """Base of all errors raised by this package."""


class ScanFileError(AdapterError, ValueError):
    """A scan file is missing, damaged, or not of the type that its name suggests."""


class NoImageError(ScanFileError):
    """A valid file that holds no image, but curves or text."""


class ScanDataError(AdapterError, ValueError):
    """The arrays or the geometry of a scan are inconsistent."""


class UnknownChannelError(AdapterError, LookupError):
    """A requested channel is not in the scan, or its name is ambiguous."""


class ProtocolError(AdapterError, ValueError):
    """A message breaks the wire protocol.

    Parameters
    ----------
    code
        Short name of the fault for programs, sent back in `Refused.code`.
    reason
        One sentence for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LimitError(AdapterError, ValueError):
    """A position or a setting is outside the instrument's limits; it is refused, never clamped."""


class InstrumentFaultError(AdapterError, RuntimeError):
    """The instrument accepted a command but could not carry it out."""


class EmergencyStopError(AdapterError, RuntimeError):
    """An emergency stop could end the instrument's call only by closing it; the client has to be started again."""

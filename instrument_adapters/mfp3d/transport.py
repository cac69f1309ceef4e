"""Connection between the MFP-3D driver and its controller: commands, values read back, the folder of files, and the clock."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from instrument_adapters.errors import InstrumentFaultError


class NoAnswerError(InstrumentFaultError):
    """The controller's software did not take a command, or gave no answer, before the deadline."""


class Transport(Protocol):
    """Connection to one controller.

    The driver calls `execute`, `read` and `sleep` from one thread. Another thread may call `close`, `halt` and, after a halt,
    `execute` with the commands that bring the instrument to rest (`igor_commands.SAFE_COMMANDS`). That `execute` returns does not
    mean that the controller accepted the command: it rejects commands without an error, so the driver reads values back.
    """

    @property
    def folder(self) -> Path:
        """Folder to which the controller saves frames and loops as `.ibw` files."""

    def execute(self, text: str) -> None:
        """Pass one Igor command to the controller.

        Raises
        ------
        NoAnswerError
            If it was not taken before the transport's deadline.
        InstrumentFaultError
            If the transport is halted and the command is not one of `igor_commands.SAFE_COMMANDS`; it was not passed on.
        """

    def read(self, expression: str) -> float:
        """Value of a numeric Igor expression; NaN if the controller does not know it.

        Raises
        ------
        NoAnswerError
            If no answer came before the transport's deadline.
        """

    def sleep(self, seconds: float) -> None:
        """Wait the given seconds.

        Raises
        ------
        InstrumentFaultError
            If the transport was closed or halted before or during the wait.
        """

    def elapsed_s(self) -> float:
        """Monotonic time in seconds, from an arbitrary origin."""

    def now(self) -> datetime:
        """Time by the instrument's clock, with its zone."""

    def halt(self) -> None:
        """End every wait, from any thread, and refuse all commands except `igor_commands.SAFE_COMMANDS` until `release`."""

    def release(self) -> None:
        """Allow all commands and waits again."""

    def close(self) -> None:
        """End every wait, from any thread; commands can still be executed to leave the instrument in a safe state."""

"""How the driver of an MFP-3D reaches its controller: text out, numbers back, files in a folder, and time."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from instrument_adapters.errors import InstrumentFaultError


class NoAnswerError(InstrumentFaultError):
    """The controller's software did not take a command, or gave no answer, before the deadline."""


class Transport(Protocol):
    """The way to one controller.

    The driver calls `execute`, `read` and `sleep` from one thread; `close`, `halt` and, after a halt, `execute` of what brings
    the instrument to rest (`mfp3d_commands.SAFE`) may come from another one. That a command was executed says nothing of
    whether the controller accepted it: a rejected one is silent, so the driver reads back.
    """

    @property
    def folder(self) -> Path:
        """Where the controller saves frames and loops as `.ibw` files."""

    def execute(self, text: str) -> None:
        """Hand one line of Igor's language to the controller.

        Raises
        ------
        NoAnswerError
            If it was not taken before the transport's deadline.
        InstrumentFaultError
            If the transport was halted and the text is not one of `mfp3d_commands.SAFE`: it was not handed over.
        """

    def read(self, expression: str) -> float:
        """Value of a numeric expression in Igor's language; NaN where the controller knows no such thing.

        Raises
        ------
        NoAnswerError
            If no answer came before the transport's deadline.
        """

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        InstrumentFaultError
            If the transport was closed or halted before or meanwhile.
        """

    def elapsed_s(self) -> float:
        """Seconds since any origin; never jumps backwards."""

    def now(self) -> datetime:
        """Time by the instrument's clock, with its zone."""

    def halt(self) -> None:
        """End every wait, from any thread, and refuse all but what brings the instrument to rest, until `release`."""

    def release(self) -> None:
        """Let commands and time pass again."""

    def close(self) -> None:
        """End every wait, from any thread; commands may still be executed, to leave the instrument in a safe state."""

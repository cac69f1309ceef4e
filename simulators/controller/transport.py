"""Connection from the driver to the simulated controller; every command and every answer takes simulated time."""

from datetime import datetime
from pathlib import Path

from instrument_adapters.mfp3d.igor_commands import SAFE_COMMANDS
from simulators.controller.controller import Controller


class SimulatedTransport:
    """A `Transport` to the simulated controller, whose waits advance its clock.

    Parameters
    ----------
    controller
        Simulated controller; its clock is used.
    command_s
        Simulated duration of a command or an answer in seconds. A command acts at its beginning, a value is read at its end.
    """

    def __init__(self, controller: Controller, command_s: float) -> None:
        self._controller, self._command_s = controller, command_s

    @property
    def folder(self) -> Path:
        """Folder to which the controller saves its files."""
        return self._controller.file_writer.folder

    def execute(self, text: str) -> None:
        """Execute a command (see `Controller.run` for the error); on a halted instrument a safe command takes no time."""
        if text in SAFE_COMMANDS and self._controller.clock.halted:
            self._controller.execute(text)
            return
        self._controller.clock.raise_if_halted()
        self._controller.execute(text)
        self._controller.run(self._command_s)

    def read(self, expression: str) -> float:
        """Value of an expression (see `Controller.run` for the error)."""
        self._controller.run(self._command_s)
        return self._controller.read(expression)

    def sleep(self, seconds: float) -> None:
        """Advance simulated time (see `Controller.run` for the error)."""
        self._controller.run(seconds)

    def elapsed_s(self) -> float:
        """Simulated seconds since the start."""
        return self._controller.clock.elapsed_s

    def now(self) -> datetime:
        """Simulated time."""
        return self._controller.clock.now()

    def halt(self) -> None:
        """Halt the clock, from any thread."""
        self._controller.clock.halt()

    def release(self) -> None:
        """Release the clock after a halt."""
        self._controller.clock.release()

    def close(self) -> None:
        """Stop the clock, from any thread."""
        self._controller.clock.stop()

"""The way from the driver to the simulated controller: every command and every answer takes simulated time."""

from datetime import datetime
from pathlib import Path

from instrument_adapters.mfp3d.igor_commands import SAFE
from simulators.controller.controller import Controller


class SimulatedTransport:
    """A `Transport` whose waits are simulated time.

    Parameters
    ----------
    controller
        Who obeys; its clock is the clock.
    command_s
        How long a command or an answer takes. A command acts at once, an answer is what holds when it comes.
    """

    def __init__(self, controller: Controller, command_s: float) -> None:
        self._controller, self._command_s = controller, command_s

    @property
    def folder(self) -> Path:
        """Where files appear."""
        return self._controller.saving.folder

    def execute(self, text: str) -> None:
        """Hand over a command (see `Controller.run` for the error); what brings a halted instrument to rest takes no time."""
        if text in SAFE and self._controller.clock.halted:
            self._controller.obey(text)
            return
        self._controller.clock.check_halted()
        self._controller.obey(text)
        self._controller.run(self._command_s)

    def read(self, expression: str) -> float:
        """Value of an expression (see `Controller.run` for the error)."""
        self._controller.run(self._command_s)
        return self._controller.answer(expression)

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass (see `Controller.run` for the error)."""
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
        """Let the clock go on."""
        self._controller.clock.release()

    def close(self) -> None:
        """Stop the clock, from any thread."""
        self._controller.clock.stop()

"""Types of command-line arguments; an invalid value is refused with a sentence that says what is allowed."""

import argparse
import math
import re
from collections.abc import Callable
from typing import NoReturn

from instrument_adapters.plain_text import visible


class OneSentenceParser(argparse.ArgumentParser):
    """A parser that answers a wrong option with one sentence, without repeating how the command is used.

    Messages hold no control characters: they quote names of files and what is in files.
    """

    def error(self, message: str) -> NoReturn:
        """End the program with the sentence and exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` lists all options)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program; the message goes to standard error."""
        super().exit(status, None if message is None else visible(message, keep="\n"))


def address(text: str) -> str:
    """The address of an agent, tcp://host:port."""
    found = re.fullmatch(r"tcp://[^\s:/]+:(\d{1,5})", text)
    if found is None or not 0 < int(found[1]) < 65536:  # ZeroMQ would take the port modulo 65536
        raise argparse.ArgumentTypeError(f"{text!r} is not an address; give one such as tcp://127.0.0.1:5555")
    return text


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number; give one such as 2.5")
    return value


def not_negative(text: str) -> float:
    """A finite number that is 0 or more."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; give 0 or more")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive; give a number above 0")
    return value


def speed(text: str) -> float | None:
    """Speed factor: None for "event", 1 for "real", else a number above 0."""
    if text == "event":
        return None
    value = 1.0 if text == "real" else number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a speed; give 'event', 'real' or a factor above 0")
    return value


def count(low: int, high: int | None = None) -> Callable[[str], int]:
    """Argument type for an integer from `low` to `high`; None: no upper limit."""
    allowed = f"of at least {low}" if high is None else f"from {low} to {high}"

    def integer(text: str) -> int:
        value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number {allowed}")
        return value

    return integer


def name(text: str) -> str:
    """A name that is valid on the wire: 1 to 64 letters, digits, `_`, `.` and `-`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid name; give 1 to 64 letters, digits, '_', '.' and '-'")
    return text

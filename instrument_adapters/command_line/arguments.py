"""Values of command lines, each refused in one sentence that says what is allowed."""

import argparse
import math
import re
from collections.abc import Callable


def address(text: str) -> str:
    """Where an agent listens, as tcp://host:port."""
    if not re.fullmatch(r"tcp://[^\s:/]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address; give one such as tcp://127.0.0.1:5555")
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
        raise argparse.ArgumentTypeError(f"{text} was given; 0 or more is allowed")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} was given; a number above 0 is allowed")
    return value


def speed(text: str) -> float | None:
    """None for "event", 1 for "real", else a factor above 0."""
    if text == "event":
        return None
    value = 1.0 if text == "real" else number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"a speed of {text} was given; give 'event', 'real' or a factor above 0")
    return value


def count(low: int, high: int | None = None) -> Callable[[str], int]:
    """What turns text into a whole number from `low` to `high`."""
    allowed = f"from {low} on" if high is None else f"from {low} to {high}"

    def whole(text: str) -> int:
        value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} was given; a whole number {allowed} is allowed")
        return value

    return whole


def name(text: str) -> str:
    """A name that the wire carries: letters, digits, `_`, `.` and `-`, 64 at most."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name; 1 to 64 letters, digits, '_', '.' and '-' are allowed")
    return text

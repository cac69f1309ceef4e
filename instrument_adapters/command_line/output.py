"""What every command prints: plain lines in which nothing from elsewhere is obeyed by the terminal, and streams that cannot fail.

The streams take any character (one that the code page lacks is written in ASCII), any end (`| head`, a closed or full output),
and an error of printing is an `OutputError`, which nobody can mistake for a fault of what is being read.
"""

import codecs
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from instrument_adapters import exit_codes
from instrument_adapters.child_process import SAFE_PATH
from instrument_adapters.errors import AdapterError
from instrument_adapters.plain_text import as_json, visible

_ASCII = "vaestar-ascii"  # name of the error handler
_SIGNS = {"µ": "u", "μ": "u", "σ": "sigma", "θ": "theta", "±": "+-", "×": "x", "→": "->", "²": "^2", "³": "^3", "°": "deg"}
_SIGNS |= {"–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "·": "-"}


class OutputError(AdapterError, RuntimeError):
    """What the command prints cannot be written: the disk behind it is full, for instance."""

    exit_code = exit_codes.STORAGE


class OutputClosedError(OutputError):
    """Whoever read the output has closed it, as `head` does."""

    exit_code = exit_codes.OUTPUT_CLOSED


def write_line(text: str) -> None:
    """Print one line on standard output; a new line within the text is shown as an escape."""
    sys.stdout.write(visible(text) + "\n")


def write_text(text: str) -> None:
    """Print text of several lines on standard output."""
    sys.stdout.write(visible(text.removesuffix("\n"), keep="\n") + "\n")


def write_json(value: Any, indent: int | None = 2) -> None:
    """Print a value as JSON on standard output, in ASCII."""
    sys.stdout.write(as_json(value, indent) + "\n")


def clear_screen(*, when: bool) -> None:
    """Clear the terminal if `when` is true; nothing is written to a file or a pipe."""
    if when and sys.stdout.isatty():
        sys.stdout.write("\x1b[2J\x1b[H")


def write_error(text: str) -> None:
    """Print lines on standard error."""
    sys.stderr.write(visible(text.removesuffix("\n"), keep="\n") + "\n")
    sys.stderr.flush()


def run_command(main: Callable[[], Any]) -> int:
    """Run the `main` of a command as a program of its own, and return its exit code (0 if it returns None).

    An unforeseen error ends in a traceback and exit code 1, as in any Python program, but without control characters.
    """
    prepare_process()
    try:
        try:
            code = main()
        except SystemExit:
            flush_output()
            raise
        flush_output()
    except OutputError as error:
        if not isinstance(error, OutputClosedError):
            write_error(f"vaestar: {error}")
        return error.exit_code
    except Exception:  # noqa: BLE001 - the outer edge of the program: shown in full
        write_error(traceback.format_exc())
        return exit_codes.FAILED
    return int(code or exit_codes.OK)


def prepare_process() -> None:
    """Prepare standard output and standard error of this process, and keep its children off the working directory's modules."""
    os.environ[SAFE_PATH] = "1"
    _open_missing()
    codecs.register_error(_ASCII, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ASCII)
    sys.stdout = cast(TextIO, _Stream(sys.stdout))
    sys.stderr = cast(TextIO, _Stream(sys.stderr, may_be_lost=True))


def flush_output() -> None:
    """Write out what is still in memory.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    sys.stdout.flush()


class _Stream:
    """A text stream whose errors are `OutputError`, or which loses what cannot be written (a log line must not end a program)."""

    def __init__(self, stream: TextIO, *, may_be_lost: bool = False) -> None:
        self._stream, self._may_be_lost = stream, may_be_lost

    def write(self, text: str) -> int:
        """As the stream's own."""
        with self._writing():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """As the stream's own."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As the stream's own."""
        with self._writing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if self._may_be_lost:  # the next line is tried again: the disk may have space by then
                return
            _write_to_nowhere(self._stream)
            if isinstance(error, BrokenPipeError):
                raise OutputClosedError("the output was closed by the program that read it") from error
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"the output cannot be written ({reason}); what the command did is not undone") from error


def _write_to_nowhere(stream: TextIO) -> None:
    """Let what is still in memory go to the null device; else Python would try to write it once more at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _open_missing() -> None:
    """Open the null device for each standard stream that is closed; else the next file that is opened would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: our own signs as they are written without them (um, +-), other characters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    given = error.object[error.start : error.end]
    return "".join(_SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in given), error.end

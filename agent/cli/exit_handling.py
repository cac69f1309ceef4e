"""Common exit of all commands: foreseen errors become one sentence on stderr and an exit code (listed in docs/operations.md)."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NoReturn

from instrument_adapters import exit_codes
from instrument_adapters.command_line.output import OutputError, flush_output, write_error
from instrument_adapters.errors import AdapterError

#: Signals at which a command ends what it has started (worker processes, an agent) before it ends itself.
ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command so that foreseen errors become one sentence on stderr and an exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with _signals_interrupt():
                function(*args, **kwargs)
                flush_output()
        except OutputError:  # the program ends with a sentence of its own, see `run_command`
            raise
        except KeyboardInterrupt:
            write_error("vaestar: interrupted; finished work is kept")
            raise SystemExit(exit_codes.INTERRUPTED) from None
        except ModuleNotFoundError as error:
            fail(f"this command needs '{error.name}', which is not installed; install with: pip install 'vaestar[agent]'")
        except AdapterError as error:
            fail(str(error), exit_codes.for_error(error, exit_codes.BAD_INPUT))
        except Exception as error:  # raised again unless it is an AgentError
            # Imported only after an error, since the import is slow.
            from agent.errors import AgentError

            if isinstance(error, AgentError):
                fail(str(error), exit_codes.for_error(error, exit_codes.BAD_INPUT))
            raise

    return run


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM and SIGHUP as at Ctrl-C, so that everything that the command has started is ended."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS[1:]}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # not if nohup has it ignored
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fail(message: str, exit_code: int = exit_codes.BAD_INPUT) -> NoReturn:
    """Print the message to stderr, one line per problem, and exit with the code."""
    with contextlib.suppress(OSError):  # if stderr cannot be written either, the exit code still tells
        for line in message.splitlines():
            write_error(f"vaestar: {line}")
    raise SystemExit(exit_code) from None

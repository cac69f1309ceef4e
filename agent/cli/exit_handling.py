"""Common exit of all commands: foreseen errors become one sentence on stderr and an exit code (listed in docs/operations.md)."""

import contextlib
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from instrument_adapters import exit_codes
from instrument_adapters.command_line.output import OutputError, flush_output, write_error
from instrument_adapters.errors import AdapterError


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command so that foreseen errors become one sentence on stderr and an exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
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


def fail(message: str, exit_code: int = exit_codes.BAD_INPUT) -> NoReturn:
    """Print the message to stderr, one line per problem, and exit with the code."""
    with contextlib.suppress(OSError):  # if stderr cannot be written either, the exit code still tells
        for line in message.splitlines():
            write_error(f"vaestar: {line}")
    raise SystemExit(exit_code) from None

"""How every command ends: foreseen errors become one sentence on stderr and an exit code (docs/operations.md lists them)."""

import contextlib
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import typer

from instrument_adapters import exit_codes
from instrument_adapters.errors import AdapterError


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that turns foreseen errors into one sentence on stderr and an exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("vaestar: interrupted; what was finished is kept", err=True)
            raise SystemExit(exit_codes.INTERRUPTED) from None
        except ModuleNotFoundError as error:
            fail(f"this command needs '{error.name}', which is not installed; install with: pip install 'vaestar[agent]'")
        except AdapterError as error:
            fail(str(error), exit_codes.of(error, exit_codes.BAD_INPUT))
        except Exception as error:
            # AgentError lives behind heavy imports, so it is looked up only once something went wrong.
            from agent.errors import AgentError

            if isinstance(error, AgentError):
                fail(str(error), exit_codes.of(error, exit_codes.BAD_INPUT))
            raise

    return run


def fail(sentence: str, exit_code: int = exit_codes.BAD_INPUT) -> NoReturn:
    """End with what went wrong; a sentence of several lines tells several things."""
    with contextlib.suppress(OSError):  # where stderr lies on the disk that is full, the exit code still tells
        for line in sentence.splitlines():
            typer.echo(f"vaestar: {line}", err=True)
    raise SystemExit(exit_code) from None

"""Common exit of all commands: foreseen errors become one sentence on stderr and an exit code (listed in docs/operations.md)."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from instrument_adapters import exit_codes
from instrument_adapters.command_line.output import OutputError, flush_output, write_error
from instrument_adapters.errors import AdapterError

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # the base of the errors about the command line is not public


class CommandGroup(TyperGroup):
    """Commands whose wrong use is answered with one sentence, as all other bad input."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """See `typer`."""
        with _one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """See `typer`."""
        with _one_sentence():
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except _USAGE_ERROR as error:
        if "NoArgsIsHelp" in type(error).__name__:  # the help is the answer
            raise
        from instrument_adapters.command_line.allowed_values import allowed

        names: list[str] = []
        context = getattr(error, "ctx", None)
        while context is not None and context.parent is not None:  # the outermost is called as the program was started
            names, context = [context.info_name, *names], context.parent
        command = " ".join(["vaestar", *names])
        message = allowed(str(getattr(error, "format_message", lambda: error)())).rstrip(".")
        fail(f"{message[:1].lower()}{message[1:]}; `{command} --help` lists what can be given")


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

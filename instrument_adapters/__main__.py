"""`python -m instrument_adapters COMMAND ...`: instruments that this package can be by itself."""

import sys
from collections.abc import Callable, Mapping, Sequence

from instrument_adapters import replay_command

COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"replay": replay_command.main}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command; 2 if there is no such command."""
    given = list(sys.argv[1:] if argv is None else argv)
    name, rest = (given[0], given[1:]) if given else ("", [])
    command = COMMANDS.get(name)
    if command is None:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"python -m instrument_adapters: there is no command {name!r}; give one of: {known} (--help after it)\n")
        return 2
    return command(rest)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m instrument_adapters COMMAND ...`, also `vaestar adapter COMMAND ...`: run one of the adapters."""

import os.path
import sys

if __name__ == "__main__" and not sys.flags.safe_path:  # as in agent/__main__.py, which says why
    _here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if sys.path[0] != _here:
        del sys.path[0]

import importlib
from collections.abc import Mapping, Sequence

from instrument_adapters.command_line.output import run_command, write_error, write_text

# Command -> (module whose `main` gets the remaining arguments, description); a module is imported only when it is used.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "folder": ("folder.command", "watches a folder for new scans; writes the points to measure to another folder"),
    "mfp3d": ("mfp3d.command", "drives an Asylum MFP-3D through Igor (never tried on a real one)"),
    "replay": ("replay.command", "replays recorded data in place of an instrument"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the adapter; 2 if there is no such adapter."""
    given = list(sys.argv[1:] if argv is None else argv)
    name, rest = (given[0], given[1:]) if given else ("", [])
    if name in {"-h", "--help"}:
        write_text(_help())
        return 0
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        write_error(f"vaestar adapter: there is no adapter {name!r}; give one of: {known}")
        return 2
    module = importlib.import_module(f"instrument_adapters.{COMMANDS[name][0]}")
    return int(module.main(rest))


def _help() -> str:
    lines = [f"  {name:<8} {what}\n" for name, (_, what) in COMMANDS.items()]
    return f"usage: vaestar adapter ADAPTER --connect ADDRESS ... (ADAPTER --help lists all options)\n\n{''.join(lines)}"


if __name__ == "__main__":
    sys.exit(run_command(main))

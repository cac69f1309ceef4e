"""`python -m instrument_adapters COMMAND ...`, also `vaestar adapter COMMAND ...`: what runs beside an instrument."""

import importlib
import sys
from collections.abc import Mapping, Sequence

# Command -> the module whose `main` takes the rest of the line, and what it is; loaded when asked for.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "folder": ("folder.command", "the scans that appear in a folder; points to measure are written to another"),
    "mfp3d": ("mfp3d.command", "an Asylum MFP-3D, driven through Igor (never tried on a real one)"),
    "replay": ("replay.command", "recorded data in place of an instrument"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command; 2 if there is no such command."""
    given = list(sys.argv[1:] if argv is None else argv)
    name, rest = (given[0], given[1:]) if given else ("", [])
    if name in {"-h", "--help"}:
        sys.stdout.write(_help())
        return 0
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"vaestar adapter: there is no adapter {name!r}; give one of: {known} (--help after it)\n")
        return 2
    module = importlib.import_module(f"instrument_adapters.{COMMANDS[name][0]}")
    return int(module.main(rest))


def _help() -> str:
    lines = [f"  {name:<8} {what}\n" for name, (_, what) in COMMANDS.items()]
    return f"usage: vaestar adapter ADAPTER --connect ADDRESS ... (ADAPTER --help lists the rest)\n\n{''.join(lines)}"


if __name__ == "__main__":
    sys.exit(main())

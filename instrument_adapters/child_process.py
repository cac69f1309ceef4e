"""Our own modules as child processes, which never import a module of the working directory.

`python -m` and `python -c` put the working directory first on the import path: a file `signal.py` or a folder `simulators/`
beside the data would run in place of ours. `-P` leaves the working directory out.
"""

import os
import sys
from pathlib import Path

from instrument_adapters.plain_text import visible

SAFE_PATH = "PYTHONSAFEPATH"  # as -P, and inherited by the children of the child
_MAX_TAIL_BYTES = 65_536
_MAX_LINES = 3


def module_command(module: str, *arguments: str) -> list[str]:
    """Command that runs one of our modules; use it with `module_environment`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """Environment in which a child finds the same modules as this process, and none in the working directory."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, SAFE_PATH: "1"}


def last_words(output: bytes | Path) -> str:
    """The last lines that a process wrote, or wrote to a file, in one line; empty if it wrote nothing that can be read.

    Of the report that Python writes when it crashes, the first lines: what it was, and where.
    """
    if isinstance(output, Path):
        try:
            with output.open("rb") as file:
                file.seek(max(0, output.stat().st_size - _MAX_TAIL_BYTES))
                output = file.read()
        except OSError:
            return ""
    lines = [line.strip() for line in output[-_MAX_TAIL_BYTES:].decode("utf-8", "replace").splitlines() if line.strip()]
    crash = next((n for n, line in enumerate(lines) if line.startswith("Fatal Python error")), len(lines))
    return " / ".join(visible(line)[:300] for line in lines[crash : crash + _MAX_LINES] or lines[-_MAX_LINES:])

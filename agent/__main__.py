"""`python -m agent` is the command `vaestar`."""

import os.path
import sys

# Before anything else is imported: `python -m` puts the working directory first on the import path, where a file `signal.py` or
# `h5py.py` would run in place of the library's. It stays only where the program itself lies in it (run without an installation).
if __name__ == "__main__" and not sys.flags.safe_path:
    _here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is not loaded yet
    if sys.path[0] != _here:
        del sys.path[0]

from agent.cli import main

if __name__ == "__main__":
    main()

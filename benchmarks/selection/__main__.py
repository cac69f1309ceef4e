"""Runs the study: `python -m benchmarks.selection`."""

from benchmarks.harness.commandline import run
from benchmarks.selection.study import main

if __name__ == "__main__":
    run(main)

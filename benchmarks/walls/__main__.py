"""Runs the study: `python -m benchmarks.walls`."""

from benchmarks.harness.commandline import run
from benchmarks.walls.study import main

if __name__ == "__main__":
    run(main)

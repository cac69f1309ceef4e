"""Runs the study: `python -m benchmarks.paper`."""

from benchmarks.harness.commandline import run
from benchmarks.paper.study import main

if __name__ == "__main__":
    run(main)

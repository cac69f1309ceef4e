"""Runs the study: `python -m benchmarks.realism`."""

from benchmarks.harness.commandline import run
from benchmarks.realism.study import main

if __name__ == "__main__":
    run(main)

"""Runs the study: `python -m benchmarks.recovery`."""

from benchmarks.harness.commandline import run
from benchmarks.recovery.study import main

if __name__ == "__main__":
    run(main)

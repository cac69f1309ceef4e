"""Runs the study: `python -m benchmarks.speed`."""

from benchmarks.harness.commandline import run
from benchmarks.speed.study import main

if __name__ == "__main__":
    run(main)

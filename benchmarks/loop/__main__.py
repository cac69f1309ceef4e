"""Runs the study: `python -m benchmarks.loop`."""

from benchmarks.harness.commandline import run
from benchmarks.loop.study import main

if __name__ == "__main__":
    run(main)

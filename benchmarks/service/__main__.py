"""Runs the study: `python -m benchmarks.service`."""

from benchmarks.harness.commandline import run
from benchmarks.service.study import main

if __name__ == "__main__":
    run(main)

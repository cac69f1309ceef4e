"""Runs the study: `python -m benchmarks.attacks`."""

from benchmarks.attacks.study import main
from benchmarks.harness.commandline import run

if __name__ == "__main__":
    run(main)

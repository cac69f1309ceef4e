"""Runs the study: `python -m benchmarks.fuzz`."""

from benchmarks.fuzz.study import main
from benchmarks.harness.commandline import run

if __name__ == "__main__":
    run(main)

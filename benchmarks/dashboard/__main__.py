"""Runs the study: `python -m benchmarks.dashboard`."""

from benchmarks.dashboard.study import main

if __name__ == "__main__":
    main()

"""Long-running studies: one command each; results with machine, versions and seeds are in `results/`."""

"""Slow studies: one command each, figures with machine, versions and seeds in `results/`."""

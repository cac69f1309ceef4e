"""Faults of the simulated instrument: catalogue, schedule, injection and sealed log."""

"""The simulated sample: the sealed truth."""

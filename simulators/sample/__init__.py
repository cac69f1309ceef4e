"""The simulated sample, which is sealed truth."""

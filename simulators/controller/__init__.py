"""The simulated controller and its files."""

"""The running service under kills, faults and load."""

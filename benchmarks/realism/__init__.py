"""How realistic the simulated scans and loops are."""

"""How real the simulated scans and loops are."""

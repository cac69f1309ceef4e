"""What all studies share; no study imports another."""

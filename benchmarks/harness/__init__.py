"""Code shared by all studies; no study imports another."""

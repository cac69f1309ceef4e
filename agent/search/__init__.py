"""Search for a representation: candidates are built, scored, ranked, verified and warm-started."""

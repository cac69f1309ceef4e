"""Candidates built, scored, ranked, verified and warm-started."""

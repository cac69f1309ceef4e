"""Decisions explained and replayed from the history alone."""

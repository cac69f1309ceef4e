"""Tip, cantilever, loops and wear."""

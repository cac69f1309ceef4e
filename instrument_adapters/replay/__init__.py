"""Recorded data as an instrument."""

"""Judges of representations: arrays in, scores out."""

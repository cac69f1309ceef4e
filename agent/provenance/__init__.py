"""Explaining and replaying decisions from the history alone."""

"""Rewards: functions that score representations, arrays in, scores out."""

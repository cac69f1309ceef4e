"""Runs exported to other formats."""

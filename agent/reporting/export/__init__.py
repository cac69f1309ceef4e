"""Exporting runs to other formats."""

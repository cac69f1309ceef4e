"""Readers of microscope files, for scans and loops."""

"""Reproduction of the paper's analysis."""

"""Attacks on what vaestar promises, and whether the promise held."""

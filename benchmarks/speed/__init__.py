"""Timing of training and search, also against pyroVED."""

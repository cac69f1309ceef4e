"""Gaussian mixtures: expectation maximisation, model selection, and the Bayesian mixture."""

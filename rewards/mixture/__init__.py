"""Gaussian mixtures: expectation maximisation, model choice, and the Bayesian mixture."""

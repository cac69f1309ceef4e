"""Mutated inputs."""

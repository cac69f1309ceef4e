"""The command `vaestar`, with one file for each group of commands."""

from agent.cli.app import main

__all__ = ["main"]

"""Fuzzing of messages and files."""

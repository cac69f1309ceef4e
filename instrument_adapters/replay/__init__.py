"""Adapter for recorded data: replays scans and hysteresis loops from files."""

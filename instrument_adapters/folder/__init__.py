"""Adapter for a watched folder: scan files that appear there become scans, an operator performs the measurements."""

"""Scheduling of searches: which scan is decided on next, in which thread, and when its search is cancelled."""

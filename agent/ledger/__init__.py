"""The state of a run, computed from the events of its history."""

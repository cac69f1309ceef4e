"""A watched folder as an instrument."""

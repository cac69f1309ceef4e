"""What goes wrong, when, and the sealed log of it."""

"""Which scan is decided on, in which thread, and what ends its search."""

"""What survives a kill of the client."""

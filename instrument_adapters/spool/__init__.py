"""The client's journal on disk, which survives a killed process."""

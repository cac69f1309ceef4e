"""The agent: it looks at a scan, chooses a representation of it and says where to measure."""

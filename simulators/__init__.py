"""A simulated MFP-3D in DART mode with a surface, its physics and a clock; the agent sees it only through the protocol."""

"""A simulated MFP-3D in DART mode: a surface, its physics, its clock; the agent meets it on the wire only."""

"""Simulated MFP-3D controller and the files that it saves."""

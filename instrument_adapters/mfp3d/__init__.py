"""The MFP-3D, driven through Igor."""

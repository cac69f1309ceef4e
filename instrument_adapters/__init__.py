"""Everything that connects an instrument to the agent: file formats, scans, messages, adapters and the client.

This package never imports torch, because it is installed on microscope PCs.
"""

"""How an instrument talks to the agent: files, scans, messages and the client that runs beside a microscope.

This package never imports torch: it is what a microscope PC installs.
"""

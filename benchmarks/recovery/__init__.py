"""How well known types are recovered from simulated scans."""

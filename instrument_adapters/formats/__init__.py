"""Files of microscopes, read into scans and loops."""

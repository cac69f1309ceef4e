"""Response times and screenshots of the dashboard."""

"""Health and process figures."""

"""Command-line options and settings files shared by the adapters' commands."""

"""Options and settings files that the adapters' commands share."""

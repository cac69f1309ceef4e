"""From a scan to representations: no socket, no clock, no disk."""

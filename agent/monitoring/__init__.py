"""Health checks, latency and memory figures of the service process, and systemd's watchdog."""

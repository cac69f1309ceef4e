"""HTTP server of the agent, on loopback only: health, metrics, events, and the operator's commands."""

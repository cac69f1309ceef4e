"""The agent's HTTP door on this computer's loopback: health, metrics, what happens, and a person's words."""

"""Protocol logic between the agent and the instruments, without sockets."""

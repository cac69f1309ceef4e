"""The long-running agent process: sockets, periodic jobs, signals."""

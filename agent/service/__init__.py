"""The long-running process: sockets, timers, signals."""

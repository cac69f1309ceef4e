"""Domain walls of a scan: where they run, and which key points lie on the same wall."""

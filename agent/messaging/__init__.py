"""The conversation with instruments, without a socket."""

"""Training and search timed, also against pyroVED."""

"""systemd's notification protocol (`Type=notify`): readiness and watchdog as datagrams to NOTIFY_SOCKET, if that is set."""

import os
import socket
from collections.abc import Mapping


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a state to the service manager and return whether it was sent. Failure is no error: nothing depends on it.

    Parameters
    ----------
    state
        Assignments such as "READY=1", one a line.
    environment
        Environment variables; NOTIFY_SOCKET names the socket of the manager.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):  # abstract socket names of Linux
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the watchdog timeout in seconds, or None if the manager runs no watchdog for this process."""
    text = environment.get("WATCHDOG_USEC", "")
    for_this_process = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(text) / 1e6 if for_this_process and text.isdecimal() and int(text) > 0 else None

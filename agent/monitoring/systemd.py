"""systemd's readiness protocol (`Type=notify`): a few words in a datagram; without NOTIFY_SOCKET nobody is told."""

import os
import socket
from collections.abc import Mapping


def notify(words: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the service manager, and whether it could be told; never an error, since nothing depends on it.

    Parameters
    ----------
    words
        Such as "READY=1"; several are separated by line ends.
    environment
        Where the manager's socket is named.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):  # Linux' abstract names
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(words.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds after which the manager restarts a service that is silent, or None if it does not ask for signs of life."""
    text = environment.get("WATCHDOG_USEC", "")
    mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(text) / 1e6 if mine and text.isdecimal() and int(text) > 0 else None

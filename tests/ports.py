"""Who listens on a port of loopback."""

from __future__ import annotations

import socket


def is_open(port: int) -> bool:
    """Whether somebody listens there: a service is ready a moment before its mail listener is."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

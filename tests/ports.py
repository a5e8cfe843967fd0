"""Ports of loopback that nobody listens on."""

from __future__ import annotations

import random
import socket

from sluiceway.testing.nats import PORTS

_dice = random.SystemRandom()  # others seed the usual one, and then all processes try the same ports


def free_port() -> int:
    """Below the ports that Linux gives to outgoing connections, which would take it before it is listened on."""
    while True:
        port = _dice.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_open(port: int) -> bool:
    """Whether somebody listens there: a service is ready a moment before its mail listener is."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

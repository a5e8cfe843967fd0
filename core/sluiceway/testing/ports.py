"""Ports of loopback for tests: nobody listens there, and nobody else is given them."""

from __future__ import annotations

import random
import socket
from collections import deque

PORTS = range(10_000, 30_000)
"""Below those that Linux gives to outgoing connections: who waits for a dead server's port must not reach itself."""
HELD = 200

_dice = random.SystemRandom()  # others seed the usual one, and then all processes try the same ports
_held: deque[socket.socket] = deque(maxlen=HELD)


def free_port() -> int:
    """One of ours alone until this process ends or has taken `HELD` more.

    A socket stays bound to it that does not listen. It was bound alone, so that no other process is given the port, and
    lets be reused since, so that whoever sets SO_REUSEADDR, as servers do, listens there.
    """
    while True:
        port = _dice.choice(PORTS)
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if len(_held) == HELD:
            _held[0].close()
        _held.append(holder)
        return port

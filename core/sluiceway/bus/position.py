"""Where a delivered message stands, by the subject that acknowledges it. Asks nobody.

`$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or with domain and
account before the stream: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Its number in the stream and with its consumer, how many messages are behind it, how often it was given, and when
    it was stored, in nanoseconds.
    """

    stream: int
    consumer: int
    pending: int
    delivered: int
    stored_ns: int


def position(reply: str) -> Position:
    """Read an acknowledgement's subject, in either form."""
    tokens = reply.split(".")
    stream = 5 if len(tokens) == 9 else 7
    delivered, at, number, stored_ns, pending = (int(token) for token in tokens[stream - 1 : stream + 4])
    return Position(stream=at, consumer=number, pending=pending, delivered=delivered, stored_ns=stored_ns)

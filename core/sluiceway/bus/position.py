"""Where a delivered message stands, by the subject that acknowledges it. Asks nobody.

`$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or with domain and
account before the stream: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Its number in the stream and with its consumer, and how many messages are behind it."""

    stream: int
    consumer: int
    pending: int


def position(reply: str) -> Position:
    """Read an acknowledgement's subject, in either form."""
    tokens = reply.split(".")
    stream = 5 if len(tokens) == 9 else 7
    return Position(int(tokens[stream]), int(tokens[stream + 1]), int(tokens[stream + 3]))

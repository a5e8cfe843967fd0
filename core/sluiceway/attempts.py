"""The record of an attempt to send a message, and which status may follow which. Reads and writes nothing."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sluiceway_contracts import STATUS_ORDER, TERMINAL, Piece, Price
from sluiceway_contracts.values import Time, now

ARRIVED = ("delivered", "read")
HISTORY = 20
"""How many tries a record remembers."""


class Try(Struct, frozen=True, omit_defaults=True):
    """One try of a piece that came to nothing. `code` is a word of the contract's `Error`."""

    at: Time
    piece: int
    code: str


class MessageRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<tenant>.m.<message>`, and `<tenant>.m.<message>.<attempt>` for each attempt after the first.

    `state` is refused where nothing is sent, intent while the provider is asked to take piece number `at`, waiting
    while it is to be asked, and done after the last. `tries` counts those of that piece, `since` is the time of the
    last change. `tried` counts all tries that came to nothing, `history` has the last of them.
    """

    state: str
    since: Time | None = None
    at: int = 1
    tries: int = 1
    command_id: str
    channel: str
    account: str
    contact: str
    conversation: str
    pieces: tuple[Piece, ...]
    attempt: int = 1
    tried: int = 0
    history: tuple[Try, ...] = ()
    segments: int | None = None
    price: Price | None = None

    def after(self, code: str) -> MessageRecord:
        """The record after one more try of this piece that came to nothing."""
        history = (*self.history, Try(now(), self.at, code))[-HISTORY:]
        return msgspec.structs.replace(self, tried=self.tried + 1, history=history)

    @property
    def given_up(self) -> MessageRecord:
        """The record once it was given up for the next attempt: what has not come to an end is superseded."""
        settled = self.overall in (*ARRIVED, *TERMINAL)
        if settled and self.state in ("done", "refused"):
            return self
        pieces = (p if p.status in (*ARRIVED, *TERMINAL) else _superseded(p) for p in self.pieces)
        return msgspec.structs.replace(self, state="done", pieces=tuple(pieces))

    @property
    def overall(self) -> str:
        """The lowest status of all pieces; failed where any piece has failed."""
        statuses = [piece.status for piece in self.pieces]
        ended = next((status for status in statuses if status in TERMINAL), None)
        return ended or min(statuses, key=lambda status: STATUS_ORDER.get(status, 0))


def rises(old: str, new: str) -> bool:
    """Whether a piece with status `old` may take `new`: statuses only rise, and little follows an end."""
    if old in TERMINAL:
        return False
    if old in ("delivered", "read"):
        return new in ("bounced", "complained") or (old, new) == ("delivered", "read")
    return new in TERMINAL or STATUS_ORDER.get(new, -1) > STATUS_ORDER.get(old, -1)


def _superseded(piece: Piece) -> Piece:
    return msgspec.structs.replace(piece, status="superseded", error=None)

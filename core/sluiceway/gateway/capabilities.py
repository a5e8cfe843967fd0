"""What a channel takes and how fast, and what its provider's errors mean. Nothing here sends or waits."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from sluiceway_contracts.parts import Choices

from ..units import Unit


class Outcome(enum.StrEnum):
    """What a provider's error means for a message; the value is the `code` of the contract's `Error`."""

    RETRY = "throttled"
    REJECTED = "rejected"
    FAILED = "failed"
    OPTED_OUT = "opted_out"
    WINDOW_CLOSED = "window_closed"
    CREDENTIALS = "credentials_refused"


class Fault(Struct, frozen=True):
    """A row of a provider's error table: what the code means for a message, and in words.

    `purpose` is what somebody who opted out wants no more of, a word of `Consent`.
    """

    outcome: Outcome
    text: str
    purpose: str = "all"


class Rate(Struct, frozen=True):
    """At most so many a second, and so many at once after a pause."""

    per_second: float
    burst: int = 1


class Limit(Struct, frozen=True):
    """At most so many deliveries that share this key, such as a client's network; `rate` counts deliveries."""

    key: str
    rate: Rate


class Retries(enum.StrEnum):
    """Whether the provider delivers again what we answered with 503: what it gives up soon, we spool."""

    LONG = "long"
    BRIEF = "brief"


class Menus(Struct, frozen=True, kw_only=True):
    """The choices that a channel can show: how many options, and the lengths of what is written, in characters.

    `buttons` and `rows` are how many of each a message may have, 0 where it can't. `option_id` limits an option's id.
    """

    prompt: int
    option_id: int = 256
    buttons: int = 0
    button_title: int = 0
    rows: int = 0
    row_title: int = 0
    row_description: int = 0

    def form(self, choices: Choices, prompt: str) -> Literal["buttons", "list"] | None:
        """How they can be shown with this prompt; None where only as text."""
        options = choices.options
        told = len({option.id for option in options}) == len({option.title for option in options}) == len(options)
        plain = not choices.multi and all(
            option.kind == "reply"
            and option.title.strip()
            and option.id
            and option.id == option.id.strip()
            and len(option.id) <= self.option_id
            for option in options
        )
        if not (options and told and plain and 0 < len(prompt) <= self.prompt):
            return None
        as_buttons = len(options) <= self.buttons and all(
            len(option.title) <= self.button_title and not option.description for option in options
        )
        if as_buttons and choices.style != "list":
            return "buttons"
        as_rows = len(options) <= self.rows and all(
            len(option.title) <= self.row_title and len(option.description or "") <= self.row_description
            for option in options
        )
        return "list" if as_rows else "buttons" if as_buttons else None


class Capabilities(Struct, frozen=True, kw_only=True):
    """What the channel takes, and how fast.

    `text` limits one message's text, in the provider's own unit; longer ones are cut. `media` maps media types (RFC
    6838; `image/*` covers a family) to the largest size in bytes, `media_count` is how many a message may have.
    `captions` says, by kind of media, how long a text may go with it, where each has its own; without it, text and
    media share a message. `shows` are the types of further parts that are sent as they are, each in a message of its
    own; `menus` the choices. `rate` holds for an account, `recipient_rate` for one of its recipients. With
    `reply_window` the provider refuses all but templates after `Received.reply_window_ends`, and core does so before.
    With `letters` a message goes out whole, all its parts together, with subject and thread (`Outbound.letter`). With
    `idempotent` the same message sent twice is one to whoever gets it, so that it may be sent again where nobody knows.
    """

    text: Unit
    media: Mapping[str, int] = {}
    media_count: int = 0
    captions: Mapping[str, Unit] | None = None
    shows: tuple[str, ...] = ()
    menus: Menus | None = None
    rate: Rate | None = None
    recipient_rate: Rate | None = None
    reply_window: bool = False
    letters: bool = False
    idempotent: bool = False
    retries: Retries = Retries.LONG

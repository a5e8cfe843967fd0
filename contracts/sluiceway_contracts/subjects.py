"""NATS subjects of events, commands, what is live, and questions: built and parsed, each token checked.

Nothing here subscribes. Every token matches `^[A-Za-z0-9_-]{1,64}$`, so that what a provider or a customer wrote can
neither widen a subject nor cross into another tenant's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

PREFIX = "sluiceway"
"""First token of every subject, unless a deployment that shares its NATS chose another."""

VERSION = "v1"
ABSENT = "_"
"""Stands for a token that there is none of; no tenant, channel or account may be called so."""
ANY = "any"
"""Stands, in a command's subject, for «the dispatcher chooses»; no channel or account may be called so."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class InvalidSubject(ValueError):
    """A subject, or a token of one, that the contract does not allow; `text` is what was given."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text!r} {why}")
        self.text = text


class EventSubject(NamedTuple):
    """What the subject of an event or of a live command says; absent tokens are None.

    `room` is "events" (stored) or "live" (never stored).
    """

    tenant: str
    room: str
    type: str
    channel: str | None
    contact: str | None
    conversation: str | None


class CommandSubject(NamedTuple):
    """What a command's subject says. `channel` and `account` are "any" for a command that the dispatcher routes."""

    tenant: str
    channel: str
    account: str
    type: str
    conversation: str | None


@lru_cache(4096)
def token(text: str) -> str:
    """`text`, if it may be a token of a subject. Raises `InvalidSubject`."""
    if _TOKEN.fullmatch(text) is None:
        raise InvalidSubject(text, "is no subject token: 1 to 64 of A-Z a-z 0-9 _ -")
    return text


def name(text: str) -> str:
    """`text`, if it may be a tenant's, channel's or account's: a token but `_` or `any`. Raises `InvalidSubject`."""
    if text in (ABSENT, ANY):
        raise InvalidSubject(text, "is reserved and can't be a name")
    return token(text)


def event(
    tenant: str,
    type: str,
    channel: str | None = None,
    contact: str | None = None,
    conversation: str | None = None,
    *,
    room: Literal["events", "live"] = "events",
    prefix: str = PREFIX,
) -> str:
    """`<prefix>.v1.<tenant>.events.<family>.<verb>.<channel>.<contact>.<conversation>`.

    `type` is an event's whole type, such as "sluiceway.message.received". `tenant` may be `_` for what belongs to no
    tenant. Raises `InvalidSubject`.
    """
    family, verb = _family_verb(type)
    tail = ".".join(ABSENT if t is None else name(t) for t in (channel, contact, conversation))
    return f"{prefix}.{VERSION}.{token(tenant)}.{room}.{family}.{verb}.{tail}"


def command(
    tenant: str,
    type: str,
    conversation: str | None = None,
    *,
    channel: str = ANY,
    account: str = ANY,
    prefix: str = PREFIX,
) -> str:
    """`<prefix>.v1.<tenant>.commands.<channel>.<account>.<family>.<verb>.<conversation or _>`.

    Leave `channel` and `account` out to let the dispatcher choose them. Raises `InvalidSubject`.
    """
    family, verb = _family_verb(type)
    last = ABSENT if conversation is None else name(conversation)
    if ABSENT in (channel, account):
        raise InvalidSubject(ABSENT, "is reserved and can't be a name")
    where = f"{token(channel)}.{token(account)}"
    return f"{prefix}.{VERSION}.{name(tenant)}.commands.{where}.{family}.{verb}.{last}"


def live_command(
    tenant: str,
    type: str,
    conversation: str | None = None,
    *,
    channel: str | None = None,
    contact: str | None = None,
    prefix: str = PREFIX,
) -> str:
    """`<prefix>.v1.<tenant>.live.<family>.<verb>.<channel>.<contact>.<conversation>`, as live events have it.

    Leave `channel` out to have it done wherever the customer last wrote. Raises `InvalidSubject`.
    """
    return event(name(tenant), type, channel, contact, conversation, room="live", prefix=prefix)


def ask(tenant: str, question: str, *, prefix: str = PREFIX) -> str:
    """`<prefix>.v1.<tenant>.ask.<question>`, for NATS request and reply. Raises `InvalidSubject`."""
    return f"{prefix}.{VERSION}.{name(tenant)}.ask.{name(question)}"


def parse_event(subject: str, *, prefix: str = PREFIX) -> EventSubject:
    """Read the subject of an event or a live event. Raises `InvalidSubject`."""
    match _tokens(subject, prefix):
        case [tenant, ("events" | "live") as room, family, verb, channel, contact, conversation] if ANY not in (
            *(tenant, family, verb, channel, contact, conversation),
        ):
            return EventSubject(
                tenant, room, f"sluiceway.{family}.{verb}", _or_none(channel), _or_none(contact), _or_none(conversation)
            )
    raise InvalidSubject(subject, f"is no subject of an event under {prefix}.{VERSION}")


def parse_command(subject: str, *, prefix: str = PREFIX) -> CommandSubject:
    """Read the subject of a command. Raises `InvalidSubject`."""
    match _tokens(subject, prefix):
        case [tenant, "commands", channel, account, family, verb, conversation] if ABSENT not in (
            *(tenant, channel, account, family, verb),
        ) and ANY not in (tenant, family, verb, conversation):
            return CommandSubject(tenant, channel, account, f"sluiceway.{family}.{verb}", _or_none(conversation))
    raise InvalidSubject(subject, f"is no subject of a command under {prefix}.{VERSION}")


def parse_live_command(subject: str, *, prefix: str = PREFIX) -> EventSubject:
    """Read the subject of a live command, which is always some tenant's. Raises `InvalidSubject`."""
    found = parse_event(subject, prefix=prefix)
    if found.room != "live" or found.tenant == ABSENT:
        raise InvalidSubject(subject, f"is no subject of a live command under {prefix}.{VERSION}")
    return found


@lru_cache(256)
def _family_verb(type: str) -> tuple[str, str]:
    match type.split("."):
        case ["sluiceway", family, verb]:
            return name(family), name(verb)
    raise InvalidSubject(type, "is no type: sluiceway.<family>.<verb>")


def _tokens(subject: str, prefix: str) -> list[str]:
    start = f"{prefix}.{VERSION}."
    tokens = subject.removeprefix(start).split(".") if subject.startswith(start) else []
    return tokens if all(_TOKEN.fullmatch(t) for t in tokens) else []


def _or_none(text: str) -> str | None:
    return None if text == ABSENT else text

"""A `message.send` in the dispatcher's hands: what it asks for, checked. Chooses nothing, looks nothing up."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from sluiceway_contracts import Command, MessageSend, addresses, subjects
from sluiceway_contracts.parts import AnyPart

from .bus.consumer import Delivery
from .checks import Refusal, check, conversation_of, expiry, is_template, says_something
from .routing import Way, Wish

SHORTEST_MS, LONGEST_MS = 1000, 6 * 86_400_000
OVERRIDABLE = frozenset({"parts", "subject"})


class Override(Struct, frozen=True):
    """What a channel is given instead."""

    parts: tuple[AnyPart, ...] | None = None
    subject: str | None = None


class Errand(Struct, frozen=True, kw_only=True):
    """What is to be sent, by which of the ways that there are."""

    delivery: Delivery
    command: Command
    send: MessageSend
    conversation: str | None
    wish: Wish
    overrides: Mapping[str, Override]
    expires_at: datetime.datetime

    @property
    def tenant(self) -> str:
        return self.command.tenant

    @property
    def fallback_after(self) -> datetime.timedelta:
        return datetime.timedelta(milliseconds=self.send.fallback_after_ms)

    def parts(self, channel: str) -> tuple[AnyPart, ...]:
        """What this channel is given."""
        override = self.overrides.get(channel)
        return self.send.parts if override is None or override.parts is None else override.parts

    def is_template(self, channel: str) -> bool:
        """Whether this channel is given nothing but what its provider approved beforehand."""
        return is_template(self.parts(channel))

    def aimed(self, way: Way, contact: str | None, attempt: int | None = None) -> Command:
        """The command as the account of this way is to carry it out; nothing in it is left for a dispatcher."""
        override = self.overrides.get(way.channel, Override())
        data = msgspec.structs.replace(
            self.send,
            parts=self.parts(way.channel),
            subject=self.send.subject if override.subject is None else override.subject,
            conversation_id=self.conversation,
            to=(way.address,),
            not_before=None,
            expires_at=self.expires_at,
            fallback_channels=(),
            overrides={},
            attempt=attempt,
        )
        return msgspec.structs.replace(
            self.command,
            channel=way.channel,
            account=way.account,
            subject=self.conversation,
            contactid=contact,
            data=data,
        )


def read(command: Command, delivery: Delivery, prefix: str) -> Errand:
    """The errand that a command comes to. Raises `Refusal`."""
    send = command.data
    assert isinstance(send, MessageSend)  # noqa: S101  # the dispatcher hands over no other
    check(send)
    subject = subjects.parse_command(delivery.subject, prefix=prefix)
    conversation = conversation_of(subject, command, send.conversation_id)
    address = _address(send)
    if conversation is None and address is None:
        raise Refusal("no_recipient", "give conversation_id, or one address in to")
    if send.attempt is not None:
        raise Refusal("invalid", "attempt is the dispatcher's; leave it out")
    _check_fallback(send, conversation)
    channel = command.channel or (subject.channel if subject.channel != subjects.ANY else None)
    return Errand(
        delivery=delivery,
        command=command,
        send=send,
        conversation=conversation,
        wish=Wish(channel, command.account, address),
        overrides={channel: _override(channel, given) for channel, given in send.overrides.items()},
        expires_at=expiry(command, send),
    )


def _address(send: MessageSend) -> str | None:
    if len(send.to) > 1:
        raise Refusal("too_many_recipients", "name the account for a message to several addresses")
    try:
        return addresses.normalise(send.to[0]) if send.to else None
    except addresses.InvalidAddress as error:
        raise Refusal("invalid_address", str(error)) from error


def _check_fallback(send: MessageSend, conversation: str | None) -> None:
    if not send.fallback_channels:
        return
    if conversation is None:
        raise Refusal("no_conversation", "fallback_channels need conversation_id: an address has one channel")
    if not SHORTEST_MS <= send.fallback_after_ms <= LONGEST_MS:
        raise Refusal("invalid", f"fallback_after_ms must be from {SHORTEST_MS} to {LONGEST_MS}")


def _override(channel: str, given: Mapping[str, Any]) -> Override:
    if unknown := sorted(set(given) - OVERRIDABLE):
        raise Refusal("invalid_override", f"overrides.{channel} has {unknown[0]!r}; it may have parts and subject")
    try:
        override = msgspec.convert(given, Override)
    except msgspec.ValidationError as error:
        raise Refusal("invalid_override", f"overrides.{channel}: {error}") from error
    if override.parts is not None and not says_something(override.parts):
        raise Refusal("invalid_override", f"overrides.{channel} has no content; give it a text or media part")
    return override

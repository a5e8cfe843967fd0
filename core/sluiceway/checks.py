"""What must hold of a command before a provider is bothered with it. Reads, refuses, never sends."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from sluiceway_contracts import (
    LIVE_COMMANDS,
    CallDial,
    CallHangUp,
    Command,
    CommandData,
    MessageMarkSeen,
    MessageReact,
    MessageSend,
    Template,
    Undecodable,
    UnknownCommand,
    addresses,
    is_uuid,
    now,
    subjects,
)
from sluiceway_contracts.parts import AnyPart

from .accounts import Served
from .bus.consumer import Delivery
from .errors import SluicewayError
from .gateway import Actor, Caller, Deliverer, Sender

EXPIRES_AFTER = datetime.timedelta(hours=72)
MAX_COMMAND_BYTES = 1 << 18
"""What is said of a command holds its content twice, and must fit into one message of NATS, 1 MiB by default."""
MAX_ATTEMPTS = 100
LATEST = datetime.timedelta(days=6)
"""The furthest `not_before`: the stream keeps commands for seven days."""


class Refusal(SluicewayError):
    """A command that can't be carried out. `code` is a word of the contract's `CommandFailed`."""

    def __init__(self, code: str, message: str, command_id: str | None = None, command_type: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.command_id = command_id
        self.command_type = command_type


class Aim(NamedTuple):
    """Whom a task reaches, and in which conversation."""

    contact: str
    conversation: str
    address: str


class Task(Struct, frozen=True, kw_only=True):
    """A `message.send` that may be carried out."""

    delivery: Delivery
    command: Command
    send: MessageSend
    conversation: str | None
    recipient: str | None
    expires_at: datetime.datetime

    @property
    def lane(self) -> str:
        """Tasks of one lane are carried out in order."""
        return self.conversation or self.recipient or ""

    @property
    def attempt(self) -> int:
        return self.send.attempt or 1

    @property
    def is_early(self) -> bool:
        return self.send.not_before is not None and self.send.not_before > now()


class ActTask(Struct, frozen=True, kw_only=True):
    """Something to do to a message that is there."""

    delivery: Delivery
    command: Command
    act: MessageReact | MessageMarkSeen
    conversation: str

    @property
    def lane(self) -> str:
        """The same as the conversation's messages have."""
        return self.conversation


class CallTask(Struct, frozen=True, kw_only=True):
    """A leg of a call to place, or to end."""

    delivery: Delivery
    command: Command
    call_id: str

    @property
    def lane(self) -> str:
        """One call's orders are carried out in order."""
        return self.call_id


AnyTask: TypeAlias = Task | ActTask | CallTask


def decode(delivery: Delivery, subject: subjects.CommandSubject) -> Command:
    """A command that its subject does not contradict. Raises `Refusal`."""
    if len(delivery.data) > MAX_COMMAND_BYTES:
        raise Refusal("too_large", f"the command has more than {MAX_COMMAND_BYTES} bytes; send media by reference")
    try:
        command = Command.decode(delivery.data)
    except Undecodable as error:
        raise Refusal("undecodable", str(error), error.id, error.type) from error
    why = None
    if command.tenant != subject.tenant:
        why = Refusal("wrong_tenant", "the envelope names another tenant than the subject; publish it on its own")
    elif command.type != subject.type:
        why = Refusal("wrong_type", f"the envelope says {command.type}, the subject {subject.type}")
    elif not _agree(subject, command):
        why = Refusal("wrong_account", "the envelope names another channel or account than the subject")
    elif command.type in LIVE_COMMANDS:
        why = Refusal("unsupported", f"{command.type} is live: publish it under live, without a stream")
    elif isinstance(command.data, UnknownCommand):
        why = Refusal("unknown_type", f"there is no command {command.type} in version 1 of the contract")
    if why is not None:
        why.command_id, why.command_type = command.id, command.type
        raise why
    return command


def read(delivery: Delivery, subject: subjects.CommandSubject, served: Served) -> AnyTask:
    """The task that a command for this account comes to. Raises `Refusal`."""
    command = decode(delivery, subject)
    try:
        return _task(delivery, subject, served, command)
    except Refusal as refusal:
        refusal.command_id, refusal.command_type = command.id, command.type
        raise


def _task(delivery: Delivery, subject: subjects.CommandSubject, served: Served, command: Command) -> AnyTask:
    if isinstance(command.data, CallDial | CallHangUp) and isinstance(served.gateway, Caller):
        return CallTask(delivery=delivery, command=command, call_id=command.data.call_id)
    if isinstance(command.data, MessageReact | MessageMarkSeen) and _can(served, command.data):
        conversation = conversation_of(subject, command, None)
        if conversation is None:
            raise Refusal("invalid", "say which conversation the message is in, as the command's subject")
        return ActTask(delivery=delivery, command=command, act=command.data, conversation=conversation)
    if not (isinstance(command.data, MessageSend) and isinstance(served.gateway, Sender | Deliverer)):
        raise Refusal("unsupported", f"the channel {served.channel} can't do {command.type}")
    return _message(delivery, subject, served, command, command.data)


def _message(
    delivery: Delivery, subject: subjects.CommandSubject, served: Served, command: Command, send: MessageSend
) -> Task:
    check(send)
    conversation = conversation_of(subject, command, send.conversation_id)
    recipient = _recipient(send, served)
    if send.fallback_channels or served.channel in send.overrides:
        raise Refusal("unsupported", "fallback_channels and overrides are the dispatcher's: publish it to any.any")
    if conversation is None and recipient is None:
        raise Refusal("no_recipient", "give conversation_id, or one address in to")
    return Task(
        delivery=delivery,
        command=command,
        send=send,
        conversation=conversation,
        recipient=recipient,
        expires_at=expiry(command, send),
    )


def check(send: MessageSend) -> None:
    """What holds on every channel. Raises `Refusal`."""
    if not 1 <= (send.attempt or 1) <= MAX_ATTEMPTS:
        raise Refusal("invalid", "attempt is the dispatcher's; leave it out")
    if not is_uuid(send.message_id):
        raise Refusal("invalid", "message_id must be a UUID in lower case, a UUIDv7 best")
    if not says_something(send.parts):
        raise Refusal("empty_message", "the message has no content; give it a text or media part")
    if send.not_before is not None and send.not_before > now() + LATEST:
        raise Refusal("too_early", f"not_before is more than {LATEST.days} days ahead; send the command later")


def says_something(parts: Iterable[AnyPart]) -> bool:
    return any(part.plain().strip() or part.__struct_config__.tag == "media" for part in parts)


def is_template(parts: Iterable[AnyPart]) -> bool:
    """Whether there is nothing in it but what the provider approved beforehand: that may go outside a reply window."""
    return all(isinstance(part, Template) for part in parts)


def expiry(command: Command, send: MessageSend) -> datetime.datetime:
    """When it is too late to send it. Raises `Refusal`."""
    try:
        return send.expires_at or (send.not_before or command.time) + EXPIRES_AFTER
    except OverflowError as error:
        raise Refusal("invalid", "the command's time is beyond the calendar") from error


def _agree(subject: subjects.CommandSubject, command: Command) -> bool:
    """Whether the envelope names what the subject does, or leaves it to the subject, or the subject to it."""
    pairs = ((subject.channel, command.channel), (subject.account, command.account))
    return all(said is None or there in (said, subjects.ANY) for there, said in pairs)


def _can(served: Served, data: CommandData) -> bool:
    return isinstance(served.gateway, Actor) and isinstance(data, served.gateway.acts)


def conversation_of(subject: subjects.CommandSubject, command: Command, given: str | None) -> str | None:
    """The conversation that subject, envelope and data (`given`) agree on. Raises `Refusal`."""
    named = {name for name in (subject.conversation, command.subject, given) if name is not None}
    if len(named) > 1:
        raise Refusal("wrong_conversation", "subject, envelope and conversation_id name different conversations")
    conversation = named.pop() if named else None
    if conversation is not None and not is_uuid(conversation):
        raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
    return conversation


def _recipient(send: MessageSend, served: Served) -> str | None:
    if len(send.to) + len(send.cc) > 1:
        raise Refusal("too_many_recipients", f"the channel {served.channel} takes one recipient a message")
    if not send.to:
        return None
    try:
        address = addresses.parse(send.to[0])
    except addresses.InvalidAddress as error:
        raise Refusal("invalid_address", str(error)) from error
    if address.scheme not in served.gateway.schemes:
        takes = ", ".join(f"{scheme}:" for scheme in served.gateway.schemes)
        raise Refusal("invalid_address", f"the channel {served.channel} takes {takes} addresses")
    return str(address)

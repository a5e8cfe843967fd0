"""An event as one line for people, or one of JSON for programs; nothing in it can drive a terminal. Prints nothing."""

from __future__ import annotations

import datetime
import re

import click
import msgspec

from sluiceway_contracts import (
    TERMINAL,
    CallEnded,
    CallQueued,
    CallRequested,
    CallUpdated,
    CommandFailed,
    Error,
    Event,
    EventData,
    Message,
    MessageEdited,
    MessageReceived,
    MessageSent,
    MessageStatus,
    Party,
    Undecodable,
    UnknownEvent,
)
from sluiceway_contracts.parts import plain

COLOURS = {"message.received": "green", "message.sent": "cyan", "message.status": "blue"}
TYPE_WIDTH = len("message.received")
FROM_CUSTOMER, TO_CUSTOMER, NEITHER = "←", "→", "·"

# C0, DEL and C1 drive terminals; the bidirectional ones show a line in another order than it has
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_CHARS = 2000


def shown(text: str) -> str:
    """The text without control characters: each is shown as a picture of itself, a line's end as `⏎`."""
    return _CONTROL.sub(_picture, text.replace("\r\n", "\n"))


def as_json(data: bytes) -> str:
    """The JSON as one line, with control characters escaped. Raises `ValueError` where it is none."""
    line = msgspec.json.format(data, indent=-1).decode()
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def readable(data: bytes) -> str:
    """Local time, channel and account, direction, type, conversation, and what it says."""
    try:
        event = Event.decode(data)
    except Undecodable as error:
        what = f"no event of the contract: {error} ({len(data)} bytes)"
        return click.style(f"{'':8}  {shown(error.type or '?')}  {shown(what)}", fg="red")
    type = event.type.removeprefix("sluiceway.")
    where = "/".join(filter(None, (event.channel, event.account))) or event.tenant
    told = "  ".join(filter(None, (event.subject and shown(event.subject), shown(said(event.data))[:MAX_CHARS])))
    colour = "red" if _failed(event.data) else COLOURS.get(type)
    return (
        f"{click.style(clock(event.time), dim=True)}  {shown(where)} {_arrow(event)} {_coloured(type, colour)}  {told}"
    )


def _coloured(type: str, colour: str | None) -> str:
    return click.style(f"{shown(type):{TYPE_WIDTH}}", fg=colour)


def clock(moment: datetime.datetime) -> str:
    """Local time, with the day where that is not today."""
    local = moment.astimezone()
    today = local.date() == datetime.datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def _arrow(event: Event) -> str:
    match event.data:
        case MessageReceived():
            return FROM_CUSTOMER
        case MessageSent() | MessageStatus() | CommandFailed():
            return TO_CUSTOMER
    return FROM_CUSTOMER if event.actorrole == "customer" else NEITHER


def _failed(data: EventData) -> bool:
    return isinstance(data, CommandFailed) or (isinstance(data, MessageStatus) and data.overall in TERMINAL)


def said(data: EventData) -> str:
    """What an event tells, in words; not yet `shown`."""
    match data:
        case MessageReceived(message=message) | MessageSent(message=message):
            return f"{name_of(message.author)}: {text_of(message)}"
        case MessageStatus():
            return fate(data)
        case CommandFailed():
            return f"{error_of(data.error)} ({data.command_type or 'a command that can not be read'})"
        case MessageEdited():
            return f"{name_of(data.by)}: {plain(data.parts)}"
        case CallRequested() | CallQueued() | CallUpdated() | CallEnded():
            return call(data)
    return _fields(data.raw if isinstance(data, UnknownEvent) else msgspec.to_builtins(data))


def call(data: CallRequested | CallQueued | CallUpdated | CallEnded) -> str:
    """How a call goes on."""
    match data:
        case CallRequested():
            who = "a call from" if data.direction == "inbound" else "a call to"
            return " ".join(filter(None, (data.state, who, data.address or "nobody knows whom", data.reason)))
        case CallQueued():
            wait = f", {data.wait_ms.low // 1000} to {data.wait_ms.high // 1000} s" if data.wait_ms else ""
            return f"number {data.position}{wait}"
        case CallUpdated():
            why = error_of(data.error) if data.error is not None else ""
            return " ".join(filter(None, (data.state, name_of(data.by) if data.by else "", why)))
        case CallEnded():
            spoke = f"{data.duration_ms / 1000:.0f} s" if data.duration_ms is not None else data.disposition or ""
            return " ".join(filter(None, (data.state, spoke)))


def fate(data: MessageStatus) -> str:
    """What has become of a message, and why."""
    errors = sorted({error_of(piece.error) for piece in data.pieces if piece.error is not None})
    named = errors and all(error.startswith(data.overall) for error in errors)
    return ", ".join(errors if named else (data.overall, *errors))


def text_of(message: Message) -> str:
    """All that it says, in plain text."""
    return message.text or plain(message.parts)


def name_of(party: Party) -> str:
    """The most telling word for somebody."""
    return party.name or party.address or party.agent_id or party.role


def error_of(error: Error) -> str:
    code = f"{error.code} {error.provider_code}" if error.provider_code else error.code
    return f"{code}: {error.message}"


def _fields(data: object) -> str:
    """What is not nested, but for ids, which programs read."""
    if not isinstance(data, dict):
        return msgspec.json.encode(data).decode()
    told = {key: value for key, value in data.items() if isinstance(value, str | int | float)}
    told |= {key: value["code"] for key, value in data.items() if isinstance(value, dict) and "code" in value}
    return " ".join(f"{key}={value}" for key, value in told.items() if not str(key).endswith("_id"))


def _picture(found: re.Match[str]) -> str:
    match ord(found[0]):
        case 0x0A:
            return " ⏎ "
        case 0x7F:
            return "␡"
        case code if code < 0x20:
            return chr(0x2400 + code)
    return "\ufffd"

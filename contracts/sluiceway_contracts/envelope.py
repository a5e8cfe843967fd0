"""The envelope of every event and command, CloudEvents 1.0 in structured JSON: written, read, and read tolerantly.

A reader outlives the writer's next release: unknown fields are ignored, unknown types of events and commands become
`UnknownEvent` and `UnknownCommand`, unknown parts become `parts.Unknown`. Nothing here publishes.
CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from . import parts, subjects
from .commands import COMMANDS, LIVE_COMMANDS, CommandData, UnknownCommand
from .events import EVENTS, LIVE, EventData, UnknownEvent
from .ids import uuid7
from .values import Base, Id, Time, Timed, now

CONTENT_TYPE = "application/cloudevents+json"
"""Value of the NATS header `content-type`."""

Token = Annotated[str, Meta(description="A subject token: 1 to 64 of A-Z a-z 0-9 _ -")]
Role = Annotated[str, Meta(description="Who caused it: customer, agent, bot or system.")]


class Undecodable(ValueError):
    """The bytes are no event or command of the contract. `id` and `type` are there where they could be read."""

    def __init__(self, why: str, id: str | None = None, type: str | None = None) -> None:
        super().__init__(why)
        self.id = id
        self.type = type


class Envelope(Timed, frozen=True, kw_only=True):
    """CloudEvents attributes and our extensions. `subject` is the conversation's id."""

    specversion: Literal["1.0"] = msgspec.field(default_factory=lambda: "1.0")
    id: Id = msgspec.field(default_factory=uuid7)
    source: str = ""
    type: str = ""
    time: Time = msgspec.field(default_factory=now)
    tenant: Token
    subject: Id | None = None
    channel: Token | None = None
    account: Token | None = None
    contactid: Id | None = None
    causationid: str | None = None
    correlationid: str | None = None
    actorid: str | None = None
    actorrole: Role | None = None
    traceparent: str | None = None

    def encode(self) -> bytes:
        """The JSON to publish."""
        return _encoder.encode(self)

    def headers(self) -> dict[str, str]:
        """The NATS headers to publish it with; the first stored of one `Nats-Msg-Id` is the only one."""
        headers = {"content-type": CONTENT_TYPE, "Nats-Msg-Id": f"{self.tenant}:{self.id}"}
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        return headers


class Event(Envelope, frozen=True, kw_only=True):
    """Something that happened. `source` is `/<tenant>/<channel>/<account>`; `type` follows from `data`."""

    data: EventData

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_default(self, "type", self.data.type)
        _set_default(self, "source", f"/{self.tenant}/{self.channel or '_'}/{self.account or '_'}")

    def nats_subject(self, prefix: str = subjects.PREFIX) -> str:
        """The NATS subject it belongs on. Raises `subjects.InvalidSubject`."""
        room: Literal["events", "live"] = "live" if self.type in LIVE else "events"
        return subjects.event(
            self.tenant, self.type, self.channel, self.contactid, self.subject, room=room, prefix=prefix
        )

    @staticmethod
    def decode(data: bytes) -> Event:
        """Read an event from JSON. Raises `Undecodable`."""
        return _decode(Event, data, EVENTS, UnknownEvent)


class Command(Envelope, frozen=True, kw_only=True):
    """Something to do. `source` is `/<tenant>/apps/<app>`; `type` follows from `data`.

    With `channel` and `account` it goes to the gateway that serves them, without to the dispatcher. A live one goes to
    all gateways, by NATS core.
    """

    data: CommandData

    def __post_init__(self) -> None:
        super().__post_init__()
        _set_default(self, "type", self.data.type)
        _set_default(self, "source", f"/{self.tenant}/apps/_")

    def nats_subject(self, prefix: str = subjects.PREFIX) -> str:
        """The NATS subject it belongs on. Raises `subjects.InvalidSubject`."""
        if self.type in LIVE_COMMANDS:
            return subjects.live_command(
                self.tenant, self.type, self.subject, channel=self.channel, contact=self.contactid, prefix=prefix
            )
        channel, account = self.channel or subjects.ANY, self.account or subjects.ANY
        return subjects.command(self.tenant, self.type, self.subject, channel=channel, account=account, prefix=prefix)

    @staticmethod
    def decode(data: bytes) -> Command:
        """Read a command from JSON. Raises `Undecodable`."""
        return _decode(Command, data, COMMANDS, UnknownCommand)


class _Head(Envelope, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: Id
    source: str
    type: str
    time: Time
    data: msgspec.Raw


_encoder = msgspec.json.Encoder()
_head = msgspec.json.Decoder(_Head)
_data: dict[type, msgspec.json.Decoder[Any]] = {
    struct: msgspec.json.Decoder(struct) for struct in (*EVENTS.values(), *COMMANDS.values())
}
_ATTRIBUTES = tuple(field.name for field in msgspec.structs.fields(Envelope))

_E = TypeVar("_E", Event, Command)


def _decode(
    cls: type[_E], data: bytes, known: Mapping[str, type[Base]], unknown: type[UnknownEvent] | type[UnknownCommand]
) -> _E:
    body: Any
    try:
        head = _head.decode(data)
    except (ValueError, RecursionError) as error:
        raise _undecodable(str(error), data) from error
    if not (head.id and head.type and head.source):
        raise Undecodable("a CloudEvent needs id, type and source", head.id or None, head.type or None)
    struct = known.get(head.type)
    try:
        body = unknown(raw=msgspec.json.decode(head.data)) if struct is None else _body(struct, head.data)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"data: {error}", head.id, head.type) from error
    return cls(data=body, **{name: getattr(head, name) for name in _ATTRIBUTES})


def _body(struct: type[Base], raw: msgspec.Raw) -> Any:
    try:
        return _data[struct].decode(raw)
    except msgspec.ValidationError:
        return msgspec.convert(_survivable(msgspec.json.decode(raw)), struct)


def _survivable(value: Any) -> Any:
    """The same, with every part of an unknown type, wherever a list named `parts` stands, turned into `unknown`."""
    if not isinstance(value, dict):
        return value
    return {
        key: [_part(item) for item in inner] if key == "parts" and isinstance(inner, list) else _survivable(inner)
        for key, inner in value.items()
    }


def _part(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    tag = value.get("type")
    if not isinstance(tag, str) or tag in parts.KNOWN:
        return value
    was = {"type": "unknown", "was": tag, "raw": value}
    return was | {key: value[key] for key in ("id", "fallback") if isinstance(value.get(key), str)}


def _undecodable(why: str, data: bytes) -> Undecodable:
    """With the id and the type of what can't be read, where they at least can."""
    try:
        loose = msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError):
        loose = {}
    id, type = loose.get("id"), loose.get("type")
    return Undecodable(why, id if isinstance(id, str) else None, type if isinstance(type, str) else None)


def _set_default(event: Envelope, field: str, value: str) -> None:
    if not getattr(event, field):
        msgspec.structs.force_setattr(event, field, value)

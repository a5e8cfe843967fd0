"""AsyncAPI document of the contract: which message is on which subject, as an application sees it. Describes no server.

AsyncAPI 3.0: https://www.asyncapi.com/docs/reference/specification/v3.0.0
NATS binding: https://github.com/asyncapi/bindings/tree/master/nats
"""

from __future__ import annotations

import inspect
from typing import Any

from . import subjects
from .commands import COMMANDS, LIVE_COMMANDS, CommandData
from .envelope import CONTENT_TYPE
from .events import EVENTS, LIVE, EventData
from .schema import Schema, definitions

_SCHEMAS = "#/components/schemas/"
_NATS = {"nats": {"bindingVersion": "0.1.0"}}
_PARAMETERS = {
    "tenant": "Whose customers they are.",
    "channel": "The medium, such as sms, email or webform; `_` for none, `any` where the dispatcher chooses.",
    "account": "The identity of ours to send from; `any` where the dispatcher chooses.",
    "contact": "Id of the contact who owned the address when it was published; `_` for none.",
    "conversation": "Id of the conversation; `_` for none.",
}
_HEADERS: Schema = {
    "type": "object",
    "description": "NATS headers; their names are case-sensitive.",
    "properties": {
        "content-type": {"const": CONTENT_TYPE},
        "Nats-Msg-Id": {
            "type": "string",
            "description": "<tenant>:<id>; of those with the same one, a stream keeps the first.",
        },
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
    },
    "required": ["content-type", "Nats-Msg-Id"],
}


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document: a channel, a message and an operation for each event and command."""
    data: dict[str, type[EventData | CommandData]] = {**EVENTS, **COMMANDS}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:sluiceway:v1",
        "info": {
            "title": "Sluiceway",
            "version": "1.0.0",
            "description": "Customer conversations of every channel on NATS JetStream. Unknown fields, parts and types "
            "are valid: ignore what you do not know.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_key(type): _channel(type) for type in data},
        "operations": {_key(type): _operation(type, struct) for type, struct in data.items()},
        "components": {
            "messages": {_key(type): _message(type, struct) for type, struct in data.items()},
            "messageTraits": {"headers": {"headers": {"$ref": f"{_SCHEMAS}Headers"}}},
            "parameters": {name: {"description": text} for name, text in _PARAMETERS.items()},
            "schemas": definitions(_SCHEMAS) | {"Headers": _HEADERS},
        },
    }


def address(type: str) -> str:
    """The subject of an event or command, with its parameters in braces; built where every subject is built."""
    names = {name: f"__{name}__" for name in _PARAMETERS}
    if type in COMMANDS and type not in LIVE_COMMANDS:
        subject = subjects.command(
            names["tenant"], type, names["conversation"], channel=names["channel"], account=names["account"]
        )
    else:
        room: Any = "live" if type in LIVE | LIVE_COMMANDS else "events"
        subject = subjects.event(
            names["tenant"], type, names["channel"], names["contact"], names["conversation"], room=room
        )
    for name, token in names.items():
        subject = subject.replace(token, f"{{{name}}}")
    return subject


def _key(type: str) -> str:
    return type.removeprefix("sluiceway.")


def _channel(type: str) -> Schema:
    subject = address(type)
    return {
        "address": subject,
        "messages": {_key(type): {"$ref": f"#/components/messages/{_key(type)}"}},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if f"{{{name}}}" in subject
        },
        "bindings": {"nats": {}},
    }


def _operation(type: str, struct: type[EventData | CommandData]) -> Schema:
    return {
        "action": "send" if type in COMMANDS else "receive",
        "channel": {"$ref": f"#/channels/{_key(type)}"},
        "messages": [{"$ref": f"#/channels/{_key(type)}/messages/{_key(type)}"}],
        "summary": _summary(struct),
        "bindings": _NATS,
    }


def _message(type: str, struct: type[EventData | CommandData]) -> Schema:
    return {
        "name": type,
        "title": struct.__name__,
        "summary": _summary(struct),
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": _SCHEMAS + type},
        "traits": [{"$ref": "#/components/messageTraits/headers"}],
    }


def _summary(struct: type[EventData | CommandData]) -> str:
    return str(inspect.getdoc(struct)).partition("\n")[0]

"""Recorded events and commands: a file's bytes taken apart and checked, all of it before any is used. No I/O."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sluiceway_contracts import COMMANDS, EVENTS, LIVE, LIVE_COMMANDS, Command, Event, Undecodable, subjects

from ..errors import SluicewayError


class InvalidRecording(SluicewayError):
    """The file, or a line of it, holds no event or command of the contract."""


class Recorded(NamedTuple):
    """A message to publish. `live` ones are seen by who is there and never stored."""

    subject: str
    data: bytes
    headers: dict[str, str]
    live: bool


def read(name: str, content: bytes, *, tenant: str | None = None, prefix: str = subjects.PREFIX) -> list[Recorded]:
    """All messages of a file, in order: JSON lines, one JSON object, or an array of them; of `tenant`, if given.

    What an item says beyond the contract is kept. Raises `InvalidRecording` with file, line and reason.
    """
    try:
        return [_recorded(where, item, tenant, prefix) for where, item in _items(name, content)]
    except _Invalid as error:
        raise InvalidRecording(f"{error.where}: {error}; nothing was published") from error


def _items(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Each item, and where it stands."""
    text = content.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise _Invalid(name, "the file is empty")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if text.startswith(b"["):
        _check_json(name, content)
        for number, item in enumerate(msgspec.json.decode(text, type=list[msgspec.Raw]), 1):
            yield f"{name}: item {number}", bytes(item)
    elif name.endswith(".json") or _is_json(text):
        _check_json(name, content)
        yield f"{name}:1", text
    else:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{name}:{number}", line.strip()


def _recorded(where: str, item: bytes, tenant: str | None, prefix: str) -> Recorded:
    try:
        if tenant is not None:
            item = _moved(item, tenant)
        message = _decode(item)
        data = msgspec.json.format(item, indent=-1)
        return Recorded(message.nats_subject(prefix), data, message.headers(), message.type in LIVE | LIVE_COMMANDS)
    except (ValueError, RecursionError) as error:
        raise _Invalid(where, str(error)) from error


def _decode(item: bytes) -> Event | Command:
    type = msgspec.json.decode(item, type=_Head).type
    if type in EVENTS:
        return Event.decode(item)
    if type in COMMANDS:
        return Command.decode(item)
    near = difflib.get_close_matches(type, (*EVENTS, *COMMANDS), n=1)
    raise Undecodable(
        f"{type or 'nothing'} is no type of the contract" + (f"; did you mean {near[0]}?" if near else "")
    )


def _moved(item: bytes, tenant: str) -> bytes:
    """The same for another tenant, in `tenant` and in `source`."""
    fields = msgspec.json.decode(item, type=dict[str, Any])
    old, source = fields.get("tenant"), fields.get("source")
    if isinstance(source, str) and source.startswith(f"/{old}/"):
        fields["source"] = f"/{tenant}/" + source.removeprefix(f"/{old}/")
    return msgspec.json.encode(fields | {"tenant": tenant})


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _check_json(name: str, content: bytes) -> None:
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        raise _Invalid(f"{name}:{error.lineno}", f"is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _Invalid(name, f"is not JSON: {error}") from error


class _Head(msgspec.Struct):
    type: str = ""


class _Invalid(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where

"""Address lists of header fields (RFC 5322, 3.4), as lenient as mail clients; what has no address keeps its name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ._mail import Mailbox
from ._words import decode_words

MAX_MAILBOXES = 500
MAX_CHARS = 1 << 16
_SPACE = re.compile(r"\s+")
_AROUND = re.compile(r"\s*([.@])\s*")
_ADDRESS = re.compile(r"[^\s<>\",;:()]{1,320}@[^\s<>\",;:()]{1,255}")
_ESCAPED = re.compile(r"\\(.)")
_ROUTE = re.compile(r"@[^:<>]{0,500}:")


def mailboxes(value: str) -> tuple[Mailbox, ...]:
    """Those that a field names, in order; groups are dissolved."""
    found: list[Mailbox] = []
    waiting = ""
    for chunk, comment in _chunks(value[:MAX_CHARS]):
        here = _read(chunk, comment)
        if here and waiting and "<" in chunk and here[0].name:
            here[0] = Mailbox(address=here[0].address, name=f"{waiting}, {here[0].name}")
        elif waiting:
            found.append(Mailbox(address="", name=waiting))
        waiting = ""
        if not here and (name := _name(chunk)):
            waiting = name
        found += here
        if len(found) >= MAX_MAILBOXES:
            return tuple(found[:MAX_MAILBOXES])
    if waiting:
        found.append(Mailbox(address="", name=waiting))
    return tuple(found)


def _chunks(value: str) -> Iterator[tuple[str, str]]:
    """What stands between commas and semicolons outside of quotes, brackets and comments; and its comment."""
    text, comment = list[str](), list[str]()
    depth, quoted, angle, escaped = 0, False, False, False
    for char in value:
        if escaped:
            escaped = False
            (comment if depth else text).append(char)
            continue
        if char == "\\" and (quoted or depth):
            escaped = True
            if quoted:
                text.append(char)
            continue
        if char == '"' and not depth:
            quoted = not quoted
        elif not quoted and char in "()":
            depth = depth + 1 if char == "(" else max(depth - 1, 0)
            continue
        if depth:
            comment.append(char)
            continue
        if not quoted:
            angle = char == "<" or (angle and char != ">")
            if char in ",;" and not angle:
                yield "".join(text), "".join(comment)
                text, comment = [], []
                continue
            if char == ":" and not angle and "@" not in text:
                text, comment = [], []  # a group's name
                continue
        text.append(char)
    yield "".join(text), "".join(comment)


def _read(chunk: str, comment: str) -> list[Mailbox]:
    before, bracket, inside = chunk.rpartition("<")
    if bracket:
        address = _ROUTE.sub("", inside.partition(">")[0]) if inside.startswith("@") else inside.partition(">")[0]
        return [_mailbox(_SPACE.sub("", address), _name(before) or _name(comment))]
    tight = _AROUND.sub(r"\1", chunk.strip())
    text = tight if not _SPACE.search(tight) else chunk
    addresses: list[str] = _ADDRESS.findall(text)
    if not addresses and '"' in text and "@" in text:
        return [_mailbox(text.strip(), None)]
    name = _name(_ADDRESS.sub("", text)) if len(addresses) == 1 else None
    return [_mailbox(address, name or _name(comment)) for address in addresses]


def _mailbox(address: str, name: str | None) -> Mailbox:
    address = decode_words(address)[:600]
    local, at, domain = address.rpartition("@")
    return Mailbox(address=f"{local}@{domain.lower()}" if at else address, name=name)


def _name(text: str) -> str | None:
    text = text.strip()
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        text = text[1:-1]
    text = _SPACE.sub(" ", decode_words(_ESCAPED.sub(r"\1", text))).strip().strip('"').strip()
    return text[:300] or None

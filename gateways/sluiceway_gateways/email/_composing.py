"""A mail from the parts of one message of ours, as pieces: bytes, and files that are encoded on their way. Sends none.

    multipart/mixed                 where files are attached
    ├── multipart/alternative       where there is HTML
    │   ├── text/plain
    │   └── multipart/related       where the HTML shows images
    │       ├── text/html
    │       └── image/…
    └── application/…

All of it is 7 bit, as quoted-printable or base64: no server on the way has to convert it, which would break a signature
(RFC 6376, 5.3). Only where an address needs SMTPUTF8 are addresses in header fields UTF-8 (RFC 6532). The same
letter is the same mail, octet for octet, however often it is composed.
"""

from __future__ import annotations

import binascii
import datetime
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from sluiceway import File
from sluiceway_contracts import AnyPart, Text

from . import _header_writing as write
from ._alternatives import Said, Shown, said
from ._base64 import encoded, encoded_size
from ._header_writing import Mailbox

LONGEST_FILE_NAME = 150
_ASCII_LINES = re.compile(r"(?:[\t\x20-\x7e]{0,75}[\x21-\x7e]\n|\n)*")
"""What needs no encoding: printable ASCII, in lines that nobody wraps or strips."""
_PATH = re.compile(r"[/\\<>\"]")

Entity = list[bytes | File]
"""A body part with its header fields."""


class Letter(Struct, frozen=True, kw_only=True):
    """What a mail is made of. Ids are without their brackets.

    `message_id` is ours and the same at every try. `references` is the whole chain, oldest first; `in_reply_to` ends
    it. `auto_submitted` says that no person wrote it (RFC 3834). `unsubscribe` are https and mailto addresses
    (RFC 2369); with `one_click` a POST to the https one is enough (RFC 8058).
    """

    message_id: str
    date: datetime.datetime
    sender: Mailbox
    to: tuple[Mailbox, ...]
    parts: tuple[AnyPart, ...]
    subject: str = ""
    cc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    auto_submitted: Literal["auto-generated", "auto-replied"] | None = None
    unsubscribe: tuple[str, ...] = ()
    one_click: bool = False


class Composed(Struct, frozen=True):
    """A mail. `size` is how many octets it has (RFC 1870); with `utf8` it needs SMTPUTF8 (RFC 6531)."""

    pieces: tuple[bytes | File, ...]
    size: int
    utf8: bool


def compose(letter: Letter) -> Composed:
    """The mail. Raises `Rejected` for addresses and files that no mail can have, `ValueError` for ids and URIs."""
    content = said(letter.parts, letter.message_id)
    head = "".join(_fields(letter)).encode()
    entity = _body(content, _boundary(letter.message_id, content), _lang(letter.parts))
    pieces = _joined([head, b"MIME-Version: 1.0\r\n", *entity])
    size = sum(encoded_size(piece.size) if isinstance(piece, File) else len(piece) for piece in pieces)
    return Composed(pieces, size, not head.isascii())


def _fields(letter: Letter) -> Iterable[str]:
    yield write.field("Date", [write.date(letter.date)])
    yield write.field("From", write.mailboxes([letter.sender]))
    if letter.reply_to is not None:
        yield write.field("Reply-To", write.mailboxes([letter.reply_to]))
    yield write.field("To", write.mailboxes(letter.to))
    if letter.cc:
        yield write.field("Cc", write.mailboxes(letter.cc))
    yield write.field("Message-ID", [write.message_id(letter.message_id)])
    yield from _thread(letter)
    if subject := write.text(letter.subject):
        yield write.field("Subject", subject)
    if letter.auto_submitted is not None:
        yield write.field("Auto-Submitted", [letter.auto_submitted])
    if letter.unsubscribe:
        yield write.field("List-Unsubscribe", write.uris(letter.unsubscribe))
    if letter.one_click:
        if not any(uri.startswith("https:") for uri in letter.unsubscribe):
            raise ValueError("one click unsubscribes at an https address (RFC 8058, 3.1)")
        yield write.field("List-Unsubscribe-Post", ["List-Unsubscribe=One-Click"])


def _thread(letter: Letter) -> Iterable[str]:
    """RFC 5322, 3.6.4."""
    answered = write.references([letter.in_reply_to] if letter.in_reply_to else [])
    if answered:
        yield write.field("In-Reply-To", answered)
    chain = write.references([*letter.references, *([letter.in_reply_to] if letter.in_reply_to else [])])
    if chain:
        yield write.field("References", chain)


def _body(content: Said, boundary: str, lang: str | None) -> Entity:
    entity = _text("plain", content.text)
    if content.html is not None:
        page = _text("html", _document(content.html, lang))
        if content.shown:
            images = [_file(shown.file, shown) for shown in content.shown]
            page = _multipart('related; type="text/html"', f"{boundary}.r", [page, *images])
        entity = _multipart("alternative", f"{boundary}.a", [entity, page])
    if content.attached:
        entity = _multipart("mixed", f"{boundary}.m", [entity, *map(_file, content.attached)])
    return entity


def _boundary(message_id: str, content: Said) -> str:
    """Neither base64 nor quoted-printable has `=_` in it; who writes plain text can't know the hash of it."""
    words = "\0".join((message_id, content.text, content.html or "")).encode("utf-8", "replace")
    return f"=_{hashlib.blake2b(words, digest_size=12, person=b'mail boundary').hexdigest()}"


def _lang(parts: Sequence[AnyPart]) -> str | None:
    found = {part.lang for part in parts if isinstance(part, Text)}
    return found.pop() if len(found) == 1 else None


def _document(fragment: str, lang: str | None) -> str:
    attribute = f' lang="{html.escape(lang)}"' if lang else ""
    head = '<head><meta charset="utf-8"></head>'
    return f"<!DOCTYPE html>\n<html{attribute}>{head}\n<body>\n{fragment}\n</body></html>"


def _text(subtype: str, text: str) -> Entity:
    """RFC 2045: as it is where it may be, else legible, or in base64 where that is much shorter."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n") + ("" if text.endswith(("\r", "\n")) else "\n")
    octets = lines.encode("utf-8", "replace")
    if _ASCII_LINES.fullmatch(lines):
        encoding, body = "7bit", octets.replace(b"\n", b"\r\n")
    else:
        quoted, dense = binascii.b2a_qp(octets).replace(b"\n", b"\r\n"), encoded(octets.replace(b"\n", b"\r\n"))
        encoding, body = ("base64", dense) if 3 * len(dense) < 2 * len(quoted) else ("quoted-printable", quoted)
    kind = write.field("Content-Type", [f"text/{subtype};", "charset=utf-8"])
    return [f"{kind}{write.field('Content-Transfer-Encoding', [encoding])}\r\n".encode() + body]


def _file(file: File, shown: Shown | None = None) -> Entity:
    """RFC 2183, with the name as RFC 2231 has it and, for old programs, once more in Content-Type."""
    name = _file_name(file.name)
    where = ["inline;" if shown else "attachment;", *write.parameter("filename", name)]
    head = write.field("Content-Type", _ended([f"{file.mime};", *write.old_parameter("name", name)]))
    head += write.field("Content-Disposition", _ended(where))
    head += write.field("Content-ID", [f"<{shown.content_id}>"]) if shown else ""
    head += write.field("Content-Transfer-Encoding", ["base64"])
    return [f"{head}\r\n".encode(), file]


def _file_name(name: str) -> str:
    """One line, no path, no brackets and quotes; a long one keeps its end, which says what it is."""
    line = _PATH.sub("_", write.clean(name)).strip()
    stem, dot, extension = line.rpartition(".")
    return line if len(line) <= LONGEST_FILE_NAME else f"{stem[: LONGEST_FILE_NAME - 20]}…{dot}{extension[:16]}"


def _multipart(kind: str, boundary: str, entities: Iterable[Entity]) -> Entity:
    pieces: Entity = [write.field("Content-Type", [f"multipart/{kind};", f'boundary="{boundary}"']).encode()]
    for entity in entities:
        pieces += [f"\r\n--{boundary}\r\n".encode(), *entity]
    return [*pieces, f"\r\n--{boundary}--\r\n".encode()]


def _ended(words: list[str]) -> list[str]:
    return [*words[:-1], words[-1].removesuffix(";")]


def _joined(pieces: Iterable[bytes | File]) -> tuple[bytes | File, ...]:
    """With neighbouring bytes put together."""
    joined: list[bytes | File] = []
    for piece in pieces:
        if joined and isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined)

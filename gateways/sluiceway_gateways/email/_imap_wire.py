"""IMAP's lines: what a server said taken apart, and what is said to it put together; reads no socket, knows no mailbox.

https://www.rfc-editor.org/rfc/rfc3501 and, for what is newer, https://www.rfc-editor.org/rfc/rfc9051
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "bytes | list[Value] | None"
"""An atom, string or literal; a list in parentheses; or NIL."""

MAX_DEPTH = 20
"""No list that we ask for is deeper than three."""
MAX_WORDS = 200
"""So much of what a server says is passed on."""
LITERAL = re.compile(rb"~?\{(\d{1,18})\+?\}$")
"""The end of a line after which so many bytes follow. https://www.rfc-editor.org/rfc/rfc7888, rfc3516 for the tilde"""
_TOKEN = re.compile(rb'\s*(?:"((?:[^"\\]|\\.)*)"|([()])|((?:[^\s()"\[]|\[[^\]]*\])+))')
_ESCAPED = re.compile(rb"\\(.)")
_CODE = re.compile(rb"\[([^\s\]]+)(?: ([^\]]*))?\] ?(.*)", re.DOTALL)
_ADDRESS = re.compile(r"\S*@\S*")
_PRINTABLE = range(0x20, 0x7F)

LATER = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG", "CONTACTADMIN"})
"""Codes of refusals that say nothing about us. https://www.rfc-editor.org/rfc/rfc5530#section-3"""
LATER_WORDS = ("try again", "temporar", "not connected")
"""The same without codes; Exchange Online's "User is authenticated but not connected" is one of them."""
THROTTLE = frozenset({"LIMIT", "THROTTLED"})
THROTTLE_WORDS = ("throttled", "too many")
"""Exchange Online: "Request is throttled. Suggested Backoff Time: …"; Gmail: "Too many simultaneous connections"."""


class Nonsense(Exception):
    """A line that is not IMAP."""


class Refusal(Exception):
    """The server's NO or BAD: its code (RFC 5530), upper case, where it gave one, and its words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words

    @property
    def throttles(self) -> bool:
        """Whether we ask too much."""
        return self.code in THROTTLE or any(word in self.words.lower() for word in THROTTLE_WORDS)

    @property
    def passes(self) -> bool:
        """Whether the same login may be taken a little later."""
        return self.throttles or self.code in LATER or any(word in self.words.lower() for word in LATER_WORDS)

    def __str__(self) -> str:
        words = _ADDRESS.sub("…", self.words)[:MAX_WORDS]
        return f"[{self.code}] {words}" if self.code else words


@dataclass(frozen=True)
class Status:
    """OK, NO, BAD, BYE or PREAUTH, with its code in brackets, what the code is about, and words for people."""

    word: str
    code: str
    about: str
    words: str

    def refusal(self) -> Refusal:
        return Refusal(self.code, self.words)


def status(text: bytes) -> Status:
    """Of a line without its tag, such as `OK [UIDVALIDITY 7] UIDs valid`."""
    word, _, rest = text.partition(b" ")
    code, about, words = b"", b"", rest
    if found := _CODE.match(rest):
        code, about, words = found[1], found[2] or b"", found[3]
    return Status(*(_text(part) for part in (word.upper(), code.upper(), about, words)))


def values(pieces: Sequence[bytes]) -> list[Value]:
    """The values of a response: its lines, with the literals that stood between them, in turn. Raises `Nonsense`."""
    stack: list[list[Value]] = [[]]
    for index, piece in enumerate(pieces):
        if index % 2:
            stack[-1].append(piece)
            continue
        line = LITERAL.sub(b"", piece) if index + 1 < len(pieces) else piece
        for found in _tokens(line):
            quoted, bracket, atom = found.groups()
            if bracket == b"(" and len(stack) < MAX_DEPTH:
                inner: list[Value] = []
                stack[-1].append(inner)
                stack.append(inner)
            elif bracket == b")" and len(stack) > 1:
                stack.pop()
            elif bracket:
                raise Nonsense("parentheses that do not fit")
            elif atom is not None:
                stack[-1].append(None if atom.upper() == b"NIL" else atom)
            else:
                stack[-1].append(_ESCAPED.sub(rb"\1", quoted))
    if len(stack) > 1:
        raise Nonsense("a list without an end")
    return stack[0]


def _tokens(line: bytes) -> list[re.Match[bytes]]:
    found, at = [], 0
    while token := _TOKEN.match(line, at):
        found.append(token)
        at = token.end()
    if line[at:].strip():
        raise Nonsense("a string without an end")
    return found


def attributes(response: Sequence[Value]) -> dict[str, Value]:
    """Of `12 FETCH (UID 7 RFC822.SIZE 44)`, names upper case; what is no such response has none."""
    if len(response) != 3 or not isinstance(response[2], list):
        return {}
    pairs = zip(response[2][::2], response[2][1::2], strict=False)
    return {_text(name).upper(): value for name, value in pairs if isinstance(name, bytes)}


def number(value: Value) -> int | None:
    """A number as IMAP has them: 32 bits, or 63 for sizes."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) <= 19 else None


def quoted(text: str) -> bytes:
    """A string argument, UTF-8 where it must be. Raises `ValueError` for what no line can carry."""
    if any(character in text for character in "\r\n\0"):
        raise ValueError("line breaks can't be sent to an IMAP server")
    return b'"' + text.replace("\\", r"\\").replace('"', r"\"").encode() + b'"'


def folder(name: str) -> bytes:
    """A folder's name as an argument, in the modified UTF-7 of RFC 3501, section 5.1.3."""
    written, other = [], ""
    for character in f"{name}\0":
        if ord(character) in _PRINTABLE or character == "\0":
            if other:
                encoded = base64.b64encode(other.encode("utf-16-be", "surrogatepass")).rstrip(b"=")
                written.append(f"&{encoded.decode().replace('/', ',')}-")
                other = ""
            written.append("&-" if character == "&" else character)
        else:
            other += character
    return quoted("".join(written)[:-1])


def xoauth2(user: str, token: str) -> bytes:
    """The initial response for an access token. https://developers.google.com/workspace/gmail/imap/xoauth2-protocol"""
    return base64.b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())


def plain(user: str, password: str) -> bytes:
    """The initial response for a password. https://www.rfc-editor.org/rfc/rfc4616"""
    return base64.b64encode(f"\0{user}\0{password}".encode())


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")

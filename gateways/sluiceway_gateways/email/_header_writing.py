"""Header fields of a mail that we write: clean, encoded and folded, whatever text they are made of. Reads none.

Text here is strangers' text: names, subjects, file names. No line break of theirs survives, so that one field stays one
field. A field is made of words, and folded between them (RFC 5322, 2.2.3).
"""

from __future__ import annotations

import base64
import datetime
import email.utils
import re
from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import quote

import idna

from sluiceway import Rejected
from sluiceway_contracts import utc
from sluiceway_contracts.addresses import InvalidAddress, parse

LINE = 76
"""Where a field is folded; RFC 5322, 2.1.1 wants no more than 78."""
LONGEST_WORD = 900
"""A word can't be folded: with one that is longer the line would have more than RFC 5322's 998 octets."""
LONGEST_TEXT = 1000
"""Characters of a subject. Postfix drops what a field has beyond 102,400 octets, with all that follows."""
LONGEST_NAME = 200
MOST_REFERENCES_OCTETS = 3000
_ENCODED_BYTES = 45
"""Octets of text in one encoded word, which may have 75 characters: RFC 2047, section 2."""
_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_PLAIN = re.compile(r"[ -~]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_DOT_ATOM = re.compile(r"[^\s.\"\\]+(?:\.[^\s.\"\\]+)*")
_MESSAGE_ID = re.compile(rf"[!-;=?-~]{{1,{LONGEST_WORD}}}")
_URI = re.compile(rf"(?:https|mailto):[!#-+\--;=?-~]{{1,{LONGEST_WORD}}}")


class Mailbox(Protocol):
    """Somebody in a header: `local@domain`, and a name or none."""

    @property
    def address(self) -> str: ...

    @property
    def name(self) -> str | None: ...


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line: control characters and blanks become one blank, and what is too long ends in three dots."""
    line = _BLANKS.sub(" ", text).encode("utf-8", "replace").decode().strip()
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def field(name: str, words: Sequence[str]) -> str:
    """A whole field with its line break. Words hold no line breaks and are put together by blanks."""
    lines = [f"{name}: {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"


def text(value: str) -> list[str]:
    """The words of a subject: as it is where it is ASCII, else RFC 2047's. None where there is nothing to say."""
    line = clean(value)
    if not line:
        return []
    words = line.split(" ")
    return words if _is_plain(line) and max(map(len, words)) < LINE else encoded_words(line)


def encoded_words(line: str) -> list[str]:
    """A text as words that every mail program puts together again without blanks: RFC 2047, 6.2."""
    chunks = [bytearray()]
    for character in line:
        octets = character.encode()
        if len(chunks[-1]) + len(octets) > _ENCODED_BYTES:
            chunks.append(bytearray())
        chunks[-1] += octets
    return [f"=?utf-8?B?{base64.b64encode(chunk).decode()}?=" for chunk in chunks]


def mailboxes(people: Iterable[Mailbox]) -> list[str]:
    """The words of To and its like. Raises `Rejected` for what can't be an address, and where there is nobody."""
    words: list[str] = []
    for person in people:
        spec, name = address(person.address), clean(person.name or "", LONGEST_NAME)
        words += [*_phrase(name), f"<{spec}>,"] if name else [f"{spec},"]
    if not words:
        raise Rejected("a mail needs somebody to send it to")
    return [*words[:-1], words[-1].removesuffix(",")]


def address(value: str) -> str:
    """`local@domain` as RFC 5321 and 5322 write it, its domain in ASCII (IDNA 2008). Raises `Rejected`."""
    try:
        local, _, domain = parse(f"mailto:{value}").value.rpartition("@")
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except (InvalidAddress, idna.IDNAError) as error:
        raise Rejected("the address is none that mail could be sent to: write name@domain") from error
    if not local.isprintable():
        raise Rejected("the address has characters in it that nobody could see")
    return f"{local}@{ascii_domain}" if _DOT_ATOM.fullmatch(local) else f'"{local}"@{ascii_domain}'


def date(moment: datetime.datetime) -> str:
    """RFC 5322, 3.3, in UTC. Raises `ValueError` for a time without an offset."""
    return email.utils.format_datetime(utc(moment))


def message_id(id: str) -> str:
    """An id of our own, in its brackets. Raises `ValueError` for what is none."""
    if _MESSAGE_ID.fullmatch(id) is None or "@" not in id[1:-1]:
        raise ValueError("a Message-ID is printable ASCII with an @ in it, without < and >")
    return f"<{id}>"


def references(ids: Iterable[str]) -> list[str]:
    """The chain that a mail answers, oldest first, each id once and where it was last.

    Of a long chain the first and the last are kept, as RFC 5536 and 5537 (3.4.4) have it. What can't be written is left
    out: ids are strangers' text.
    """
    chain = [f"<{id}>" for id in reversed(dict.fromkeys(reversed([*ids]))) if _MESSAGE_ID.fullmatch(id)]
    left = MOST_REFERENCES_OCTETS - sum(len(id) + 1 for id in chain[:1])
    last: list[str] = []
    for id in reversed(chain[1:]):
        left -= len(id) + 1
        if left < 0:
            break
        last.append(id)
    return [*chain[:1], *reversed(last)]


def uris(values: Iterable[str]) -> list[str]:
    """The words of RFC 2369's fields. Raises `ValueError` for what is neither an https nor a mailto address."""
    words = [f"<{value}>," for value in values if _URI.fullmatch(value)]
    if not words or len(words) != len([*values]):
        raise ValueError("an address to unsubscribe at is https: or mailto:, in ASCII, without blanks and commas")
    return [*words[:-1], words[-1].removesuffix(",")]


def parameter(name: str, value: str) -> list[str]:
    """A parameter of a MIME field: quoted where it is plain, else in RFC 2231's pieces. Each word ends in its `;`."""
    if _is_plain(value) and len(value) <= LINE - 16 and not set('"\\%') & set(value):
        return [f'{name}="{value}";']
    pieces = [""]
    for character in value:
        octets = quote(character, safe="")
        if len(pieces[-1]) + len(octets) > LINE - 30:
            pieces.append("")
        pieces[-1] += octets
    pieces[0] = f"utf-8''{pieces[0]}"
    if len(pieces) == 1:
        return [f"{name}*={pieces[0]};"]
    return [f"{name}*{number}*={piece};" for number, piece in enumerate(pieces)]


def old_parameter(name: str, value: str) -> list[str]:
    """The same for programs older than RFC 2231, such as Outlook's before 2007: encoded words, which no RFC allows."""
    if _is_plain(value):
        return parameter(name, value)
    words = encoded_words(value)
    return [f'{name}="{words[0]}', *words[1:-1], f'{words[-1]}";'] if len(words) > 1 else [f'{name}="{words[0]}";']


def _is_plain(line: str) -> bool:
    """ASCII in which nobody could see an encoded word."""
    return _PLAIN.fullmatch(line) is not None and "=?" not in line


def _phrase(name: str) -> list[str]:
    if not _is_plain(name):
        return encoded_words(name)
    if _ATOMS.fullmatch(name):
        return name.split(" ")
    escaped = re.sub(r'(["\\])', r"\\\1", name)
    return [f'"{escaped}"']

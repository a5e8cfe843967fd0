"""What mail servers report of a mail's delivery: RFC 3464, and the prose of those that do not write it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ._headers import Headers, read_headers
from ._mail import Bounce

MAX_BOUNCES = 200
MAX_CHARS = 20_000
ACTIONS = {"failed", "delayed", "delivered", "relayed", "expanded"}
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_ADDRESS = re.compile(r"[^\s<>;,\"]{1,300}@[^\s<>;,\"]{1,255}")
_MESSAGE_ID = re.compile(r"^message-id:\s*<([^<>\s]{1,500})>", re.IGNORECASE | re.MULTILINE)
_FAILED = re.compile(r"^[ \t]*<?([^\s<>:]{1,300}@[^\s<>:]{1,255})>?:?[ \t]*$", re.MULTILINE)
_FINAL = re.compile(r"permanent (?:fatal )?error|could not be delivered|wasn't able to deliver|given up", re.IGNORECASE)
_COPY = re.compile(r"^-{2,} ?(?:this is a copy of|below this line is a copy of|original message)", re.I | re.M)
"""exim: https://github.com/Exim/exim/blob/master/src/src/deliver.c, qmail: http://cr.yp.to/proto/qsbmf.txt"""


def reported(status: bytes, message_id: str | None) -> Iterator[Bounce]:
    """One for each recipient of a message/delivery-status body. `message_id` is of the mail that came back with it."""
    blocks = list(_blocks(status))
    if not blocks:
        return
    about = blocks[0]
    message_id = _msg_id(about.first("x-original-message-id")) or message_id
    envelope_id = about.first("original-envelope-id")[:300] or None
    for block in blocks:
        if "final-recipient" in block or "original-recipient" in block:
            yield _bounce(block, message_id, envelope_id)


def _blocks(status: bytes) -> Iterator[Headers]:
    position, status = 0, status[: 1 << 20].lstrip()
    for _ in range(MAX_BOUNCES + 1):
        if position >= len(status):
            return
        headers, following, _defects = read_headers(status, position, len(status))
        if following == position:
            return
        position = following
        if headers.fields:
            yield headers


def _bounce(block: Headers, message_id: str | None, envelope_id: str | None) -> Bounce:
    code = _STATUS.search(block.first("status")) or _STATUS.search(block.first("diagnostic-code"))
    status = code[1] if code else None
    said = block.first("action").lower().split()[:1]
    action = said[0] if said and said[0] in ACTIONS else _action(status)
    diagnostic = " ".join(block.first("diagnostic-code").partition(";")[2].split())[:1000] or None
    return Bounce(
        action=action,
        recipient=_recipient(block.first("original-recipient")) or _recipient(block.first("final-recipient")),
        status=status,
        diagnostic=diagnostic,
        message_id=message_id,
        envelope_id=envelope_id,
    )


def _action(status: str | None) -> str:
    return {"2": "delivered", "4": "delayed"}.get((status or "5")[0], "failed")


def _recipient(value: str) -> str | None:
    """An address, from `rfc822; name@domain`; another address type is left as it is said."""
    found = _ADDRESS.search(value)
    return found[0] if found else value.partition(";")[2].strip()[:300] or None


def told(headers: Headers, text: str, message_id: str | None) -> Iterator[Bounce]:
    """What prose says: X-Failed-Recipients (Exim, Gmail), else the addresses on lines of their own (qmail)."""
    text = text[:MAX_CHARS]
    copy = _COPY.search(text)
    prose = text[: copy.start()] if copy else text
    named: list[str] = _ADDRESS.findall(headers.first("x-failed-recipients"))
    if not named and _FINAL.search(prose):
        named = _FAILED.findall(prose)
    about = _MESSAGE_ID.search(text, copy.start() if copy else 0)
    for recipient in list(dict.fromkeys(named))[:MAX_BOUNCES]:
        code = _STATUS.search(prose, max(prose.find(recipient), 0))
        status = code[1] if code else None
        yield Bounce(
            action=_action(status), recipient=recipient, status=status, message_id=about[1] if about else message_id
        )


def original_id(headers: Headers) -> str | None:
    """The Message-ID of a mail that came back, or of its header alone."""
    return _msg_id(headers.first("message-id"))


def _msg_id(value: str) -> str | None:
    return value.strip().strip("<>").strip()[:500] or None

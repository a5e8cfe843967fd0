"""A raw mail on its way in: read where it can do no harm, its files kept, told as facts. Speaks no protocol.

What can't be read is kept whole and parked; nothing is refused for what is in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sluiceway import Correspondent, Desk, Malformed, Receipt, Received, ReplyToken, Unreadable, signing
from sluiceway.errors import MediaError
from sluiceway.gateway import AnyFact
from sluiceway_contracts import EmailThread, Error, InvalidAddress, Media, StoredFile, Text, addresses
from sluiceway_contracts.parts import AnyPart

from ._mail import Attachment, Bounce, Mail, Mailbox

READ = "sluiceway_gateways.email._reading:read"
RAW = "message/rfc822"
HTML = "message.html"
# An event must fit into a message of NATS, 1 MiB by default: the raw mail has the rest
MAX_TEXT, MAX_QUOTED, MAX_NAMED, MAX_FILES = 200_000, 50_000, 50, 100
# RFC 3464, 2.3.3; what is delayed waits again, and a status never falls
STATUS = {"failed": "bounced", "delayed": "queued", "delivered": "delivered", "relayed": "sent", "expanded": "sent"}


class Arrived(Struct, frozen=True, kw_only=True):
    """A raw mail at `path`, and what its envelope says: who sent it, and by account those it is for.

    Where there is no envelope any more, `ours` are the accounts that it may be for: its header says which.
    """

    path: str
    recipients: Mapping[str, str] = {}
    sender: str = ""
    ours: tuple[str, ...] = ()


async def accept(desk: Desk, arrived: Arrived, authserv_id: str = "") -> None:
    """Return when it is stored for each of its accounts. Raises `Unavailable`."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-mail-") as folder:
        try:
            mail = msgspec.json.decode(await desk.isolated(READ, arrived.path, folder, authserv_id), type=Mail)
        except (Malformed, msgspec.MsgspecError) as error:
            for at in arrived.recipients or arrived.ours[:1]:
                raw = await desk.keep(at, arrived.path, RAW)
                await desk.accept(_unreadable(at, raw, str(error)))
            return
        for at, recipient in (arrived.recipients or named(mail, arrived.ours)).items():
            kept = await _kept(desk, at, arrived.path, Path(folder), mail)
            await desk.accept(*facts(mail, at, recipient, arrived.sender, kept))


def account(recipient: str, ours: Iterable[str]) -> str:
    """The address of ours that a recipient is, if any: what follows a plus is a token, or whatever people add."""
    local, at, domain = recipient.strip().lower().rpartition("@")
    whole = f"{local}{at}{domain}"
    return whole if whole in ours else f"{local.partition('+')[0]}{at}{domain}"


def named(mail: Mail, ours: tuple[str, ...]) -> Mapping[str, str]:
    """The accounts that a mail's header names, each as it does; the first of ours where it names none."""
    addressed = (*mail.delivered_to, *(one.address for one in (*mail.to, *mail.cc)))
    found = {at: one for one in reversed(addressed) if (at := account(one, ours)) in ours}
    return found or {at: at for at in ours[:1]}


class Kept(Struct, frozen=True):
    """What is stored of a mail: it itself, and by name its files; None for one that can't be kept."""

    raw: StoredFile
    html: StoredFile | None
    files: Mapping[str, StoredFile | None]


async def _kept(desk: Desk, at: str, path: str, folder: Path, mail: Mail) -> Kept:
    raw, html = await desk.keep(at, path, RAW), None
    if mail.html:
        (folder / HTML).write_text(mail.html, encoding="utf-8", errors="replace")
        html = await desk.keep(at, str(folder / HTML), "text/html")
    files: dict[str, StoredFile | None] = {}
    for attachment in mail.attachments[:MAX_FILES]:
        try:
            files[attachment.file] = await desk.keep(at, str(folder / attachment.file), attachment.mime)
        except MediaError:
            files[attachment.file] = None
    return Kept(raw, html, files)


def facts(mail: Mail, at: str, recipient: str, envelope_sender: str, kept: Kept) -> Iterator[AnyFact]:
    """What a mail says: what became of ours, else a customer's letter."""
    receipts = tuple(_receipts(mail, at))
    if receipts:
        yield from receipts
        return
    try:
        sender = _mailto(mail.author) if mail.author is not None else addresses.mailto(envelope_sender)
    except InvalidAddress:
        yield _unreadable(at, kept.raw, "it has no usable sender")
        return
    proven = mail.authentication.dmarc == "pass"
    yield Received(
        at=at,
        key=_key(mail, kept),
        occurred_at=mail.date,
        sender=sender,
        name=mail.author.name if mail.author is not None else None,
        assurance="channel" if proven else "asserted",
        asserted=tuple(address for address in _addresses(mail.reply_to) if address != sender),
        reply_tokens=tuple(ReplyToken("address", text) for text in _token_texts(mail, recipient)),
        parts=tuple(_parts(mail, kept)),
        subject=mail.subject or None,
        to=_correspondents(mail.to),
        cc=_correspondents(mail.cc),
        thread=EmailThread(
            message_id=mail.message_id,
            in_reply_to=mail.in_reply_to[:MAX_NAMED],
            references=mail.references[-MAX_NAMED:],
        ),
        answers=(*mail.in_reply_to, *reversed(mail.references)),
        external_ids=(mail.message_id,) if mail.message_id else (),
        lang=mail.lang,
        ext=dict(_ext(mail, envelope_sender, kept)),
    )


def _receipts(mail: Mail, at: str) -> Iterator[Receipt]:
    """What a report says of letters of ours (RFC 3464, 5965)."""
    for bounce in mail.bounces:
        status = "complained" if mail.automatic == "complaint" else STATUS.get(bounce.action)
        if bounce.message_id is None or status is None:
            continue
        yield Receipt(
            at=at,
            key=f"{bounce.message_id}:{bounce.recipient}:{status}",
            occurred_at=mail.date,
            external_id=bounce.message_id,
            status=status,
            error=_error(bounce) if status == "bounced" else None,
        )


def _error(bounce: Bounce) -> Error:
    """A mail system's word: RFC 3463's status is the code, as text."""
    return Error(
        code="bounced",
        message=(bounce.diagnostic or "the mail system gave no reason")[:300],
        provider_code=bounce.status,
    )


def _parts(mail: Mail, kept: Kept) -> Iterator[AnyPart]:
    if mail.text or not mail.attachments:
        yield Text(id="1", text=mail.text[:MAX_TEXT], lang=mail.lang)
    for number, attachment in enumerate(mail.attachments[:MAX_FILES], 2):
        yield _media(str(number), attachment, kept.files.get(attachment.file))


def _media(id: str, attachment: Attachment, file: StoredFile | None) -> Media:
    family = file.mime.partition("/")[0] if file is not None else attachment.kind
    return Media(
        id=id,
        kind=family if family in ("image", "video", "audio") else "file",
        mime=file.mime if file is not None else attachment.mime,
        ref=file.ref if file is not None else None,
        state="stored" if file is not None else "failed",
        name=attachment.name,
        size=file.size if file is not None else attachment.size,
        alt=attachment.description,
        content_id=attachment.content_id,
        inline=attachment.inline,
    )


def _ext(mail: Mail, envelope_sender: str, kept: Kept) -> Iterator[tuple[str, Any]]:
    """What only mail knows; the raw mail has all of it."""
    proof = mail.authentication
    known: dict[str, Any] = {
        "automatic": mail.automatic,
        "list_id": mail.list_id,
        "sender": mail.sender.address if mail.sender is not None else None,
        "reply_to": [one.address for one in mail.reply_to][:MAX_NAMED],
        "envelope_sender": envelope_sender,
        "spf": proof.spf,
        "dkim": proof.dkim,
        "dmarc": proof.dmarc,
        "quoted": mail.quoted[:MAX_QUOTED] if mail.quoted else None,
        "signature": mail.signature[:MAX_QUOTED] if mail.signature else None,
        "cut": len(mail.text) > MAX_TEXT or len(mail.attachments) > MAX_FILES,
        "flags": list(mail.flags),
        "defects": list(mail.defects)[:MAX_NAMED],
        "html": kept.html.ref if kept.html is not None else None,
        "raw": kept.raw.ref,
    }
    return ((name, value) for name, value in known.items() if value)


def _key(mail: Mail, kept: Kept) -> str:
    """The same mail by another way has another top, and all else alike; another mail may borrow a msg-id."""
    author = mail.author.address if mail.author is not None else ""
    files = (file.ref if file is not None else "" for file in kept.files.values())
    said = "\0".join((author, mail.subject or "", str(mail.date), mail.text, mail.quoted or "", *files))
    return f"{mail.message_id or ''}:{signing.sha256_hex(said.encode('utf-8', 'replace'))}"


def _token_texts(mail: Mail, recipient: str) -> Iterator[str]:
    """Addresses of ours in which a reply token may be."""
    ours = recipient.rpartition("@")[2].lower()
    named = (recipient, *mail.delivered_to, *(one.address for one in (*mail.to, *mail.cc)))
    yield from dict.fromkeys(text for text in named if text.rpartition("@")[2].lower() == ours)


def _correspondents(mailboxes: tuple[Mailbox, ...]) -> tuple[Correspondent, ...]:
    found = ((address, box.name) for box in mailboxes[:MAX_NAMED] for address in _addresses((box,)))
    return tuple(Correspondent(address, name) for address, name in found)


def _addresses(mailboxes: tuple[Mailbox, ...]) -> Iterator[str]:
    for box in mailboxes:
        try:
            yield _mailto(box)
        except InvalidAddress:
            continue


def _mailto(box: Mailbox) -> str:
    return addresses.mailto(box.address)


def _unreadable(at: str, raw: StoredFile, why: str) -> Unreadable:
    """Where the mail is, for whoever looks at it: a dead letter has no room for it."""
    return Unreadable(at=at, key=raw.ref, raw=msgspec.json.encode({"raw": raw.ref}), why=why)

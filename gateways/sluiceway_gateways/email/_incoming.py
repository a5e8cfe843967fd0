"""A raw mail on its way in: read where it can do no harm, its files kept, told as facts. Speaks no protocol.

What can't be read is kept whole and parked; nothing is refused for what is in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import idna
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
# An event must fit into a message of NATS, 1 MiB by default, and has the text twice: the raw mail has the rest.
# So many bytes in JSON, and so many of each list.
MAX_TEXT, MAX_QUOTED, MAX_SIGNATURE, MAX_SUBJECT, MAX_NAME = 200_000, 50_000, 20_000, 8_000, 400
MAX_ID, MAX_NAMED, MAX_FILES = 1000, 50, 100
# RFC 3464, 2.3.3; what is delayed waits again, and a status never falls
STATUS = {"failed": "bounced", "delayed": "queued", "delivered": "delivered", "relayed": "sent", "expanded": "sent"}


class Arrived(Struct, frozen=True, kw_only=True):
    """A raw mail at `path`, and what its envelope says: who sent it, and by account those it is for.

    `sender` is empty for the null one. Where there is no envelope any more, it is None, and `ours` are the accounts
    that the mail may be for: its header says which.
    """

    path: str
    recipients: Mapping[str, str] = {}
    sender: str | None = None
    ours: tuple[str, ...] = ()


async def accept(desk: Desk, arrived: Arrived, authserv_id: str = "") -> None:
    """Return when it is stored for each of its accounts. Raises `Unavailable`."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-mail-") as folder:
        envelope = () if arrived.sender is None else (arrived.sender,)
        try:
            read = await desk.isolated(READ, arrived.path, folder, authserv_id, *envelope)
            mail = msgspec.json.decode(read, type=Mail)
        except (Malformed, msgspec.MsgspecError) as error:
            for at in arrived.recipients or arrived.ours[:1]:
                raw = await _keep(desk, at, Path(arrived.path), RAW)
                await desk.accept(_unreadable(at, raw, await _digest(arrived.path), str(error)))
            return
        digest = await _digest(arrived.path)
        for at, recipient in (arrived.recipients or named(mail, arrived.ours)).items():
            kept = await _kept(desk, at, arrived.path, Path(folder), mail)
            await desk.accept(
                *facts(mail, at, recipient, arrived.sender or "", msgspec.structs.replace(kept, digest=digest))
            )


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
    """What is stored of a mail: it itself, its HTML and by name its files; None for what can't be kept.

    `digest` is the mail's SHA-256 in hexadecimal.
    """

    raw: StoredFile | None
    html: StoredFile | None
    files: Mapping[str, StoredFile | None]
    digest: str = ""


async def _kept(desk: Desk, at: str, path: str, folder: Path, mail: Mail) -> Kept:
    raw, html = await _keep(desk, at, Path(path), RAW), None
    if mail.html:
        (folder / HTML).write_text(mail.html, encoding="utf-8", errors="replace")
        html = await _keep(desk, at, folder / HTML, "text/html")
    files = {one.file: await _keep(desk, at, folder / one.file, one.mime) for one in mail.attachments[:MAX_FILES]}
    return Kept(raw, html, files)


async def _keep(desk: Desk, at: str, path: Path, mime: str) -> StoredFile | None:
    """None for a file that will never be kept, as one that is larger than files may be: no mail is held up by it."""
    try:
        return await desk.keep(at, str(path), mime)
    except MediaError:
        return None


async def _digest(path: str) -> str:
    def digest() -> str:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    return await asyncio.to_thread(digest)


def facts(mail: Mail, at: str, recipient: str, envelope_sender: str, kept: Kept) -> Iterator[AnyFact]:
    """What a mail says: what became of ours, else a customer's letter."""
    receipts = tuple(_receipts(mail, at))
    if receipts:
        yield from receipts
        return
    try:
        sender = _mailto(mail.author) if mail.author is not None else addresses.mailto(envelope_sender)
    except InvalidAddress:
        yield _unreadable(at, kept.raw, kept.digest, "it has no usable sender")
        return
    proven = is_proven(mail)
    yield Received(
        at=at,
        key=_key(mail, kept),
        occurred_at=mail.date,
        sender=sender,
        name=_cut(mail.author.name, MAX_NAME) if mail.author is not None and mail.author.name else None,
        assurance="channel" if proven else "asserted",
        asserted=tuple(address for address in _addresses(mail.reply_to) if address != sender) if proven else (),
        reply_tokens=tuple(ReplyToken("address", text) for text in _token_texts(mail, recipient)),
        parts=tuple(_parts(mail, kept)),
        subject=_cut(mail.subject, MAX_SUBJECT) or None,
        to=_correspondents(mail.to),
        cc=_correspondents(mail.cc),
        thread=EmailThread(
            message_id=next(_ids((mail.message_id or "",)), None),
            in_reply_to=tuple(_ids(mail.in_reply_to[:MAX_NAMED])),
            references=tuple(_ids(mail.references[-MAX_NAMED:])),
        ),
        answers=tuple(_ids((*mail.in_reply_to, *reversed(mail.references))))[:MAX_NAMED],
        external_ids=tuple(_ids((mail.message_id or "",))),
        automatic=mail.automatic is not None,
        lang=mail.lang,
        ext=dict(_ext(mail, envelope_sender, kept)),
    )


def is_proven(mail: Mail) -> bool:
    """Whether what passed DMARC is the one author that people see."""
    author, verdict = mail.author, mail.authentication
    if author is None or verdict.dmarc != "pass" or "from_ambiguous" in mail.defects:
        return False
    return verdict.header_from is None or _ascii(verdict.header_from) == _ascii(author.address.rpartition("@")[2])


def _ascii(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode().lower()
    except idna.IDNAError:
        return domain.lower()


def _receipts(mail: Mail, at: str) -> Iterator[Receipt]:
    """What a mail system's report says of letters of ours (RFC 3464, 5965). People may attach one to a mail."""
    for bounce in mail.bounces if mail.automatic in ("bounce", "complaint") else ():
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
        yield Text(id="1", text=_cut(mail.text, MAX_TEXT), lang=mail.lang)
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
        name=_cut(attachment.name, MAX_NAME) if attachment.name else None,
        size=file.size if file is not None else attachment.size,
        alt=_cut(attachment.description, MAX_NAME) if attachment.description else None,
        content_id=_cut(attachment.content_id, MAX_NAME) if attachment.content_id else None,
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
        "resent_from": [one.address for one in mail.resent_from][:MAX_NAMED],
        "forwarded_from": _named(mail.forwarded) if mail.forwarded is not None else None,
        "envelope_sender": envelope_sender,
        "spf": proof.spf,
        "dkim": proof.dkim,
        "dmarc": proof.dmarc,
        "quoted": _cut(mail.quoted or "", MAX_QUOTED),
        "signature": _cut(mail.signature or "", MAX_SIGNATURE),
        "cut": _cut(mail.text, MAX_TEXT) != mail.text or len(mail.attachments) > MAX_FILES,
        "flags": list(mail.flags),
        "defects": list(mail.defects)[:MAX_NAMED],
        "html": kept.html.ref if kept.html is not None else None,
        "raw": kept.raw.ref if kept.raw is not None else None,
    }
    return ((name, value) for name, value in known.items() if value)


def _named(box: Mailbox) -> dict[str, str]:
    return {"address": box.address, **({"name": _cut(box.name, MAX_NAME)} if box.name else {})}


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


def _cut(text: str, most: int) -> str:
    """As much of a text as has no more than so many bytes in JSON, in which a character may have six."""
    text = text[:most]
    while len(text) * 6 > most and (size := len(msgspec.json.encode(text))) > most:
        text = text[: len(text) * most // size]
    return text


def _ids(message_ids: Iterable[str]) -> Iterator[str]:
    """Those that are no longer than any that a mail program makes."""
    return (one for one in message_ids if 0 < len(one) <= MAX_ID)


def _correspondents(mailboxes: tuple[Mailbox, ...]) -> tuple[Correspondent, ...]:
    found = ((address, box.name) for box in mailboxes[:MAX_NAMED] for address in _addresses((box,)))
    return tuple(Correspondent(address, _cut(name, MAX_NAME) if name else None) for address, name in found)


def _addresses(mailboxes: tuple[Mailbox, ...]) -> Iterator[str]:
    for box in mailboxes:
        try:
            yield _mailto(box)
        except InvalidAddress:
            continue


def _mailto(box: Mailbox) -> str:
    return addresses.mailto(box.address)


def _unreadable(at: str, raw: StoredFile | None, digest: str, why: str) -> Unreadable:
    """Where the mail is, for whoever looks at it: a dead letter has no room for it."""
    where = {"raw": raw.ref} if raw is not None else {"sha256": digest}
    return Unreadable(at=at, key=digest, raw=msgspec.json.encode(where), why=why)

"""Reads a raw mail, whatever its shape: every file becomes a `Mail`, and its attachments become files in a folder.

It does no other I/O, loads nothing from anywhere, and raises for nothing that a mail can say. It is to run in a process
that can be ended: what it takes is bounded, but not small.
"""

from __future__ import annotations

import html
import mmap
import os
import re
from collections.abc import Sequence
from itertools import islice

import msgspec

from . import _html
from ._addresses import MAX_MAILBOXES, mailboxes
from ._authentication import authentication
from ._automatic import automatic, is_daemon
from ._bodies import Bodies, Segment, joined_html
from ._bounces import MAX_BOUNCES, original_id, reported, told
from ._charsets import decode
from ._dates import date
from ._files import Files
from ._headers import Headers, Raw, read_headers
from ._mail import Attachment, Bounce, Mail, Mailbox
from ._quotes import Split, split
from ._structure import Part, structure
from ._transfer import decoded

MAX_IDS = 200
MAX_SUBJECT = 1000
MAX_INSTEAD = 2000
KEPT_HEADERS = (
    *("x-mailer", "user-agent", "importance", "x-priority", "organization", "return-path", "x-original-to"),
    *("thread-topic", "thread-index", "content-language", "precedence", "auto-submitted", "list-unsubscribe"),
    *("x-auto-response-suppress", "disposition-notification-to", "feedback-id", "comments", "keywords"),
)
"""What a helpdesk may want besides: no Received, no signatures, nothing of Bcc."""
_CID = re.compile(r"cid:([^\"'>\s]{1,300})", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]{0,200}\)")
_ID = re.compile(r"<\s*([^<>]{1,600}?)\s*>")
_SPACE = re.compile(r"\s+")
_LANG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ZERO_WIDTH = re.compile("[\u00ad\u034f\u115f\u1160\u180e\u200b-\u200d\u2060-\u2064\ufeff]")
_SUMMARY = re.compile(rb"^SUMMARY[^:\r\n]{0,200}:([^\r\n]{1,500})", re.IGNORECASE | re.MULTILINE)


def read(path: str, folder: str, authserv_id: str = "", return_path: str | None = None) -> Mail:
    """The mail in the file at `path`; its attachments are written into `folder`, named 1, 2 ….

    Results of `authserv_id` alone are trusted. `return_path` is the envelope's sender, empty for the null one; where it
    is not given, the Return-Path field counts. Raises `OSError` where a file can't be read or written.
    """
    with open(path, "rb") as source:
        if not os.fstat(source.fileno()).st_size:
            return _read(b"", folder, authserv_id, return_path)
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(b"\n") < 0 <= data.find(b"\r"):
                return _read(data[:].replace(b"\r", b"\n"), folder, authserv_id, return_path)
            return _read(data, folder, authserv_id, return_path)


def _read(data: Raw, folder: str, authserv_id: str, return_path: str | None) -> Mail:
    form = structure(data)
    headers = form.root.headers
    files = Files(data, folder)
    bodies = Bodies(data, files, form.defects)
    segments = bodies.read(form.root)
    subject = headers.text("subject")
    if len(subject) > MAX_SUBJECT:
        form.defects.append("subject_cut")
        subject = subject[:MAX_SUBJECT]
    words = _words(segments, subject, form.root)
    parts = _leaves(form.root)
    page = joined_html(segments)
    authors = _mailboxes(headers, "from")
    author = next(iter(authors), None)
    if len(authors) > 1 or len(list(headers.raw("from"))) > 1:
        form.defects.append("from_ambiguous")
    bounces = _bounces(data, parts, headers, words.text)
    mail = Mail(
        message_id=next(iter(_ids(headers, "message-id")), None),
        in_reply_to=_ids(headers, "in-reply-to"),
        references=_ids(headers, "references"),
        date=date(headers.first("date")),
        subject=subject,
        author=author,
        sender=next(iter(_mailboxes(headers, "sender")), None),
        reply_to=_mailboxes(headers, "reply-to"),
        to=_mailboxes(headers, "to"),
        cc=_mailboxes(headers, "cc"),
        resent_from=_mailboxes(headers, "resent-from"),
        forwarded=_forwarded(data, words, () if bounces or form.root.mime == "multipart/report" else parts),
        text=words.text or _instead(data, parts),
        quoted=words.quoted,
        signature=words.signature,
        html=page,
        lang=_lang(headers),
        attachments=_shown(files.written, page or ""),
        automatic=automatic(
            headers,
            subject=subject,
            author=author.address if author else "",
            return_path=_return_path(headers) if return_path is None else return_path,
            report=_report_type(form.root),
            bounced=bool(bounces),
        ),
        bounces=bounces,
        list_id=_list_id(headers),
        delivered_to=tuple(dict.fromkeys(value[:400] for value in headers.raw("delivered-to"))),
        authentication=authentication(headers, authserv_id),
        defects=tuple(dict.fromkeys(form.defects)),
        headers={name: value for name in KEPT_HEADERS if (value := headers.text(name)[:1000])},
    )
    cut = ("addresses_cut",) if MAX_MAILBOXES in map(len, (mail.reply_to, mail.to, mail.cc)) else ()
    return msgspec.structs.replace(mail, flags=_flags(mail), defects=(*mail.defects, *cut))


def _words(segments: list[Segment], subject: str, root: Part) -> Split:
    """What is new, quoted and signed in all segments, each told apart by itself; a report quotes what it is about."""
    texts = [segment.plain if segment.plain is not None else _html.to_text(segment.html or "") for segment in segments]
    splits, forwarded = list[Split](), None
    for text in texts:
        history = root.mime != "multipart/report" and forwarded is None
        splits.append(split(text, subject, history=history))
        forwarded = forwarded or splits[-1].forwarded
    return Split(
        "\n\n".join(part.text for part in splits if part.text),
        "\n\n".join(part.quoted for part in splits if part.quoted) or None,
        "\n\n".join(part.signature for part in splits if part.signature) or None,
        forwarded,
    )


def _leaves(root: Part) -> list[Part]:
    """The parts that are no multipart, in order."""
    found, stack = list[Part](), [root]
    while stack:
        part = stack.pop()
        stack += reversed(part.children or [])
        if not part.is_multipart:
            found.append(part)
    return found


def _head(data: Raw, part: Part) -> bytes:
    """The first bytes of a part, decoded: as many as one piece has."""
    return next(decoded(data, part.start, part.end, part.headers.first("content-transfer-encoding")), b"")


def _bounces(data: Raw, parts: list[Part], headers: Headers, text: str) -> tuple[Bounce, ...]:
    """What a report says, else what the words say if a mail server wrote them."""
    returned = next((part for part in parts if part.mime in {"message/rfc822", "text/rfc822-headers"}), None)
    message_id = None
    if returned is not None:
        head = _head(data, returned)
        message_id = original_id(read_headers(head, 0, len(head))[0])
    message_id = message_id or next(iter([*_ids(headers, "in-reply-to"), *_ids(headers, "references")[-1:]]), None)
    found = [
        bounce
        for part in parts
        if part.mime in {"message/delivery-status", "message/global-delivery-status"}
        for bounce in reported(_head(data, part), message_id)
    ]
    if not found and is_daemon(next((m.address for m in _mailboxes(headers, "from")), "")):
        found = list(told(headers, text, message_id))
    return tuple(found[:MAX_BOUNCES])


def _forwarded(data: Raw, words: Split, parts: Sequence[Part]) -> Mailbox | None:
    """Who wrote what is passed on in the words, else as the first mail in the mail; only who has an address."""
    inline = (words.forwarded,) if words.forwarded is not None else ()
    heads = (_head(data, part) for part in parts if part.mime in {"message/rfc822", "message/global"})
    attached = (box for head in islice(heads, 1) for box in _mailboxes(read_headers(head, 0, len(head))[0], "from"))
    return next((box for box in (*inline, *attached) if box.address), None)


def _instead(data: Raw, parts: list[Part]) -> str:
    """A line for a mail that has no words: what a report says, or what an invitation is about."""
    for part in parts:
        if part.mime == "message/delivery-status":
            return decode(_head(data, part)[:MAX_INSTEAD])[0].replace("\r", "").strip()
        if part.mime == "text/calendar" and (found := _SUMMARY.search(_head(data, part))):
            return decode(found[1], "utf-8")[0].strip()
    return ""


def _report_type(root: Part) -> str:
    if root.mime != "multipart/report":
        return ""
    return root.parameters.get("report-type", "").lower() or next(
        (
            part.mime.removeprefix("message/")
            for part in root.children or []
            if part.mime in {"message/delivery-status", "message/feedback-report"}
        ),
        "",
    )


def _mailboxes(headers: Headers, name: str) -> tuple[Mailbox, ...]:
    """Those of all fields of this name; some servers write several."""
    boxes = (found for value in islice(headers.raw(name), 20) for found in mailboxes(value))
    return tuple(islice(boxes, MAX_MAILBOXES))


def _ids(headers: Headers, name: str) -> tuple[str, ...]:
    """Message-IDs without angle brackets; one that stands bare is taken as it is."""
    found = list[str]()
    for value in islice(headers.raw(name), 20):
        matches = islice(_ID.finditer(value), MAX_IDS)
        ids = [_SPACE.sub("", _COMMENT.sub("", match[1])) for match in matches]
        bare = value.split()[:1] if not ids and "<" not in value else []
        found += ids or [bare_id[:600] for bare_id in bare]
    return tuple(dict.fromkeys(one for one in found if one))


def _return_path(headers: Headers) -> str | None:
    value = next(headers.raw("return-path"), None)
    return None if value is None else value.strip().strip("<>").strip()


def _list_id(headers: Headers) -> str | None:
    """What RFC 2919 identifies a list by: between the brackets, else all."""
    value = headers.text("list-id")
    found = _ID.search(value)
    return (found[1] if found else value)[:300] or None


def _lang(headers: Headers) -> str | None:
    found = _LANG.match(headers.first("content-language").strip())
    return found[0] if found else None


def _shown(files: list[Attachment], page: str) -> tuple[Attachment, ...]:
    """The files, those marked that the HTML shows."""
    shown = set(_CID.findall(html.unescape(page)))
    return tuple(
        msgspec.structs.replace(file, inline=True) if file.content_id and file.content_id in shown else file
        for file in files
    )


def _flags(mail: Mail) -> tuple[str, ...]:
    texts = [mail.text, mail.subject, mail.quoted or "", mail.signature or ""]
    texts += [box.name or "" for box in (mail.author, mail.sender, mail.forwarded, *mail.reply_to) if box is not None]
    texts += [file.name or "" for file in mail.attachments]
    found = {"bidi": _BIDI, "zero_width": _ZERO_WIDTH}
    return tuple(flag for flag, pattern in found.items() if any(map(pattern.search, texts)))

"""What a mail says, as the structures that its reading gives; nothing here parses or does I/O."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import msgspec


class Mailbox(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mail address (RFC 5322, 3.4), its domain in lower case; `address` is empty where there is a name alone."""

    address: str
    name: str | None = None


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a mail. `file` is its name in the folder that the reader wrote to, `size` is in bytes.

    `mime` is what the sender declared, `kind` is image, video, audio or file. `inline` says that the HTML shows it by
    its `content_id`.
    """

    file: str
    name: str | None = None
    mime: str = "application/octet-stream"
    size: int = 0
    kind: str = "file"
    content_id: str | None = None
    inline: bool = False
    description: str | None = None


class Bounce(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a mail for one recipient (RFC 3464).

    `action` is failed, delayed, delivered, relayed or expanded, `status` a code of RFC 3463; `message_id` is of the
    mail that it is about, `envelope_id` the ENVID that it was sent with.
    """

    action: str
    recipient: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    message_id: str | None = None
    envelope_id: str | None = None


class Authentication(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the trusted server `by` found (RFC 8601): results as pass, fail, none …; None where it says nothing.

    `dkim_domains` are those whose signature passed, `header_from` is the domain that DMARC was about.
    """

    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    by: str | None = None
    dkim_domains: tuple[str, ...] = ()
    header_from: str | None = None


class Mail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mail as a person reads it.

    `message_id`, `in_reply_to` and `references` are without angle brackets, `date` is in UTC. `text` is what is new in
    it, `quoted` and `signature` are what was split off. `html` is sanitised and whole: history and signature are in it.
    `forwarded` wrote what the mail passes on, says who passes it on; the first of several.
    `automatic` is bounce, complaint, out_of_office, auto_replied, auto_generated or list. `flags` are bidi and
    zero_width: characters that can make a text look like another. `defects` say what was wrong: header_malformed,
    header_unseparated, from_ambiguous, boundary_wrong, charset_wrong, charset_unknown; or left to the raw mail, for
    there was too much of it: header_cut, subject_cut, addresses_cut, text_cut, html_cut, nested_too_deep,
    too_many_parts.
    """

    message_id: str | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    date: datetime.datetime | None = None
    subject: str = ""
    author: Mailbox | None = None
    sender: Mailbox | None = None
    reply_to: tuple[Mailbox, ...] = ()
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    resent_from: tuple[Mailbox, ...] = ()
    forwarded: Mailbox | None = None
    text: str = ""
    quoted: str | None = None
    signature: str | None = None
    html: str | None = None
    lang: str | None = None
    attachments: tuple[Attachment, ...] = ()
    automatic: str | None = None
    bounces: tuple[Bounce, ...] = ()
    list_id: str | None = None
    delivered_to: tuple[str, ...] = ()
    authentication: Authentication = Authentication()
    flags: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}

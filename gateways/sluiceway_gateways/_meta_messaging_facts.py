"""What Messenger and Instagram deliver, as facts: each credited to its own account. One bad event spoils itself.

What another app has in hand (`standby`), comments and feeds (`changes`) and matters of set-up are left out.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from msgspec import Raw, Struct

from sluiceway import Deleted, Edited, Malformed, Reaction, Receipt, Received, Seen, Unreadable
from sluiceway.gateway import AnyFact
from sluiceway.wire import read_json
from sluiceway_contracts import AnyPart, InvalidAddress, MessageRef, Notice, Text, addresses

from . import _meta
from . import _meta_messaging_content as content
from ._meta_messaging_payload import (
    Delivered,
    Edit,
    Feeling,
    Happening,
    Incoming,
    RawHappening,
    Read,
    Source,
    Tap,
)

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events/message-reactions
EMOJI = {"smile": "😆", "angry": "😠", "sad": "😢", "wow": "😮", "love": "❤️", "like": "👍", "dislike": "👎"}
# https://developers.facebook.com/docs/messenger-platform/policy/policy-overview
WINDOW, HUMAN_WINDOW = datetime.timedelta(hours=24), datetime.timedelta(days=7)


class Reader(Struct, frozen=True):
    """What must be known to read a connection's deliveries.

    `object` is what they are about, `scheme` that of the addresses, `app_id` our app's; `nobody` takes what belongs to
    no one. In the pages or accounts `patient` people answer, who have longer. Files are to be fetched where
    `store_media` says so.
    """

    object: str
    scheme: str
    app_id: str
    nobody: str
    patient: frozenset[str]
    store_media: bool

    def facts(self, body: bytes) -> Iterator[AnyFact]:
        """Everything that a delivery says, in its order. Raises `Malformed`."""
        for entry in _meta.entries(body, self.object, self.nobody):
            if isinstance(entry, Unreadable):
                yield entry
                continue
            for raw in entry.messaging:
                yield from self._tried(entry.id, raw)

    def _tried(self, at: str, raw: Raw) -> Iterator[AnyFact]:
        data = bytes(raw)
        try:
            yield from tuple(self._facts(at, data))
        except (Malformed, InvalidAddress) as error:
            yield _meta.unreadable(raw, str(error) if isinstance(error, Malformed) else "it has no usable sender", at)

    def _facts(self, at: str, raw: bytes) -> Iterator[AnyFact]:
        told = read_json(raw, Happening)
        match told:
            case Happening(message=Incoming() as message):
                yield from self._message(_Event(self, at, told), message, raw)
            case Happening(message_edit=Edit() as edit):
                yield _Event(self, at, told).edited(edit)
            case Happening(postback=Tap() as tap):
                yield _Event(self, at, told).tapped(tap)
            case Happening(referral=Source() as source):
                yield _Event(self, at, told).arrived(source)
            case Happening(reaction=Feeling() as feeling):
                yield _Event(self, at, told).reaction(feeling)
            case Happening(read=Read() as read):
                yield from _Event(self, at, told).seen(read)
            case Happening(delivery=Delivered() as delivered):
                yield from _receipts(at, told, delivered)

    def _message(self, event: _Event, message: Incoming, raw: bytes) -> Iterator[AnyFact]:
        if not message.mid:
            raise Malformed("the message has no mid")
        if event.alone:
            return
        if message.is_deleted:
            yield event.deleted(message)
        elif not (event.echo and str(message.app_id) == self.app_id):
            as_it_came = read_json(raw, RawHappening).message.attachments if message.attachments else ()
            yield event.received(message, content.reading(message, as_it_came, store_media=self.store_media))


class _Event:
    """One thing between a page or account and a customer; with `echo` it was one of us who did it.

    An account that writes to itself is `alone`: that is a test, and nobody's message.
    """

    def __init__(self, reader: Reader, at: str, told: Happening) -> None:
        sender = told.sender.id if told.sender else ""
        recipient = told.recipient.id if told.recipient else ""
        self.echo = sender == at or (told.message is not None and told.message.is_echo)
        self._time = moment(told.timestamp)
        self._stamp = told.timestamp
        self._customer = recipient if self.echo else sender
        self.alone = self._customer == at
        self._window = HUMAN_WINDOW if at in reader.patient else WINDOW
        self._common: dict[str, Any] = {
            "at": at,
            "occurred_at": self._time,
            "sender": addresses.build(reader.scheme, at, self._customer),
        }

    def received(self, message: Incoming, reading: content.Reading) -> AnyFact:
        answered = message.reply_to
        told = {"app_id": str(message.app_id)} if self.echo and message.app_id else {}
        return self._said(
            message.mid,
            reading.parts,
            media=reading.media,
            external_ids=(message.mid,),
            reply_to=MessageRef(external_id=answered.mid) if answered and answered.mid else None,
            referral=content.referral(message.referral) or content.story(message),
            echo=self.echo,
            ext=told,
        )

    def tapped(self, tap: Tap) -> AnyFact:
        """Instagram, and newer versions of Messenger, tell the mid of what the customer thereby said."""
        return self._said(
            tap.mid or self._key("postback", tap.payload or tap.title or ""),
            content.tapped(tap),
            external_ids=(tap.mid,) if tap.mid else (),
            referral=content.referral(tap.referral),
        )

    def arrived(self, source: Source) -> AnyFact:
        """The customer came by a link or an advertisement, into a conversation that was there, and has said nothing."""
        came = content.numbered([Notice(code="referral", text="The customer opened the conversation anew")])
        key = self._key("referral", source.ref or "")
        return Received(key=key, parts=came, referral=content.referral(source), **self._common)

    def edited(self, edit: Edit) -> AnyFact:
        said = content.numbered([Text(text=edit.text)])
        key = f"{edit.mid}:edit:{edit.num_edit}"
        return Edited(key=key, target=edit.mid, parts=said, echo=self.echo, **self._common)

    def deleted(self, message: Incoming) -> AnyFact:
        return Deleted(key=f"{message.mid}:deleted", target=message.mid, echo=self.echo, **self._common)

    def reaction(self, feeling: Feeling) -> AnyFact:
        added = feeling.action == "react"
        emoji = feeling.emoji or EMOJI.get(feeling.reaction or "")
        if feeling.action not in ("react", "unreact") or (added and not emoji):
            raise Malformed(f"the reaction {feeling.action[:40]} {(feeling.reaction or '')[:40]} is not known")
        return Reaction(
            key=self._key(f"{feeling.mid}:{feeling.action}", emoji or ""),
            target=feeling.mid,
            emoji=emoji if added else None,
            action="added" if added else "removed",
            echo=self.echo,
            **self._common,
        )

    def seen(self, read: Read) -> Iterator[AnyFact]:
        """What the customer saw; what one of us saw is nobody's business."""
        if not self.echo:
            common = self._common | {"occurred_at": moment(read.watermark) or self._time}
            yield Seen(key=self._key("read", read.mid or str(read.watermark)), target=read.mid or "", **common)

    def _said(self, key: str, parts: tuple[AnyPart, ...], echo: bool = False, **fields: Any) -> AnyFact:
        ends = self._time + self._window if self._time and not echo else None
        return Received(key=key, parts=parts, echo=echo, reply_window_ends=ends, **fields, **self._common)

    def _key(self, what: str, of: str) -> str:
        """For what has no id: nobody does the same twice in a millisecond."""
        return f"{self._customer}:{what}:{of}:{self._stamp}"


def _receipts(at: str, told: Happening, delivered: Delivered) -> Iterator[AnyFact]:
    """Without ids nobody knows which: Meta leaves them out at times, and then tells only until when."""
    time = moment(delivered.watermark) or moment(told.timestamp)
    for mid in delivered.mids:
        yield Receipt(at=at, key=f"{mid}:delivered", occurred_at=time, external_id=mid, status="delivered")


def moment(timestamp: int | None) -> datetime.datetime | None:
    """A Unix time in milliseconds. Raises `Malformed`."""
    if timestamp is None:
        return None
    if not 0 <= timestamp <= _meta.LATEST_S * 1000:
        raise Malformed("the timestamp is no Unix time in milliseconds")
    return EPOCH + datetime.timedelta(milliseconds=timestamp)

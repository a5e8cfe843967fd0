"""What a message on Messenger or Instagram says, as parts of the contract; what nobody knows keeps its words.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events/messages
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from sluiceway_contracts import AnyPart, Choice, Location, Media, Notice, Referral, Text, Unknown

from ._meta_messaging_payload import Attachment, Incoming, Payload, Source, Tap

KINDS = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "file": "file",
    "sticker": "sticker",
    "reel": "video",
    "ig_reel": "video",
    "story_mention": "file",
}
"""Attachments that are files. A story is a picture or a film: nobody says which."""
# Meta tells no media types; the addresses often end as the files did.
TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "pdf": "application/pdf",
}
# https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events/messaging_referrals
SOURCES = {"ADS": "ad", "CUSTOMER_CHAT_PLUGIN": "page", "MESSENGER_CODE": "qr"}
MENTIONED = Notice(code="story_mention", text="The customer mentioned you in a story")


class Reading(NamedTuple):
    """Parts, and by part id the addresses of the files that are to be fetched."""

    parts: tuple[AnyPart, ...]
    media: dict[str, str]


def reading(message: Incoming, raw: tuple[Any, ...], *, store_media: bool) -> Reading:
    """What the message says; `raw` are its attachments as they came. Files that are not to be stored stay remote."""
    found = list(_parts(message, raw)) if not message.is_unsupported else []
    if not found:
        return Reading(numbered([Unknown(was="unsupported", raw=list(raw) or None)]), {})
    if not store_media:
        return Reading(numbered([_remote(part, url) if url else part for part, url in found]), {})
    parts = numbered([part for part, _ in found])
    return Reading(parts, {part.id: url for part, (_, url) in zip(parts, found, strict=True) if url})


def tapped(tap: Tap) -> tuple[AnyPart, ...]:
    """A tapped button."""
    return numbered([_choice(tap.payload, tap.title)])


def numbered(found: list[AnyPart]) -> tuple[AnyPart, ...]:
    """The parts, with ids."""
    return tuple(msgspec.structs.replace(part, id=str(number)) for number, part in enumerate(found, 1))


def referral(source: Source | None) -> Referral | None:
    """What brought the customer here; `campaign` is the word that our link carried."""
    if source is None:
        return None
    product = source.product.id if source.product else None
    advertisement = source.ads_context_data
    return Referral(
        kind="post" if product else SOURCES.get(source.source or "", "link"),
        url=source.referer_uri,
        title=advertisement.ad_title if advertisement else None,
        id=str(source.ad_id or product or "") or None,
        campaign=source.ref,
    )


def story(message: Incoming) -> Referral | None:
    """The story of ours that a message answers."""
    told = message.reply_to.story if message.reply_to else None
    return Referral(kind="post", url=told.url, title="story", id=told.id) if told else None


def _parts(message: Incoming, raw: tuple[Any, ...]) -> Iterator[tuple[AnyPart, str]]:
    """Each part, with the address of its file."""
    if message.quick_reply is not None:
        yield _choice(message.quick_reply.payload, message.text), ""
    elif message.text:
        yield Text(text=message.text), ""
    seen: set[str] = set()
    for attachment, as_it_came in zip(message.attachments, raw, strict=True):
        same = _same(attachment)
        if same is None or same not in seen:
            yield from _attached(attachment, as_it_came)
        seen.update([same] if same else [])


def _choice(payload: str | None, title: str | None) -> Choice:
    id = payload or title or "?"
    return Choice(option_ids=(id,), titles=(title,) if title else (), payload=payload)


def _same(attachment: Attachment) -> str | None:
    """What is told twice, in an old way and a new one, has this in common.

    https://developers.facebook.com/documentation/instagram-platform/webhooks/new
    """
    payload = attachment.payload or Payload()
    return str(payload.sticker_id) if payload.sticker_id else payload.url


def _attached(attachment: Attachment, raw: Any) -> Iterator[tuple[AnyPart, str]]:
    payload = attachment.payload or Payload()
    kind = KINDS.get(attachment.type)
    if attachment.type == "story_mention":
        yield MENTIONED, ""
    if kind and payload.url:
        yield _file("sticker" if payload.sticker_id else kind, payload.url, payload.title), payload.url
    elif attachment.type == "location" and payload.coordinates:
        spot = payload.coordinates
        yield Location(lat=spot.lat, lon=spot.long, name=attachment.title), ""
    elif attachment.type != "story_mention":
        yield Unknown(was=attachment.type, raw=raw, fallback=_words(attachment, payload)), ""


def _file(kind: str, url: str, title: str | None) -> Media:
    name = unquote(url.partition("?")[0].rpartition("/")[2])
    mime = TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    named = name if kind == "file" and "." in name else None
    return Media(kind=kind, mime=mime, name=named, caption=title)


def _remote(part: AnyPart, url: str) -> AnyPart:
    return msgspec.structs.replace(part, state="remote", url=url)


def _words(attachment: Attachment, payload: Payload) -> str:
    """A shared post, link or template in words."""
    cards = (text for element in payload.elements for text in (element.title, element.subtitle))
    words = (attachment.title, payload.title, payload.text, *cards, attachment.url or payload.url)
    return "\n".join(dict.fromkeys(filter(None, words))) or f"[{attachment.type}]"

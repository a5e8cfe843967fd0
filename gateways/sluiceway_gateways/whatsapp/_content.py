"""What a WhatsApp message says, as parts of the contract; what nobody knows becomes an `unknown` part with words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sluiceway.wire import read_json
from sluiceway_contracts import (
    AnyPart,
    Choice,
    ContactCard,
    FormAnswer,
    FormResponse,
    InvalidAddress,
    Location,
    Media,
    Notice,
    Text,
    Unknown,
    addresses,
)

from ._payload import Card, Content, File, FlowAnswer, Interactive, Order, System

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/system
NOTICES = {
    "user_changed_number": "number_changed",
    "customer_changed_number": "number_changed",
    "user_changed_user_id": "user_id_changed",
    "customer_identity_changed": "identity_changed",
}


class Reading(NamedTuple):
    """Parts, and by part id what Meta calls the files in them."""

    parts: tuple[AnyPart, ...]
    media: dict[str, str]


def reading(content: Content, raw: bytes) -> Reading:
    """What the message says; `raw` is what it was read from. Raises `Malformed`."""
    parts: list[AnyPart] = []
    media: dict[str, str] = {}
    for number, (part, reference) in enumerate(_parts(content, raw), 1):
        id = str(number)
        parts.append(msgspec.structs.replace(part, id=id))
        if reference:
            media[id] = reference
    return Reading(tuple(parts), media)


def _parts(content: Content, raw: bytes) -> Iterator[tuple[AnyPart, str]]:
    """Each part, with Meta's id of its file."""
    match content:
        case Content(type="text", text=words) if words:
            yield Text(text=words.body), ""
        case Content(type="image" | "video" | "audio" | "document" | "sticker") if file := _file(content):
            yield _media(content.type, file), file.id
        case Content(type="location", location=spot) if spot:
            yield Location(lat=spot.latitude, lon=spot.longitude, name=spot.name, address=spot.address), ""
        case Content(type="contacts", contacts=cards) if cards:
            yield from ((_card(card), "") for card in cards)
        case Content(type="interactive", interactive=answer) if answer and (part := _answer(answer)):
            yield part, ""
        case Content(type="button", button=button) if button:
            choice = Choice(option_ids=(button.payload or button.text,), titles=(button.text,), payload=button.payload)
            yield choice, ""
        case Content(type="order", order=order) if order:
            if order.text:
                yield Text(text=order.text), ""
            yield Unknown(was="order", raw=_raw(raw, "order"), fallback=_order(order)), ""
        case Content(type="system", system=system) if system:
            yield _notice(system), ""
        case _:
            yield _unknown(content, raw), ""


def _file(content: Content) -> File | None:
    return content.image or content.video or content.audio or content.document or content.sticker


def _media(type: str, file: File) -> Media:
    kind = {"document": "file", "audio": "voice" if file.voice else "audio"}.get(type, type)
    mime = file.mime_type.partition(";")[0].strip()
    return Media(kind=kind, mime=mime, name=file.filename, caption=file.caption)


def _card(card: Card) -> ContactCard:
    found = [address for phone in card.phones for address in _numbers(phone.wa_id, phone.phone)]
    found += [address for mail in card.emails for address in _address("mailto", mail.email)]
    named = card.name.formatted_name or " ".join(filter(None, (card.name.first_name, card.name.last_name)))
    return ContactCard(name=named or (found[0] if found else "?"), addresses=tuple(dict.fromkeys(found)))


def _numbers(wa_id: str | None, phone: str | None) -> Iterator[str]:
    yield from _address("whatsapp", wa_id)
    with contextlib.suppress(InvalidAddress):  # a national number, or somebody's own spelling: nobody can guess
        yield addresses.tel(phone or "")


def _address(scheme: str, value: str | None) -> Iterator[str]:
    with contextlib.suppress(InvalidAddress):
        yield addresses.build(scheme, value or "")


def _answer(answer: Interactive) -> AnyPart | None:
    picked = answer.button_reply or answer.list_reply
    if picked is not None:
        return Choice(option_ids=(picked.id,), titles=(picked.title,) if picked.title else ())
    return _form(answer.nfm_reply) if answer.nfm_reply is not None else None


def _form(answer: FlowAnswer) -> FormResponse:
    """A flow's answer: its token names the flow, where whoever sent it gave one."""
    fields = read_json(answer.response_json.encode("utf-8", "surrogatepass"), dict[str, Any])
    token = fields.pop("flow_token", None)
    return FormResponse(
        form_id=token if isinstance(token, str) and token else answer.name or "flow",
        fields=tuple(FormAnswer(name=name, value=_plain(value)) for name, value in fields.items()),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _order(order: Order) -> str:
    lines = (
        f"{item.quantity} × {item.product_retailer_id}"
        + (f" ({item.item_price} {item.currency})" if item.item_price is not None and item.currency else "")
        for item in order.product_items
    )
    return "\n".join(lines) or "[order]"


def _notice(system: System) -> Notice:
    code = NOTICES.get(system.type, system.type)
    return Notice(code=code, text=system.body or f"[{code}]")


def _unknown(content: Content, raw: bytes) -> Unknown:
    was = (content.unsupported.type if content.unsupported else None) or content.type
    told = " ".join(problem.text for problem in content.errors if problem.text)
    return Unknown(was=was, raw=_raw(raw, content.type), fallback=f"[{was}: {told}]" if told else f"[{was}]")


def _raw(raw: bytes, field: str) -> Any:
    """What there was of the field, or else of the errors."""
    found = read_json(raw, dict[str, Any])
    return found.get(field, found.get("errors"))

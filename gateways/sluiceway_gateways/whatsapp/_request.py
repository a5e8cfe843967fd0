"""What we send, as the body of a request to the Cloud API: one message from the parts of one piece. Sends nothing.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from sluiceway import Action, Outbound, Rejected
from sluiceway_contracts import (
    AnyPart,
    Choices,
    ContactCard,
    Location,
    Media,
    MessageReact,
    Template,
    TemplateValue,
    TypingSet,
)

Json = dict[str, Any]

CAPTIONED = frozenset({"image", "video", "document"})
KINDS = {"voice": "audio", "file": "document"}
# Meta's own document of the API says so, in words or in its schema: https://github.com/facebook/openapi
PLACES = {
    "header": ("text", "image", "video", "document"),
    "body": ("text", "currency", "date_time"),
    "button": ("payload", "url", "text"),
}
NAMELESS = frozenset({"currency", "date_time"})
LAST_BUTTON, LONGEST_TEXT, LARGEST_AMOUNT = 9, 32_768, Decimal(2**31 - 1) / 1000


def body(message: Outbound[Any], list_label: str) -> Json:
    """The whole message. Raises `Rejected` for what the Cloud API has no form for."""
    head = _head(message.recipient)
    answers = message.reply_to.external_id if message.reply_to and message.piece == 1 else None
    context = {"context": {"message_id": answers}} if answers else {}
    if len(message.parts) != 1:
        raise Rejected("a WhatsApp message has exactly one part")
    return head | context | _content(message.parts[0], message.media, list_label)


def act(action: Action[Any]) -> Json | None:
    """A reaction, or that what the customer wrote was seen, or is being answered; None where there is nothing to ask.

    An indicator ends with the answer or after 25 seconds, and not before:
    https://developers.facebook.com/documentation/business-messaging/whatsapp/typing-indicators
    """
    seen = {"messaging_product": "whatsapp", "status": "read", "message_id": action.target}
    match action.command:
        case MessageReact(emoji=emoji, action=word):
            reaction = {"message_id": action.target, "emoji": "" if word == "remove" else emoji}
            return {**_head(action.recipient), "type": "reaction", "reaction": reaction}
        case TypingSet(state=state):
            return {**seen, "typing_indicator": {"type": "text"}} if state == "started" else None
    return seen


def _head(address: str) -> Json:
    scheme, _, recipient = address.partition(":")
    if scheme != "whatsapp":
        raise Rejected("the recipient is not on WhatsApp: it goes to whatsapp: addresses")
    whom = {"to": recipient} if recipient.isdecimal() else {"recipient": recipient}
    return {"messaging_product": "whatsapp", "recipient_type": "individual", **whom}


def _content(part: AnyPart, media: Mapping[str, str], list_label: str) -> Json:
    match part:
        case Media():
            kind = KINDS.get(part.kind, part.kind)
            return {"type": kind, kind: _file(part, kind, media.get(part.id))}
        case Location():
            spot = {"latitude": f"{part.lat:.6f}", "longitude": f"{part.lon:.6f}"}
            return {"type": "location", "location": spot | _given(name=part.name, address=part.address)}
        case ContactCard():
            return {"type": "contacts", "contacts": [_card(part)]}
        case Choices():
            return {"type": "interactive", "interactive": _menu(part, list_label)}
        case Template():
            return {"type": "template", "template": _template(part)}
    return {"type": "text", "text": {"body": part.plain(), "preview_url": False}}


def _given(**fields: str | None) -> Json:
    return {name: value for name, value in fields.items() if value}


def _file(part: Media, kind: str, id: str | None) -> Json:
    if id is None and not (part.url and part.url.startswith("https://")):
        raise Rejected("the media has no https address from which Meta could fetch it")
    if kind == "image" and part.mime == "image/webp":
        raise Rejected("WhatsApp takes WebP as a sticker only; send a JPEG or PNG")
    file: Json = {"id": id} if id else {"link": part.url}
    if kind in CAPTIONED:
        file |= _given(caption=part.caption)
    if kind == "document":
        file |= _given(filename=part.name)
    return file


def _card(part: ContactCard) -> Json:
    """A name has at least one part besides the whole: https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"""
    phones: dict[str, Json] = {}
    emails = []
    for address in part.addresses:
        scheme, _, value = address.partition(":")
        if scheme == "tel":
            phones.setdefault(value, {})["phone"] = value
        elif scheme == "whatsapp" and value.isdecimal():
            phones.setdefault(f"+{value}", {"phone": f"+{value}"})["wa_id"] = value
        elif scheme == "mailto" and "@" in value:
            emails.append({"email": value})
    lists = {"phones": list(phones.values()), "emails": emails}
    names = {"formatted_name": part.name, "first_name": part.name.split(" ")[0] or part.name}
    return {"name": names} | {name: found for name, found in lists.items() if found}


def _menu(part: Choices, list_label: str) -> Json:
    """Buttons, or a list: core has chosen which, and that they fit."""
    shown: Json = {"body": {"text": part.prompt or ""}}
    if part.style == "list":
        rows = [{"id": o.id, "title": o.title, **_given(description=o.description)} for o in part.options]
        return {"type": "list", **shown, "action": {"button": list_label, "sections": [{"rows": rows}]}}
    buttons = [{"type": "reply", "reply": {"id": o.id, "title": o.title}} for o in part.options]
    return {"type": "button", **shown, "action": {"buttons": buttons}}


def _template(part: Template) -> Json:
    """https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview"""
    values = [*(TemplateValue(value=text) for text in part.params), *part.values]
    for value in values:
        _check(value)
    components: list[Json] = []
    for place in ("header", "body"):
        parameters = [_parameter(value) for value in values if value.place == place]
        if parameters:
            components.append({"type": place, "parameters": parameters})
    components += [_button(value) for value in values if value.place == "button"]
    language = {"policy": "deterministic", "code": part.lang.replace("-", "_")}
    template = {"name": part.name, "language": language}
    return {**template, "components": components} if components else template


def _check(value: TemplateValue) -> None:
    """Raises `Rejected` for what no template can take."""
    place, kind = value.place, value.kind
    if place not in PLACES:
        raise Rejected(f"a template has no place {place[:40]}: write header, body or button")
    if kind not in PLACES[place]:
        raise Rejected(f"a template's {place} can't take {kind[:40]}: write {' or '.join(PLACES[place])}")
    if not value.value and (kind != "text" or place == "button"):
        raise Rejected(f"a template's {kind} in its {place} is empty: give it a value")
    if value.name and kind in NAMELESS:
        raise Rejected(f"a template's {kind} has no name: leave the name out, or write it as text")
    if kind == "text" and len(value.value) > LONGEST_TEXT:
        raise Rejected(f"a template's text has more than {LONGEST_TEXT:,} characters: make it shorter")
    if place == "button" and not 0 <= value.index <= LAST_BUTTON:
        raise Rejected(f"a template has no button {value.index}: the first is 0, the last {LAST_BUTTON}")


def _parameter(value: TemplateValue) -> Json:
    match value.kind:
        case "text":
            return {"type": "text", **_given(parameter_name=value.name), "text": value.value}
        case "currency":
            amount = {"fallback_value": value.value, "code": value.currency, "amount_1000": _thousandths(value)}
            return {"type": "currency", "currency": amount}
        case "date_time":
            return {"type": "date_time", "date_time": {"fallback_value": value.value}}
    if not value.value.startswith("https://"):
        raise Rejected("the template's media has no https address from which Meta could fetch it")
    name = _given(filename=value.name) if value.kind == "document" else {}
    return {"type": value.kind, value.kind: {"link": value.value} | name}


def _button(value: TemplateValue) -> Json:
    """What a quick reply sends back, or how the address of a button goes on."""
    head = {"type": "button", "index": str(value.index)}
    if value.kind == "payload":
        return {**head, "sub_type": "quick_reply", "parameters": [{"type": "payload", "payload": value.value}]}
    return {**head, "sub_type": "url", "parameters": [{"type": "text", "text": value.value}]}


def _thousandths(value: TemplateValue) -> int:
    try:
        amount = Decimal(value.amount or "")
    except InvalidOperation as error:
        raise Rejected("a template's currency needs an amount, as a decimal number") from error
    if not amount.is_finite() or re.fullmatch("[A-Z]{3}", value.currency or "") is None:
        raise Rejected("a template's currency needs a finite amount and a code of ISO 4217")
    if amount.copy_abs() > LARGEST_AMOUNT:
        raise Rejected(f"a template's currency goes up to {LARGEST_AMOUNT:,}: write a larger amount as text")
    return int(amount * 1000)

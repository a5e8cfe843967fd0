"""Meta's Cloud API in miniature: signed deliveries, the hook's validation, messages, statuses, media. No I/O."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from sluiceway import Answer, Later, Malformed, Request, Response, Simulator, signing
from sluiceway.wire import JSON

from .. import _meta
from .._meta import App
from .._origin import origin
from .._simulated_files import Files, SimulatedFile
from .._whatsapp_errors import ERRORS
from .cloud import TEXT, Number

REFUSED, UNDELIVERED, SILENT = "1555", "1556", "1557"
# Every other refusal is a 400: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
HTTP_STATUS = {0: 401, 3: 500, 10: 403, 2: 503, 190: 401, 368: 403, 131000: 500, 131005: 403, 131016: 503}
CODES = frozenset(code for code in ERRORS if code.isdecimal())
TYPES = frozenset(
    {
        "text",
        "image",
        "video",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "template",
        "reaction",
    }
)
TYPING = {"type": "text"}
DELAYS_S = {"sent": 0.2, "delivered": 0.5, "read": 0.8, "failed": 0.3}
PORTFOLIO = "102290129340398"
ATTACHMENTS = "/whatsapp_business/attachments/"
# What a field of a delivery is to Meta, and the type of the file where the file itself is of another family
KINDS = {
    "image": ("image", "image/jpeg"),
    "video": ("video", "video/mp4"),
    "audio": ("audio", "audio/mpeg"),
    "voice": ("audio", "audio/ogg; codecs=opus"),
    "document": ("document", "application/pdf"),
    "sticker": ("sticker", "image/webp"),
}
CAPTIONED = frozenset({"image", "video", "document"})


class WhatsAppSimulator(Simulator[App, Number]):
    """One Meta app. A message is sent after 0.2 s, delivered after 0.5 s and read after 0.8 s, but to these recipients:

    1555 and a code      refused with it: 1555131047 is outside the window, 1555190 an expired token
    1556 and a code      taken, and after 0.3 s failed with it: 1556131026 can't be delivered
    1557 and anything    HTTP 500 without a code: nobody knows if it was sent

    A delivery takes the fields `name`, `user_id` (a BSUID), `reply_to` (a wamid), `button` (the id of a button whose
    title is the text); `image`, `video`, `document` (with `filename`), whose caption is the text, `audio`, `voice` or
    `sticker`, which have none: each is a media id. An id that was not uploaded here is a word that says what it is:
    gone (refused as unknown), expired (404), throttled (429 every other time), redirect, large-<megabytes>, liar (no
    picture), empty, <name>.mp4, .ogg or .pdf; any other is a PNG.
    """

    channel = "whatsapp"
    takes_fields = True

    def __init__(self, settings: App, hook_url: str) -> None:
        super().__init__(settings, hook_url)
        self._files = Files()

    def deliver(self, account: Number, sender: str, text: str) -> Request:
        """A customer's message to one of our numbers; `sender` is digits, `+` and digits, or a BSUID."""
        number = sender.removeprefix("+")
        user_id = self.fields.get("user_id") or (None if number.isdecimal() else sender)
        who = {"from": number} if number.isdecimal() else {}
        message = {
            **who,
            **({"from_user_id": user_id} if user_id else {}),
            "id": _wamid(),
            "timestamp": _now(),
            **self._said(text),
        }
        contact = {
            "profile": {"name": self.fields.get("name", "A customer")},
            **({"wa_id": number} if who else {}),
            **({"user_id": user_id} if user_id else {}),
        }
        return self.delivery(account, {"contacts": [contact], "messages": [message]})

    def delivery(self, account: Number, value: dict[str, Any], field: str = "messages") -> Request:
        """A signed delivery of one change that says this of one of our numbers."""
        return self._post({"field": field, "value": _about(account.phone_number_id, account.address) | value})

    def validation(self, token: str | None = None, challenge: str = "1158201444") -> Request:
        """The request by which Meta learns that the hook is ours."""
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": self.settings.verify_token.reveal() if token is None else token,
        }
        return Request(method="GET", url=f"{self.hook_url}?{urlencode(query)}")

    def answer(self, request: Request) -> Answer:
        """A number takes messages and media, a media id tells its address and can be deleted; there is nothing else."""
        token = self.settings.access_token.reveal()
        if request.headers.get("authorization") != f"Bearer {token}":
            return _refuse(190)
        proof = signing.hmac_hex(self.settings.app_secret.reveal().encode(), token.encode())
        if request.query.get("appsecret_proof", proof) != proof:
            return _refuse(100, "Invalid appsecret_proof provided in the API argument")
        called = urlsplit(request.url).path
        if request.method == "GET" and called == ATTACHMENTS:
            return Answer(self._files.served(request.query.get("mid", "")))
        return self._graph(called, request)

    def _graph(self, called: str, request: Request) -> Answer:
        found = re.fullmatch(r"/v[0-9]+\.[0-9]+/([^/]+)(?:/([a-z]+))?", called)
        match (request.method, unquote(found[1]), found[2]) if found else ():
            case ("GET", id, None):
                return self._locate(id, origin(request.url))
            case ("DELETE", id, None):
                return Answer(Response.of_json({"success": True})) if self._files.delete(id) else _unknown(id)
            case ("POST", number, "media") if number.isdecimal():
                return self._keep(request)
            case ("POST", number, "messages") if number.isdecimal():
                return self._message(number, request)
        return _refuse(33)

    def _locate(self, id: str, at: str) -> Answer:
        if self._files.throttles(id):
            return Answer(msgspec.structs.replace(_refuse(80007).response, status=429))
        file = self._files.find(id)
        if file is None:
            return _unknown(id)
        about = {
            "messaging_product": "whatsapp",
            "url": f"{at}{ATTACHMENTS}?mid={quote(id, safe='')}",
            "mime_type": file.mime,
            "sha256": hashlib.sha256(file.body).hexdigest(),
            "file_size": len(file.body),
            "id": id,
        }
        return Answer(Response.of_json(about))

    def _keep(self, request: Request) -> Answer:
        try:
            fields = dict(request.multipart)
        except Malformed:
            return _refuse(100, "The body is no multipart/form-data")
        if fields.get("messaging_product") != b"whatsapp" or not fields.get("type") or "file" not in fields:
            return _refuse(100, "The parameters messaging_product, type and file are required")
        file = SimulatedFile(fields["type"].decode("utf-8", "replace"), fields["file"])
        return Answer(Response.of_json({"id": self._files.keep(file)}))

    def _message(self, number: str, request: Request) -> Answer:
        try:
            message = request.json(dict[str, Any])
        except Malformed:
            return _refuse(100)
        if message.get("status") == "read" and message.get("message_id"):
            shown = message.get("typing_indicator", TYPING) == TYPING
            return Answer(Response.of_json({"success": True})) if shown else _refuse(100)
        recipient = str(message.get("to") or message.get("recipient") or "")
        objection = _objection(message, recipient)
        return _refuse(objection) if objection is not None else self._take(number, recipient)

    def _said(self, text: str) -> dict[str, Any]:
        context = {"context": {"id": self.fields["reply_to"]}} if "reply_to" in self.fields else {}
        for field in KINDS.keys() & self.fields.keys():
            return {**context, **self._media(field, text)}
        if "button" in self.fields:
            reply = {"type": "button_reply", "button_reply": {"id": self.fields["button"], "title": text}}
            return {**context, "type": "interactive", "interactive": reply}
        return {**context, "type": "text", "text": {"body": text}}

    def _media(self, field: str, text: str) -> dict[str, Any]:
        (kind, mime), id = KINDS[field], self.fields[field]
        file = self._files.find(id)
        if file is not None and file.mime.partition("/")[0] == mime.partition("/")[0]:
            mime = file.mime
        about: dict[str, Any] = {"id": id, "mime_type": mime, "sha256": ""}
        if kind in CAPTIONED:
            about["caption"] = text
        if kind == "audio":
            about["voice"] = field == "voice"
        if kind == "document" and "filename" in self.fields:
            about["filename"] = self.fields["filename"]
        return {"type": kind, kind: about}

    def _take(self, number: str, recipient: str) -> Answer:
        if recipient.startswith(SILENT):
            return Answer(Response(status=500))
        id = _wamid()
        digits = recipient.removeprefix("+")
        whom = {"input": recipient, **({"wa_id": digits} if digits.isdecimal() else {"user_id": recipient})}
        taken = {"messaging_product": "whatsapp", "contacts": [whom], "messages": [{"id": id}]}
        failure = digits.removeprefix(UNDELIVERED) if digits.startswith(UNDELIVERED) else ""
        words = ("failed",) if failure in CODES else ("sent", "delivered", "read")
        later = tuple(Later(DELAYS_S[word], self._status(number, id, digits, word, failure)) for word in words)
        return Answer(Response.of_json(taken), later)

    def _status(self, number: str, id: str, recipient: str, word: str, failure: str) -> Request:
        whom = "recipient_id" if recipient.isdecimal() else "recipient_user_id"
        state: dict[str, Any] = {"id": id, "status": word, "timestamp": _now(), whom: recipient}
        if word == "failed":
            state["errors"] = [_problem(int(failure))]
        else:
            state["pricing"] = {"billable": False, "pricing_model": "PMP", "category": "service"}
        return self._post({"field": "messages", "value": _about(number, "") | {"statuses": [state]}})

    def _post(self, change: dict[str, Any]) -> Request:
        delivery = {"object": "whatsapp_business_account", "entry": [{"id": PORTFOLIO, "changes": [change]}]}
        body = msgspec.json.encode(delivery)
        headers = {
            "content-type": JSON,
            "user-agent": "facebookexternalua",
            _meta.SIGNATURE: _meta.sign(self.settings.app_secret, body),
        }
        return Request(method="POST", url=self.hook_url, headers=headers, body=body)


def _about(phone_number_id: str, address: str) -> dict[str, Any]:
    metadata = {"display_phone_number": address.partition(":")[2], "phone_number_id": phone_number_id}
    return {"messaging_product": "whatsapp", "metadata": metadata}


def _objection(message: dict[str, Any], recipient: str) -> int | None:
    """The code of the first thing that is wrong with a message."""
    kind = str(message.get("type"))
    text = message.get("text") if kind == "text" else {"body": "-"}
    body = text.get("body") if isinstance(text, dict) else None
    code = recipient.removeprefix("+").removeprefix(REFUSED) if recipient.removeprefix("+").startswith(REFUSED) else ""
    wrong = (
        (100, message.get("messaging_product") != "whatsapp"),
        (131008, not recipient or kind not in message),
        (131009, ("to" in message) == ("recipient" in message)),
        (131051, kind not in TYPES),
        (131009, not isinstance(body, str) or TEXT.length(body) > TEXT.limit),
        (int(code) if code in CODES else 0, code in CODES),
    )
    return next((number for number, true in wrong if true), None)


def _problem(code: int, message: str = "") -> dict[str, Any]:
    text = message or ERRORS[str(code)].text
    return {"code": code, "title": text, "message": f"(#{code}) {text}", "error_data": {"details": text}}


def _refuse(code: int, message: str = "") -> Answer:
    error = _problem(code, message) | {"type": "OAuthException", "fbtrace_id": secrets.token_hex(8)}
    return Answer(Response.of_json({"error": error}, HTTP_STATUS.get(code, 400)))


def _unknown(id: str) -> Answer:
    """As the Graph API refuses an id that it has nothing for: https://developers.facebook.com/docs/graph-api/guides/error-handling"""
    text = f"Unsupported request. Object with ID '{id}' does not exist, or does not support this operation"
    error = {"message": text, "type": "GraphMethodException", "code": 100, "error_subcode": 33}
    return Answer(Response.of_json({"error": error | {"fbtrace_id": secrets.token_hex(8)}}, 400))


def _wamid() -> str:
    return "wamid." + base64.b64encode(secrets.token_bytes(30)).decode()


def _now() -> str:
    return str(int(time.time()))

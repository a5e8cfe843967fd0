"""The Messenger Platform in miniature: signed deliveries, the hook's validation, the Send API, files."""

from __future__ import annotations

import base64
import re
import secrets
import time
from abc import abstractmethod
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from sluiceway import Answer, Chars, Later, Malformed, Outcome, Request, Response, Simulator, Utf8, signing
from sluiceway.wire import JSON

from . import _meta
from ._meta_messaging import Business, MessagingApp
from ._meta_messaging_errors import ERRORS
from ._simulated_files import Files

REFUSED, SILENT = "1555", "1557"
DELIVERED_S, READ_S = 0.5, 0.8
MEDIA = "/media/"
SENDER_ACTIONS = frozenset({"mark_seen", "typing_on", "typing_off"})


class MessagingSimulator(Simulator[MessagingApp, Business]):
    """One Meta app's pages or accounts; the channel's own class says which."""

    object: ClassVar[str]
    text: ClassVar[Chars | Utf8]
    takes_fields = True

    def __init__(self, settings: MessagingApp, hook_url: str) -> None:
        super().__init__(settings, hook_url)
        self._written_to: dict[str, str] = {}
        self._files = Files()

    def deliver(self, account: Business, sender: str, text: str) -> Request:
        """A customer's message; `sender` is their id with this page or account."""
        return self.delivery(account, self.event(account, sender, **self._said(text)))

    def event(self, account: Business, sender: str, **what: Any) -> dict[str, Any]:
        """One thing that a customer did."""
        self._written_to[sender] = account.id
        return _event(sender, account.id, **what)

    def delivery(self, account: Business, *events: dict[str, Any]) -> Request:
        """A signed delivery of what happened at one page or account."""
        return self._post(account.id, *events)

    def validation(self, token: str | None = None, challenge: str = "1158201444") -> Request:
        """The request by which Meta learns that the hook is ours."""
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": self.settings.verify_token.reveal() if token is None else token,
        }
        return Request(method="GET", url=f"{self.hook_url}?{urlencode(query)}")

    def answer(self, request: Request) -> Answer:
        """A page's or account's messages take messages, `/media` has files. Any token that proves itself will do."""
        called = urlsplit(request.url).path
        if request.method == "GET" and called.startswith(MEDIA):
            return self._file(unquote(called.removeprefix(MEDIA)))
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        proof = signing.hmac_hex(self.settings.app_secret.reveal().encode(), token.encode())
        if not token or (token != self.settings.access_token.reveal() and "appsecret_proof" not in request.query):
            return _refuse("190")
        if request.query.get("appsecret_proof", proof) != proof:
            return _refuse("100", "Invalid appsecret_proof provided in the API argument")
        path = re.fullmatch(r"/v[0-9]+\.[0-9]+/([0-9]+|me)/messages", called)
        if request.method != "POST" or path is None:
            return _refuse("100", "Unsupported request")
        try:
            sent = request.json(dict[str, Any])
            recipient = str(sent["recipient"]["id"])
        except (Malformed, KeyError, TypeError):
            return _refuse("100", "(#100) The parameter recipient is required")
        return self._take(path[1], recipient, sent)

    def _file(self, word: str) -> Answer:
        """Its address is proof enough."""
        return Answer(Response(status=429) if self._files.throttles(word) else self._files.served(word))

    def _take(self, path: str, recipient: str, sent: dict[str, Any]) -> Answer:
        code = recipient.removeprefix(REFUSED).replace("-", "/") if recipient.startswith(REFUSED) else ""
        late = code in ERRORS and ERRORS[code].outcome is Outcome.WINDOW_CLOSED
        if code in ERRORS and not (late and sent.get("tag") == "HUMAN_AGENT"):
            return _refuse(code)
        if recipient.startswith(SILENT):
            return Answer(Response(status=500))
        if sent.get("sender_action") in SENDER_ACTIONS:
            return Answer(Response.of_json({"recipient_id": recipient}))
        message = sent.get("message")
        if not isinstance(message, dict) or not self._fits(message) or "messaging_type" not in sent:
            return _refuse("100")
        mid = _mid()
        taken = Response.of_json({"recipient_id": recipient, "message_id": mid})
        at = path if path != "me" else self._written_to.get(recipient)
        told = self.told(mid) if at else ()
        return Answer(
            taken, tuple(Later(after, self._post(str(at), _event(recipient, str(at), **w))) for after, w in told)
        )

    @abstractmethod
    def told(self, mid: str) -> tuple[tuple[float, dict[str, Any]], ...]:
        """What this channel tells of a message, after so many seconds; by `me` alone, nobody knows to whom."""

    def _fits(self, message: dict[str, Any]) -> bool:
        text = message.get("text")
        if not isinstance(text, str):
            return isinstance(message.get("attachment"), dict)
        return 0 < self.text.length(text) <= self.text.limit

    def _said(self, text: str) -> dict[str, Any]:
        """The message, or the tap on a button."""
        fields = self.fields
        if "button" in fields:
            return {"postback": {"mid": _mid(), "title": text, "payload": fields["button"]}}
        message: dict[str, Any] = {"mid": _mid(), "text": text}
        if "quick_reply" in fields:
            message["quick_reply"] = {"payload": fields["quick_reply"]}
        if "image" in fields:
            message["attachments"] = [{"type": "image", "payload": {"url": self._address(fields["image"])}}]
        if "reply_to" in fields:
            message["reply_to"] = {"mid": fields["reply_to"]}
        return {"message": message}

    def _address(self, word: str) -> str:
        return word if ":" in word else f"{self.settings.api_url.rstrip('/')}{MEDIA}{quote(word, safe='')}"

    def _post(self, at: str, *events: dict[str, Any]) -> Request:
        delivery = {"object": self.object, "entry": [{"id": at, "time": now_ms(), "messaging": list(events)}]}
        body = msgspec.json.encode(delivery)
        headers = {
            "content-type": JSON,
            "user-agent": "facebookexternalua",
            _meta.SIGNATURE: _meta.sign(self.settings.app_secret, body),
        }
        return Request(method="POST", url=self.hook_url, headers=headers, body=body)


def _event(sender: str, recipient: str, **what: Any) -> dict[str, Any]:
    return {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": now_ms(), **what}


def _refuse(code: str, message: str = "") -> Answer:
    number, _, subcode = code.partition("/")
    error: dict[str, Any] = {
        "message": message or f"(#{number}) {ERRORS[code].text}",
        "type": "OAuthException",
        "code": int(number),
        "fbtrace_id": secrets.token_hex(8),
    }
    if subcode:
        error["error_subcode"] = int(subcode)
    return Answer(Response.of_json({"error": error}, 401 if number == "190" else 400))


def _mid() -> str:
    return "m_" + base64.urlsafe_b64encode(secrets.token_bytes(30)).decode()


def now_ms() -> int:
    """The time as Meta writes it."""
    return time.time_ns() // 1_000_000

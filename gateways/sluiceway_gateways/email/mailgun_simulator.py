"""Mailgun in miniature: signed notices of stored mail, its storage, and what became of ours. No I/O."""

from __future__ import annotations

import base64
import secrets
import time
import zlib
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import msgspec

from sluiceway import Answer, Request, Response, Simulator, signing
from sluiceway.wire import FORM, JSON

from ._gateway import MailAccount
from ._simulated_mail import mail
from .mailgun import Mailgun

STORED = "/v3/domains/simulated/messages/"


class MailgunSimulator(Simulator[Mailgun, MailAccount]):
    """One Mailgun account. A mail is in its storage key itself, so that any simulator of this connection has it.

    A delivery takes the fields `subject`, `to` (an address of ours with a reply token, else the account's own),
    `in_reply_to` (a Message-ID), `unproven`, and `gone`: then the storage does not have it any more. Point `api_url`
    here.
    """

    channel = "email"
    takes_fields = True

    def deliver(self, account: MailAccount, sender: str, text: str) -> Request:
        """The notice of a stored mail."""
        recipient = self.fields.get("to") or account.address.partition(":")[2]
        raw = mail(sender, recipient, text, self.settings.authserv_id, self.fields)
        key = "gone" if "gone" in self.fields else self.key(raw)
        return self.notice(sender, recipient, key, {"body-plain": text, "from": sender})

    def notice(self, sender: str, recipient: str, key: str, more: dict[str, str] = {}) -> Request:  # noqa: B006  # never written to
        """What Mailgun posts of a mail that it has under a key."""
        url = f"{self.settings.api_url}{STORED}{key}"
        fields = {"recipient": recipient, "sender": sender, "message-url": url, **more, **self._signed()}
        headers = {"content-type": FORM, "user-agent": "mailgun/simulated"}
        return Request(method="POST", url=self.hook_url, headers=headers, body=urlencode(fields).encode())

    def told(self, message_id: str, sender: str, event: str, **more: Any) -> Request:
        """What Mailgun posts of what became of a mail of ours."""
        about = {
            "event": event,
            "id": secrets.token_urlsafe(16),
            "timestamp": time.time(),
            "envelope": {"sender": sender},
            "message": {"headers": {"message-id": message_id, "from": sender}},
            **more,
        }
        body = msgspec.json.encode({"signature": self._signed(), "event-data": about})
        return Request(method="POST", url=self.hook_url, headers={"content-type": JSON}, body=body)

    def answer(self, request: Request) -> Answer:
        """Stored mail, for whoever has the API key."""
        login = base64.b64encode(f"api:{self.settings.api_key.reveal()}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {login}":
            return Answer(Response.of_json({"message": "Invalid private key"}, 401))
        path = unquote(urlsplit(request.url).path)
        raw = self.mail(path.removeprefix(STORED)) if path.startswith(STORED) else None
        if request.method != "GET" or raw is None:
            return Answer(Response.of_json({"message": "Message not found"}, 404))
        if request.headers.get("accept") != "message/rfc2822":
            return Answer(Response.of_json({"body-plain": "parsed"}))
        return Answer(Response.of_json({"body-mime": raw.decode("utf-8", "replace")}))

    @staticmethod
    def key(raw: bytes) -> str:
        return base64.urlsafe_b64encode(zlib.compress(raw)).decode()

    @staticmethod
    def mail(key: str) -> bytes | None:
        """None for a key that was never given."""
        try:
            return zlib.decompress(base64.urlsafe_b64decode(key))
        except (ValueError, zlib.error):
            return None

    def _signed(self) -> dict[str, str]:
        stamp, token = str(int(time.time())), secrets.token_hex(25)
        key = self.settings.signing_key.reveal().encode()
        return {"timestamp": stamp, "token": token, "signature": signing.hmac_hex(key, f"{stamp}{token}".encode())}

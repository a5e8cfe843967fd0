"""Messages by Pigeonpost, a made-up provider: a whole gateway, written against Sluiceway's public names alone."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from msgspec import Struct

from sluiceway import (
    Account,
    Ambiguous,
    Capabilities,
    Chars,
    Fault,
    Flow,
    Gateway,
    Intake,
    Outbound,
    Outcome,
    Receipt,
    Received,
    Rejected,
    Request,
    Response,
    Secret,
    Sender,
    Sent,
    Settings,
    Unverified,
    Webhook,
)
from sluiceway_contracts import Text

STATUSES = {"in_air": "sent", "landed": "delivered", "lost": "failed"}


class Loft(Settings, frozen=True, kw_only=True):
    """`[connections.<name>]`: the secret that Pigeonpost signs with, and where it takes messages."""

    secret: Secret
    api_url: str = "https://api.pigeonpost.example"


class Note(Struct):
    """What Pigeonpost delivers: a message where `text` is there, else a receipt."""

    ring: str
    loft: str
    sender: str = ""
    text: str | None = None
    state: str = ""


class Reply(Struct):
    """What Pigeonpost answers."""

    ring: str = ""
    error: str = ""


class PigeonPost(Gateway[Loft, Account], Webhook, Sender):
    """Notes by pigeon; addresses are `x-pigeon:<ring>`."""

    channel = "pigeon"
    schemes = ("x-pigeon",)
    capabilities = Capabilities(text=Chars(60))
    errors = {"cat": Fault(Outcome.REJECTED, "a cat lives there"), "storm": Fault(Outcome.RETRY, "no flights")}

    def verify(self, request: Request) -> None:
        given = request.headers.get("x-pigeon-signature", "")
        if not hmac.compare_digest(given.encode(), sign(self.settings, request.body).encode()):
            raise Unverified("x-pigeon-signature does not match")

    def receive(self, request: Request) -> Intake:
        note = request.json(Note)
        if note.text is None:
            status = STATUSES.get(note.state, "sent")
            key = f"{note.ring}:{note.state}"
            return Intake(facts=(Receipt(at=note.loft, key=key, external_id=note.ring, status=status),))
        fact = Received(
            at=note.loft,
            key=note.ring,
            sender=f"x-pigeon:{note.sender}",
            parts=(Text(text=note.text),),
            external_ids=(note.ring,),
        )
        return Intake(facts=(fact,), reply=Response.of_json({"grain": True}))

    def send(self, message: Outbound[Any]) -> Flow[Sent]:
        to, text = message.recipient.partition(":")[2], message.parts[0].plain()
        response = yield Request.post_form(f"{self.settings.api_url}/notes", [("to", to), ("text", text)])
        if response.status >= 500:
            raise Ambiguous(f"HTTP status {response.status}")
        reply = response.json(Reply)
        if reply.error:
            raise self.refusal(reply.error)
        if not reply.ring:
            raise Rejected("Pigeonpost gave no ring")
        return Sent(external_id=reply.ring)


def sign(settings: Loft, body: bytes) -> str:
    """Pigeonpost's signature: HMAC-SHA256 of the body, in hexadecimal."""
    return hmac.new(settings.secret.reveal().encode(), body, hashlib.sha256).hexdigest()

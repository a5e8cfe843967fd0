"""Pigeonpost in miniature."""

from __future__ import annotations

import secrets

import msgspec

from sluiceway import Account, Answer, Later, Request, Response, Simulator

from . import Loft, Note, sign


class PigeonSimulator(Simulator[Loft, Account]):
    """Takes every note but those for `cat`, and tells when they are in the air and when they have landed."""

    channel = "pigeon"

    def deliver(self, account: Account, sender: str, text: str) -> Request:
        return self._signed(Note(ring=secrets.token_hex(6), loft=_loft(account), sender=sender, text=text))

    def answer(self, request: Request) -> Answer:
        to = request.form.required("to")
        if to == "cat":
            return Answer(Response.of_json({"error": "cat"}, status=400))
        ring = secrets.token_hex(6)
        states = [self._signed(Note(ring=ring, loft="north", state=state)) for state in ("in_air", "landed")]
        return Answer(Response.of_json({"ring": ring}), tuple(Later(0.05, request) for request in states))

    def _signed(self, note: Note) -> Request:
        body = msgspec.json.encode(note)
        headers = {"content-type": "application/json", "x-pigeon-signature": sign(self.settings, body)}
        return Request(method="POST", url=self.hook_url, headers=headers, body=body)


def _loft(account: Account) -> str:
    return account.address.partition(":")[2]

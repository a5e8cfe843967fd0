"""One request of Twilio's in the course of a call: where the call is, what it says, and where it goes on.

The state is in the URL, which Twilio signs: ids, counts and flags, never a number, a name or a text. Nothing is kept.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from sluiceway import Ask, CallStep, CallView, Form, Intake, Malformed, Request, Response, Secret
from sluiceway.gateway import AnyFact, Assurance
from sluiceway_contracts import InvalidAddress, addresses, is_uuid, uuid8

from ._number import Number
from ._twiml import Page

# Twilio tries again after any failure: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
RETRIES = "#rc=5&rp=all"
# How carriers write that a caller is not shown: https://www.twilio.com/docs/voice/twiml#request-parameters
ANONYMOUS = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})
# The carrier itself vouches for the caller's number: https://www.twilio.com/docs/voice/trusted-calling-with-shakenstir
ATTESTED = "TN-Validation-Passed-A"
# What a URL may carry besides the call, its attempt, the leg and our number; and what of it goes on to the next
FLAGS = frozenset({"ring", "rec", "person", "attested", "back", "try", "key"})
KEPT = ("ring", "person", "attested")
LEGS = frozenset({"", "agent", "customer"})
RING_S = 25
CUSTOM = "x-twilio"
"""The scheme of a caller who is not shown: one address a call."""


class Naming:
    """Ids that every replica makes alike, under a key that comes from the auth token."""

    def __init__(self, token: Secret) -> None:
        self._key = hashlib.sha256(b"sluiceway.voice.twilio\0" + token.reveal().encode()).digest()

    def call(self, sid: str) -> str:
        """Our id of a call that somebody made to us."""
        return uuid8(self._key, "call", sid)

    def number(self, ours: str) -> str:
        """One of our numbers, where the number itself may not stand."""
        return uuid8(self._key, "number", ours)[-12:]


class Step(Struct, frozen=True, kw_only=True):
    """Twilio asks what comes next at `name`, or tells something there.

    `number` is our account, `ours` the number itself and `nick` what the URL has for it; `flags` are its counts.
    """

    name: str
    form: Form
    raw: bytes
    number: Number
    ours: str
    nick: str
    hook: str
    call_id: str
    attempt: int = 0
    leg: str = ""
    flags: dict[str, int] = {}

    @property
    def sid(self) -> str:
        """Twilio's id of the leg. Raises `Malformed`."""
        return self.form.required("CallSid")

    @property
    def party(self) -> str | None:
        """The address of whoever is on this leg besides us; None where they are not shown."""
        to = self.form.get("To", "")
        return shown(self.form.get("From", "") if to == self.ours else to)

    @property
    def key(self) -> str:
        """The key that was pressed; empty where none was."""
        pressed = self.form.get("Digits", "")
        return pressed[:1] or (str(self.flags["key"]) if "key" in self.flags else "")

    @property
    def assurance(self) -> Assurance:
        """How well a caller's number is proven."""
        attested = "attested" in self.flags or self.form.get("StirVerstat") == ATTESTED
        return "channel" if attested else "asserted"

    @property
    def ring_s(self) -> int:
        return self.flags.get("ring", RING_S)

    def has(self, flag: str) -> bool:
        return flag in self.flags

    def about_call(self) -> Ask:
        """The question that is answered by a `CallView` or None."""
        return Ask("call", self.ours, self.call_id)

    def about_queue(self) -> Ask:
        """The question that is answered by a `QueueView`."""
        return Ask("queue", self.ours, self.number.skill)

    def is_about(self, view: CallView | None, *states: str) -> bool:
        """Whether the call is still at this attempt, and in one of these states."""
        return view is not None and view.attempt == self.attempt and view.state in states

    def fact(self, step: str, leg: str | None = None, *, key: str | None = None, **more: Any) -> CallStep:
        """What is told of this leg. The same step of the same leg is one fact, however often Twilio tells it."""
        fields = {"external_id": self.form.get("CallSid"), "address": self.party} | more
        return CallStep(
            at=self.ours,
            key=key or f"{self.sid}:{step}",
            call_id=self.call_id,
            step=step,
            leg=self.leg if leg is None else leg,
            attempt=self.attempt,
            **fields,
        )

    def nobody(self, leg: str) -> CallStep:
        """That the other side has no number that could be dialled."""
        return self.fact("failed", leg, key=f"{self.sid}:no number", external_id=None, address=None)

    @property
    def nothing(self) -> Response:
        """The answer to what wants no instructions."""
        return Response(status=204)

    def say(self, phrase: str, **values: object) -> str:
        return self.number.words.say(phrase, **values)

    def page(self, *phrases: str) -> Page:
        """A document that begins with these sentences."""
        page = Page(self.number.lang)
        return page.say(*map(self.say, phrases)) if phrases else page

    def url(self, name: str, *flags: str, leg: str | None = None) -> str:
        """Where the call goes on; these flags are set there."""
        kept = {flag: self.flags[flag] for flag in KEPT if flag in self.flags}
        return self._url(name, self.leg if leg is None else leg, kept | dict.fromkeys(flags, 1))

    def again(self) -> str:
        """The address of this same step, which is then asked for the next time."""
        flags = self.flags | {"try": self.flags.get("try", 0) + 1}
        if self.key.isascii() and self.key.isdecimal():
            flags["key"] = int(self.key)
        return self._url(self.name, self.leg, flags)

    def _url(self, name: str, leg: str, flags: dict[str, int]) -> str:
        if self.assurance == "channel":
            flags = flags | {"attested": 1}
        query = {"call": self.call_id, "attempt": self.attempt, "leg": leg, "n": self.nick}
        return link(self.hook, name, {key: value for key, value in query.items() if value} | flags)


def link(hook: str, name: str, query: dict[str, Any]) -> str:
    """An address of ours that Twilio calls, and calls again where that fails."""
    return f"{hook}/{name}".rstrip("/") + f"?{urlencode(query)}{RETRIES}"


def read(request: Request, naming: Naming, number: Number, ours: str, hook: str) -> Step:
    """The step that a request is. Raises `Malformed`."""
    query = request.query
    call_id, leg = query.get("call", ""), query.get("leg", "")
    if call_id and not is_uuid(call_id):
        raise Malformed("the call in the URL is no id")
    if leg not in LEGS:
        raise Malformed("the leg in the URL is not known")
    return Step(
        name=request.subpath.strip("/"),
        form=request.form,
        raw=request.body,
        number=number,
        ours=ours,
        nick=naming.number(ours),
        hook=hook,
        call_id=call_id or naming.call(request.form.required("CallSid")),
        attempt=_count(query, "attempt"),
        leg=leg,
        flags={flag: _count(query, flag) for flag in FLAGS if flag in query},
    )


def shown(number: str) -> str | None:
    """The tel: address of a number; None for one that is withheld, or none."""
    if number in ANONYMOUS:
        return None
    try:
        return addresses.build("tel", number)
    except InvalidAddress:
        return None


def seconds(form: Form, field: str) -> int | None:
    """A duration of Twilio's, in milliseconds."""
    text = form.get(field, "")
    return int(text) * 1000 if re.fullmatch("[0-9]{1,6}", text) else None


def told(page: Page, *facts: AnyFact) -> Intake:
    """These facts, and this document for an answer."""
    return Intake(facts=facts, reply=page.reply())


def _count(query: Form, name: str) -> int:
    text = query.get(name, "0")
    if re.fullmatch("[0-9]{1,6}", text) is None:
        raise Malformed(f"{name} in the URL is no count")
    return int(text)

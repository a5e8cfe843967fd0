"""Twilio's Programmable Voice in miniature: it places calls, executes TwiML, answers every telephone. No I/O."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urlsplit

from sluiceway import Answer, Form, Later, Malformed, Request, Response, Simulator
from sluiceway.simulator import told
from sluiceway_contracts import InvalidAddress, addresses

from .._twilio import Connection
from .._twilio_simulation import is_login, refused
from ._number import Number, plain
from ._simulated_calls import Calls, Leg, Watch
from ._step import ATTESTED
from ._twiml_player import Manners, Player
from ._voice_errors import ERRORS

# Up to …0004 they are Twilio's own magic numbers: https://www.twilio.com/docs/iam/test-credentials
REFUSED_NUMBERS = {
    "+15005550001": 21217,
    "+15005550002": 21214,
    "+15005550003": 21215,
    "+15005550004": 21216,
    "+15005550429": 20429,
    "+15005550500": 20500,
}
REFUSED_CALLERS = {"+15005550001": 21212}
BROKEN_ANSWER = "+15005550502"
# The last digits are those of SIP's responses, RFC 3261, where there is one
MANNERS = {
    "+15005550486": Manners(ends="busy"),
    "+15005550408": Manners(ends="no-answer"),
    "+15005550404": Manners(ends="failed"),
    "+15005550603": Manners(keys=("2",)),
    "+15005550480": Manners(),
    "+15005550487": Manners(leaves=True),
}
TAKES_CALLS = Manners(keys=("1",))
ANONYMOUS = "+266696687"
# ID3v2.4 without a tag, then frames of MPEG-1 layer III at 128 kbit/s and 44.1 kHz, 417 bytes each: a moment of silence
SOUND = b"ID3\x04\0\0\0\0\0\0" + (b"\xff\xfb\x90\x64" + bytes(413)) * 4


class TwilioVoiceSimulator(Simulator[Connection, Number]):
    """One Twilio account. Whoever is called answers, presses 1 where a key is asked for, and talks for 20 s, but:

    +15005550001  refused with 21217, no valid number        +15005550486  the line is busy
    +15005550002  refused with 21214, can't be reached       +15005550408  nobody answers
    +15005550003  refused with 21215, country not enabled    +15005550404  fails, there is no such number
    +15005550004  refused with 21216, blocked                +15005550603  answers and presses 2
    +15005550429  HTTP 429, code 20429                       +15005550480  answers and presses nothing, as mailboxes do
    +15005550500  HTTP 500, and no call was placed           +15005550487  answers and hangs up at once
    +15005550502  HTTP 500, and the call was placed

    and +15005550001 as our own number (21212). Telephone time runs ten times as fast as ours.

    Somebody who calls us presses what the field `script` has, one key at each prompt, such as `1` or `0,2`; `hangup`
    hangs up, `silent` leaves an empty tape. `verified=1`: the carrier vouches for the number; `anonymous=1`: it is not
    shown; `name` is the caller's.
    """

    channel = "voice"
    takes_fields = True
    needs_text = False
    scale = 0.1

    def __init__(self, settings: Connection, hook_url: str) -> None:
        super().__init__(settings, hook_url)
        self._calls = Calls()

    def deliver(self, account: Number, sender: str, text: str) -> Request:
        """The first request of `deliveries`."""
        return self.deliveries(account, sender, text)[0].request

    def deliveries(self, account: Number, sender: str, text: str) -> tuple[Later, ...]:
        """A call to one of our numbers, to its end; nobody hears the text."""
        more = {"StirVerstat": ATTESTED} if self.fields.get("verified") else {}
        if name := self.fields.get("name"):
            more["CallerName"] = name
        leg = Leg(
            to=plain(account.address) or "",
            sender=ANONYMOUS if self.fields.get("anonymous") else sender,
            direction="inbound",
            watch=Watch(f"{self.hook_url}/ended", frozenset({"completed"})),
            more=more,
        )
        keys = tuple(key.strip() for key in self.fields.get("script", "").split(","))
        return told(self._player().incoming(self._calls.keep(leg), self.hook_url, keys))

    def answer(self, request: Request) -> Answer:
        """The resources Calls and Recordings; there is no other."""
        if not is_login(self.settings, request):
            return _refuse(20003)
        base = f"/2010-04-01/Accounts/{self.settings.sid}"
        called = urlsplit(request.url).path.removeprefix(base)
        if called == "/Calls.json":
            return self._place(request) if request.method == "POST" else self._list(request)
        if found := re.fullmatch("/Calls/(CA[0-9a-f]{32}).json", called):
            return self._one(request, found[1])
        if request.method == "GET" and re.fullmatch("/Recordings/RE[0-9a-f]{32}.mp3", called):
            return Answer(Response(headers={"content-type": "audio/mpeg"}, body=SOUND))
        return _refuse(20404)

    def _place(self, request: Request) -> Answer:
        try:
            form = request.form
        except Malformed:
            form = Form(())
        if code := _objection(form):
            return _refuse(code)
        events = frozenset(value for name, value in form.pairs if name == "StatusCallbackEvent") or {"completed"}
        watch = Watch(urldefrag(form.get("StatusCallback", "")).url, frozenset(events))
        leg = self._calls.keep(Leg(to=form["To"], sender=form["From"], direction="outbound-api", watch=watch))
        created = Response.of_json(leg.shown(self.settings), 201)
        later = told(self._player().placed(leg, form["Url"], float(form.get("Timeout", "60"))))
        return Answer(_refuse(20500).response if form["To"] == BROKEN_ANSWER else created, later)

    def _list(self, request: Request) -> Answer:
        """https://www.twilio.com/docs/voice/api/call-resource#read-multiple-call-resources"""
        calls = [leg.shown(self.settings) for leg in self._calls.listed(request.query)]
        page = {"page": 0, "page_size": 50, "start": 0, "end": len(calls), "next_page_uri": None}
        return Answer(Response.of_json({"calls": calls, **page}))

    def _one(self, request: Request, sid: str) -> Answer:
        leg = self._calls.find(sid)
        if leg is None:
            return _refuse(20404)
        if request.method == "POST":
            if leg.is_over:
                return _refuse(21220)
            leg.is_over = True
        return Answer(Response.of_json(leg.shown(self.settings)))

    def _player(self) -> Player:
        return Player(self.settings, lambda number: MANNERS.get(number, TAKES_CALLS), self.scale)


def _objection(form: Form) -> int | None:
    """The code of the first thing that is wrong with the order of a call."""
    to, sender, url = form.get("To", ""), form.get("From", ""), form.get("Url", "")
    wrong = (
        (21201, not to),
        (21213, not sender),
        (21205, not url.startswith(("http://", "https://"))),
        (21208, re.fullmatch("[0-9]{1,3}", form.get("Timeout", "60")) is None),
        (REFUSED_CALLERS.get(sender), sender in REFUSED_CALLERS),
        (REFUSED_NUMBERS.get(to), to in REFUSED_NUMBERS),
        (21211, not _is_number(to)),
    )
    return next((code for code, true in wrong if true), None)


def _refuse(code: int) -> Answer:
    return refused(code, ERRORS)


def _is_number(text: str) -> bool:
    try:
        addresses.build("tel", text)
    except InvalidAddress:
        return False
    return True

"""Telephone calls by Twilio's Programmable Voice, from us and to us. Who is called when is core's to decide."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote, urlencode

from msgspec import Meta, Struct

from sluiceway import (
    Account,
    Ambiguous,
    Caller,
    CallStep,
    Capabilities,
    Chars,
    Consulting,
    Dial,
    Flow,
    Form,
    Gateway,
    Intake,
    Malformed,
    MediaFetcher,
    Rejected,
    Request,
    Retries,
    Wanted,
    Webhook,
)

from .. import _twilio
from .._origin import origin
from .._twilio import API, Connection
from ._number import Number, plain
from ._phrases import ENGLISH
from ._scenes import scene
from ._step import Naming, link, read
from ._twiml import Page
from ._voice_errors import ERRORS

# https://www.twilio.com/docs/voice/api/call-resource#statuscallbackevent
EVENTS = ("initiated", "ringing", "answered", "completed")
# What Twilio says of a call that has ended already
OVER = frozenset({"404", "20404", "21220"})
CLOCKS = datetime.timedelta(seconds=5)
"""By so much Twilio's clock and ours may differ."""
NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)
BROKEN = Page("en-GB").say(ENGLISH["broken"]).hang_up().reply()


class TwilioVoice(Gateway[Connection, Number], Webhook, Caller, MediaFetcher):
    """Calls from and to our numbers. A number's webhook is the hook itself, its status callback the hook's `/ended`.

    https://www.twilio.com/docs/voice/twiml#request-parameters
    """

    channel = "voice"
    schemes = ("tel",)
    capabilities = Capabilities(text=Chars(200), retries=Retries.BRIEF)
    errors = ERRORS
    accepted = BROKEN

    def __init__(self, settings: Connection, hook_url: str = "", accounts: Iterable[Number] = ()) -> None:
        super().__init__(settings, hook_url, accounts)
        self._naming = Naming(settings.token)
        self._nicks = {self._naming.number(ours): ours for ours in self.accounts}

    def verify(self, request: Request) -> None:
        """Twilio signs the whole URL: what it says of the call is as we wrote it."""
        _twilio.verify(request, self.settings.token)

    def receive(self, request: Request) -> Intake | Consulting[Intake]:
        query, form = request.query, request.form
        nick = query.get("n")
        ours = form.required("To") if nick is None else self._nicks.get(nick)
        if ours is None:
            raise Malformed("the number that this call is on has no account any more")
        number = self.accounts.get(ours)
        if number is None:
            return self._stranger(form, ours)
        return scene(read(request, self._naming, number, ours, self.hook_url))

    def dial(self, order: Dial[Number]) -> Flow[str]:
        """https://www.twilio.com/docs/voice/api/call-resource#create-a-call-resource"""
        response = yield Request.post_form(self._api("Calls"), self._order(order), basic=self.settings.basic)
        if not 200 <= response.status < 300:
            raise _twilio.refusal(self, response)
        try:
            return response.json(_Created).sid
        except Malformed as error:
            raise Ambiguous("Twilio took the call, but its answer can't be read") from error

    def find(self, order: Dial[Number]) -> Flow[str | None]:
        """https://www.twilio.com/docs/voice/api/call-resource#read-multiple-call-resources"""
        since, to = order.since - CLOCKS, _callable(order.address)
        day = since.astimezone(datetime.UTC).date().isoformat()
        query = {"To": to, "From": self.identity(order.account), "StartTime>": day, "PageSize": 50}
        url = f"{self._api('Calls')}?{urlencode(query)}"
        response = yield Request.get(url, basic=self.settings.basic, repeatable=True)
        if response.status != 200:
            raise _twilio.refusal(self, response)
        try:
            calls = response.json(_Listed).calls
        except Malformed as error:
            raise Ambiguous("Twilio's list of calls can't be read") from error
        placed = [call for call in calls if call.to == to and call.direction == "outbound-api" and call.moment >= since]
        return min(placed, key=lambda call: call.moment).sid if placed else None

    def hang_up(self, account: Account, external_id: str) -> Flow[None]:
        """https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource"""
        url = self._api(f"Calls/{quote(external_id, safe='')}")
        basic = self.settings.basic
        response = yield Request.post_form(url, [("Status", "completed")], basic=basic, repeatable=True)
        if 200 <= response.status < 300:
            return
        error = _twilio.refusal(self, response)
        if not (isinstance(error, Rejected) and error.provider_code in OVER):
            raise error

    def media_hosts(self) -> tuple[str, ...]:
        """The API's, and that of `api_url`: it has the recordings itself."""
        return (origin(API).removeprefix("https://"), origin(self.settings.api_url))

    def locate(self, wanted: Wanted[Number]) -> Flow[Request]:
        """https://www.twilio.com/docs/voice/api/recording#fetch-a-recording-media-file

        The login is for the API alone, whatever address a delivery names.
        """
        yield from ()  # nobody need be asked
        ours = origin(wanted.reference) in (API, origin(self.settings.api_url))
        return Request.get(wanted.reference, basic=self.settings.basic if ours else None)

    def _order(self, order: Dial[Number]) -> list[tuple[str, str]]:
        ours, ring_s = self.identity(order.account), max(order.ring_ms // 1000, 1)
        query = {"call": order.call_id, "attempt": order.attempt, "leg": order.leg, "n": self._naming.number(ours)}
        return [
            ("To", _callable(order.address)),
            ("From", ours),
            ("Url", link(self.hook_url, order.leg, {**query, "ring": ring_s})),
            ("Timeout", str(ring_s)),
            ("StatusCallback", link(self.hook_url, "status", query)),
            *(("StatusCallbackEvent", event) for event in EVENTS),
        ]

    def _stranger(self, form: Form, ours: str) -> Intake:
        """A call to a number that is no account: core says so, by its name."""
        sid = form.required("CallSid")
        arrived = CallStep(at=ours, key=f"{sid}:arrived", call_id=self._naming.call(sid), step="arrived")
        return Intake(facts=(arrived,), reply=BROKEN)

    def _api(self, resource: str) -> str:
        return f"{self.settings.api_url.rstrip('/')}/2010-04-01/Accounts/{self.settings.sid}/{resource}.json"


class _Created(Struct, frozen=True):
    sid: Annotated[str, Meta(min_length=1)]


class _Call(Struct, frozen=True):
    sid: Annotated[str, Meta(min_length=1)]
    to: str | None = None
    direction: str | None = None
    date_created: str | None = None
    start_time: str | None = None

    @property
    def moment(self) -> datetime.datetime:
        """When it was placed; long ago where that can't be read."""
        try:
            moment = email.utils.parsedate_to_datetime(self.date_created or self.start_time or "")
        except ValueError:
            return NEVER
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


class _Listed(Struct, frozen=True):
    calls: tuple[_Call, ...]


def _callable(address: str) -> str:
    number = plain(address)
    if number is None:
        raise Rejected("there is no telephone number: calls go to tel: addresses")
    return number

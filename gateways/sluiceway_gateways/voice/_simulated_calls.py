"""The calls of a simulated Twilio account: what the API shows of each, and what its deliveries say. Plays none."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from sluiceway import Form
from sluiceway_contracts import now

from .._twilio import Connection
from .._twilio_simulation import moment, new_sid

KEPT = 500
COUNTRIES = {"+1": "US", "+44": "GB", "+49": "DE"}
OVER = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


class Watch(Struct, frozen=True):
    """Where Twilio tells how a leg goes on, and what of it; `url` is empty where nobody asked for that."""

    url: str = ""
    events: frozenset[str] = frozenset()


UNWATCHED = Watch()


class Leg:
    """One leg: with whom, which way, and how far it is. Whoever hangs up by the API sets `is_over`."""

    def __init__(
        self,
        *,
        to: str,
        sender: str,
        direction: str,
        parent: Leg | None = None,
        watch: Watch = UNWATCHED,
        more: Mapping[str, str] = {},
    ) -> None:
        self.sid = new_sid("CA")
        self.to = to
        self.sender = sender
        self.direction = direction
        self.parent = parent
        self.watch = watch
        self.status = "ringing" if direction == "inbound" else "queued"
        self.created = now()
        self.answered_at_s: float | None = None
        self.duration_s = 0
        self.is_over = False
        self._more = more
        self._told = 0

    def fields(self, settings: Connection) -> dict[str, str]:
        """What every request about it has, in Twilio's order: the alphabet's."""
        fields = {
            "AccountSid": settings.sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self.sid,
            "CallStatus": self.status,
            "Called": self.to,
            "CalledCountry": _country(self.to),
            "Caller": self.sender,
            "CallerCountry": _country(self.sender),
            "Direction": self.direction,
            "From": self.sender,
            "FromCountry": _country(self.sender),
            "To": self.to,
            "ToCountry": _country(self.to),
            **self._more,
        }
        return fields | ({"ParentCallSid": self.parent.sid} if self.parent is not None else {})

    def progress(self, settings: Connection) -> dict[str, str]:
        """What a status callback has. https://www.twilio.com/docs/voice/api/call-resource#statuscallback"""
        fields = self.fields(settings) | {
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._told),
            "Timestamp": moment(),
        }
        self._told += 1
        if self.status == "completed":
            fields |= {"CallDuration": str(self.duration_s), "Duration": str(-(-self.duration_s // 60))}
        return fields | ({"SipResponseCode": "404"} if self.status == "failed" else {})

    def shown(self, settings: Connection) -> dict[str, Any]:
        """https://www.twilio.com/docs/voice/api/call-resource#call-properties"""
        base = f"/2010-04-01/Accounts/{settings.sid}/Calls/{self.sid}"
        created = email.utils.format_datetime(self.created)
        return {
            "account_sid": settings.sid,
            "annotation": None,
            "answered_by": None,
            "api_version": "2010-04-01",
            "caller_name": None,
            "date_created": created,
            "date_updated": moment(),
            "direction": self.direction,
            "duration": str(self.duration_s) if self.status in OVER else None,
            "end_time": moment() if self.status in OVER else None,
            "forwarded_from": None,
            "from": self.sender,
            "from_formatted": self.sender,
            "group_sid": None,
            "parent_call_sid": self.parent.sid if self.parent is not None else None,
            "phone_number_sid": "PN" + "0" * 32,
            "price": None,
            "price_unit": "USD",
            "queue_time": "0",
            "sid": self.sid,
            "start_time": created,
            "status": self.status,
            "subresource_uris": {"recordings": f"{base}/Recordings.json"},
            "to": self.to,
            "to_formatted": self.to,
            "trunk_sid": None,
            "uri": f"{base}.json",
        }


class Calls:
    """The last 500 of them."""

    def __init__(self) -> None:
        self._legs: dict[str, Leg] = {}

    def keep(self, leg: Leg) -> Leg:
        self._legs[leg.sid] = leg
        while len(self._legs) > KEPT:
            del self._legs[next(iter(self._legs))]
        return leg

    def find(self, sid: str) -> Leg | None:
        return self._legs.get(sid)

    def listed(self, query: Form) -> list[Leg]:
        """Those to and from these numbers, since this day, the newest first."""
        found = [leg for leg in self._legs.values() if _fits(leg, query)]
        return sorted(found, key=lambda leg: leg.created, reverse=True)[: int(query.get("PageSize", "50"))]


def _fits(leg: Leg, query: Form) -> bool:
    since = query.get("StartTime>", "")[:10]
    return (
        query.get("To") in (None, leg.to)
        and query.get("From") in (None, leg.sender)
        and leg.created.date().isoformat() >= since
    )


def _country(number: str) -> str:
    return next((country for prefix, country in COUNTRIES.items() if number.startswith(prefix)), "")

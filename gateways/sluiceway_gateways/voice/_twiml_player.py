"""Executes TwiML as Twilio would, for the verbs that telephone menus are made of: a call as a story of deliveries.

Of several telephones that ring at once, the one that is answered first is asked first. Nothing here sends or waits.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import urldefrag, urljoin

from msgspec import Struct

from sluiceway import Later, Response
from sluiceway.simulator import Story

from .._twilio import Connection
from .._twilio_simulation import delivery, moment, new_sid
from ._simulated_calls import OVER, UNWATCHED, Leg, Watch

T = TypeVar("T")
Playing: TypeAlias = Generator[Later, Response, T]

CHARS_S = 15
"""So fast Twilio speaks."""
SPOKEN_S = 5
"""So long a message on tape is."""
MAX_DOCUMENTS = 50
HANG_UP, SILENT = "hangup", "silent"


class Manners(Struct, frozen=True, kw_only=True):
    """How somebody answers the telephone, in seconds of telephone time, and what they press, prompt by prompt.

    `ends` is busy, failed or no-answer for one who does not; `leaves`: they hang up as soon as they have answered.
    """

    rings_s: float = 3
    ends: str = ""
    keys: tuple[str, ...] = ()
    leaves: bool = False
    talks_s: float = 20


class Next(NamedTuple):
    """Where the call goes on, and what that is told; an empty `url`: it ends."""

    url: str
    fields: dict[str, str] = {}


END = Next("")


class Player:
    """Plays one call. `manners` says how a number behaves, `scale` how many seconds one of telephone time takes."""

    def __init__(self, settings: Connection, manners: Callable[[str], Manners], scale: float) -> None:
        self._settings = settings
        self._manners = manners
        self._scale = scale
        self._clock_s = 0.0
        self._waited_s = 0.0
        self._afterwards: list[tuple[str, dict[str, str]]] = []

    def placed(self, leg: Leg, url: str, timeout_s: float) -> Story:
        """A call that the API was asked for."""
        manners = self._manners(leg.to)
        yield from self._tell(leg, "initiated")
        self._wait(1)
        yield from self._tell(leg, "ringing")
        if (yield from self._answer(leg, manners, timeout_s)):
            yield from self._perform(leg, url, manners, itertools.cycle(manners.keys))
            yield from self._end(leg)

    def incoming(self, leg: Leg, url: str, keys: tuple[str, ...]) -> Story:
        """Somebody calls a number of the account."""
        leg.answered_at_s = self._clock_s
        yield from self._perform(leg, url, Manners(), iter(keys))
        yield from self._end(leg)

    def _perform(self, leg: Leg, url: str, manners: Manners, keys: Iterator[str]) -> Playing[bool]:
        """Execute a document and those that it leads to; whether they are still on the line at the end."""
        at = Next(url)
        for _ in range(MAX_DOCUMENTS):
            response = yield from self._post(at.url, leg.fields(self._settings) | at.fields)
            leg.status = "in-progress"
            verbs = _document(response)
            if verbs is None or manners.leaves:
                return False
            following: Next | None = None
            for verb in verbs:
                following = END if leg.is_over else (yield from self._verb(leg, verb, at.url, keys))
                if following is not None:
                    break
            if following is None or not following.url:
                return following is None
            at = following
        return False

    def _verb(self, leg: Leg, verb: ET.Element, base: str, keys: Iterator[str]) -> Playing[Next | None]:
        """Where it leads, if anywhere."""
        match verb.tag:
            case "Say" | "Pause" | "Play":
                self._wait(_length_s(verb))
            case "Gather":
                return self._gather(verb, base, keys)
            case "Redirect":
                return Next(urljoin(base, (verb.text or "").strip()))
            case "Dial":
                return (yield from self._dial(leg, verb, base))
            case "Record":
                return (yield from self._record(leg, verb, base, keys))
            case _:  # Hangup, and what nobody here can play
                return END
        return None

    def _gather(self, verb: ET.Element, base: str, keys: Iterator[str]) -> Next | None:
        self._wait(sum(map(_length_s, verb)))
        key = next(keys, "")
        if not key:
            self._wait(float(verb.get("timeout", "5")))
            return None
        if key == HANG_UP:
            return END
        return Next(urljoin(base, verb.get("action", base)), {"Digits": key, "FinishedOnKey": "", "msg": "Gather End"})

    def _record(self, leg: Leg, verb: ET.Element, base: str, keys: Iterator[str]) -> Playing[Next | None]:
        """https://www.twilio.com/docs/voice/twiml/record#attributes-action"""
        key = next(keys, "#")
        self._wait(SPOKEN_S)
        if key == SILENT:
            return None
        recorded = self._recorded(leg, verb, base, SPOKEN_S, "RecordVerb")
        at = Next(urljoin(base, verb.get("action", base)), recorded | {"Digits": key})
        if key != HANG_UP:
            return at
        yield from self._post(at.url, leg.fields(self._settings) | at.fields)
        return END

    def _dial(self, leg: Leg, verb: ET.Element, base: str) -> Playing[Next | None]:
        """https://www.twilio.com/docs/voice/twiml/dial"""
        sender, began_s = verb.get("callerId", leg.sender), self._clock_s
        phones = [_phone(noun, leg, sender, base) for noun in verb.iter("Number")]
        phones.sort(key=lambda phone: self._manners(phone.leg.to).rings_s)
        for phone in phones:
            yield from self._tell(phone.leg, "ringing")
        joined: Leg | None = None
        for phone in phones:
            if joined is None:
                until_s = began_s + float(verb.get("timeout", "30")) - self._clock_s
                joined = yield from self._try(leg, phone, until_s, began_s)
            else:
                yield from self._tell(phone.leg, "canceled")
        if leg.is_over:
            return END
        if not phones or verb.get("action") is None:
            return None
        second = joined or phones[-1].leg
        fields = {
            "DialCallSid": second.sid,
            "DialCallStatus": second.status,
            "DialBridged": str(joined is not None).lower(),
        }
        if second.status == "completed":
            fields["DialCallDuration"] = str(second.duration_s)
        if joined is not None and verb.get("record", "do-not-record") != "do-not-record":
            fields["RecordingUrl"] = self._recorded(leg, verb, base, second.duration_s, "DialVerb")["RecordingUrl"]
        return Next(urljoin(base, verb.get("action", base)), fields)

    def _try(self, leg: Leg, phone: Phone, until_s: float, began_s: float) -> Playing[Leg | None]:
        """The second leg, where both have spoken."""
        other, manners = phone.leg, self._manners(phone.leg.to)
        if not (yield from self._answer(other, manners, until_s, began_s)):
            return None
        stays = not manners.leaves
        if phone.url:
            stays = yield from self._perform(other, phone.url, manners, itertools.cycle(manners.keys))
        if stays and not leg.is_over:
            self._wait(manners.talks_s)
        yield from self._end(other)
        return other if stays and not leg.is_over else None

    def _answer(self, leg: Leg, manners: Manners, timeout_s: float, began_s: float | None = None) -> Playing[bool]:
        """Let it ring, since `began_s`, and tell what comes of it; whether somebody answers."""
        rung_s = 0.0 if began_s is None else self._clock_s - began_s
        if manners.ends or manners.rings_s > rung_s + timeout_s:
            self._wait(1 if manners.ends in {"busy", "failed"} else timeout_s)
            yield from self._tell(leg, manners.ends or "no-answer")
            return False
        self._wait(max(0.0, manners.rings_s - rung_s))
        if leg.is_over:
            yield from self._tell(leg, "canceled")
            return False
        leg.answered_at_s = self._clock_s
        yield from self._tell(leg, "in-progress")
        return True

    def _end(self, leg: Leg) -> Story:
        leg.is_over = True
        leg.duration_s = int(self._clock_s - (leg.answered_at_s or 0.0))
        yield from self._tell(leg, "completed")
        if leg.parent is None:
            for url, fields in self._afterwards:
                yield from self._post(url, fields)

    def _tell(self, leg: Leg, status: str) -> Story:
        """Who watches the leg is told; all that ends it is the event `completed`."""
        leg.status = status
        leg.is_over = leg.is_over or status in OVER
        event = {"in-progress": "answered"}.get(status, status if status in {"initiated", "ringing"} else "completed")
        if leg.watch.url and event in leg.watch.events:
            yield from self._post(leg.watch.url, leg.progress(self._settings))

    def _recorded(self, leg: Leg, verb: ET.Element, base: str, length_s: float, source: str) -> dict[str, str]:
        """A recording: what its verb's action is told; whoever wants to know when it can be fetched is, later."""
        sid = new_sid("RE")
        url = f"{self._settings.api_url.rstrip('/')}/2010-04-01/Accounts/{self._settings.sid}/Recordings/{sid}"
        recorded = {"RecordingUrl": url, "RecordingSid": sid, "RecordingDuration": str(int(length_s))}
        if callback := verb.get("recordingStatusCallback"):
            told = {
                "AccountSid": self._settings.sid,
                "CallSid": leg.sid,
                "RecordingChannels": "2" if source == "DialVerb" else "1",
                "RecordingSource": source,
                "RecordingStartTime": moment(),
                "RecordingStatus": "completed",
                "RecordingTrack": "both",
            }
            self._afterwards.append((urljoin(base, callback), told | recorded))
        return recorded

    def _post(self, url: str, fields: dict[str, str]) -> Playing[Response]:
        after_s, self._waited_s = self._waited_s * self._scale, 0.0
        return (yield Later(after_s, delivery(self._settings, urldefrag(url).url, fields)))

    def _wait(self, seconds: float) -> None:
        self._clock_s += seconds
        self._waited_s += seconds


class Phone(NamedTuple):
    """One telephone that a <Dial> rings, and the document that is played there."""

    leg: Leg
    url: str


def _phone(noun: ET.Element, parent: Leg, sender: str, base: str) -> Phone:
    callback = noun.get("statusCallback")
    events = frozenset(noun.get("statusCallbackEvent", "completed").split())
    watch = Watch(urljoin(base, callback), events) if callback else UNWATCHED
    leg = Leg(to=(noun.text or "").strip(), sender=sender, direction="outbound-dial", parent=parent, watch=watch)
    url = noun.get("url")
    return Phone(leg, urljoin(base, url) if url else "")


def _document(response: Response) -> list[ET.Element] | None:
    """Its verbs; None where Twilio would say that an application error has occurred, and hang up."""
    if not 200 <= response.status < 300:
        return None
    try:
        root = ET.fromstring(response.body)  # noqa: S314  # our own gateway wrote it
    except ET.ParseError:
        return None
    return list(root) if root.tag == "Response" else None


def _length_s(verb: ET.Element) -> float:
    match verb.tag:
        case "Say":
            return len(verb.text or "") / CHARS_S
        case "Pause":
            return float(verb.get("length", "1"))
    return 5.0

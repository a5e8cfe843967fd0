"""One Twilio login with one number that is called, a core that knows little, and the recorded payloads of calls."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec.structs import replace
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway import (
    Ask,
    CallStep,
    CallView,
    Intake,
    Later,
    QueueView,
    Received,
    Request,
    Response,
    Secret,
    Unavailable,
)
from sluiceway.gateway import AnyFact
from sluiceway.testing import deliver
from sluiceway.wire import FORM
from sluiceway_gateways._twilio import Connection
from sluiceway_gateways.voice._number import Number
from sluiceway_gateways.voice.twilio import TwilioVoice

SAMPLES = Path(__file__).parents[1] / "samples" / "twilio" / "voice"
TOKEN = "12345"
HOOK = "https://gw.example/hooks/calls"
OURS, CUSTOMER, AGENT, OPERATOR = "+447700900123", "+447700900456", "+447700900789", "+447700900111"
CALL_ID = "019c22f1-d578-7625-af24-35aeedc2728d"
LOGIN = Connection(sid="AC" + "a" * 32, token=Secret(TOKEN))
NUMBER = Number(connection="calls", tenant="acme", address=f"tel:{OURS}", skill="orders", operator=(f"tel:{OPERATOR}",))
VIEW = CallView(
    call_id=CALL_ID,
    state="offered",
    attempt=2,
    first="agent",
    customer=f"tel:{CUSTOMER}",
    agent=f"tel:{AGENT}",
    name="Ada",
    reason="order A-1042",
)
BUSY = QueueView(prefixes=("+44",), is_open=True, waiting=2, reach=(f"tel:{AGENT}",))
CLOSED = QueueView(prefixes=("+44",), is_open=False)


def voice(number: Number = NUMBER) -> TwilioVoice:
    return TwilioVoice(LOGIN, HOOK, [number])


GATEWAY = voice()


def sample(name: str) -> dict[str, str]:
    """The fields of a recorded delivery."""
    return dict(parse_qsl((SAMPLES / f"{name}.form").read_text(), keep_blank_values=True))


def signed(url: str, fields: Mapping[str, str]) -> Request:
    """A request of Twilio's to this address, signed by its own library."""
    url = url.partition("#")[0]
    signature = RequestValidator(TOKEN).compute_signature(url, dict(fields))
    return Request(
        method="POST",
        url=url,
        headers={"content-type": f"{FORM}; charset=UTF-8", "x-twilio-signature": signature},
        body=urlencode(fields).encode(),
        subpath=urlsplit(url.removeprefix(HOOK)).path.strip("/"),
    )


def address(name: str, attempt: int = 2, leg: str = "", **flags: int) -> str:
    """Where a step is, as the gateway itself writes it."""
    query: dict[str, object] = {
        "call": CALL_ID,
        "attempt": attempt,
        "leg": leg,
        "n": GATEWAY._naming.number(OURS),
    } | flags
    return f"{HOOK}/{name}?{urlencode({key: value for key, value in query.items() if value or key == 'key'})}"


def step(
    name: str,
    fields: Mapping[str, str],
    *answers: Any,
    gateway: TwilioVoice = GATEWAY,
    attempt: int = 2,
    leg: str = "",
    flags: Mapping[str, int] = {},
) -> Intake:
    """A step of a call that we placed, taken in; what it asks of core gets these answers."""
    return deliver(gateway, signed(address(name, attempt, leg, **flags), fields), *answers)


def to_us(
    name: str, fields: Mapping[str, str], *answers: Any, gateway: TwilioVoice = GATEWAY, flags: Mapping[str, int] = {}
) -> Intake:
    """A step of a call that somebody made to us."""
    return step(name, fields, *answers, gateway=gateway, attempt=0, flags=flags)


def steps(intake: Intake) -> list[str]:
    """The words of what was told."""
    return [fact.step if isinstance(fact, CallStep) else type(fact).__name__ for fact in intake.facts]


def first(intake: Intake) -> CallStep:
    fact = intake.facts[0]
    assert isinstance(fact, CallStep)
    return fact


def document(intake: Intake) -> ET.Element:
    """The TwiML of an answer."""
    assert intake.reply.status == 200
    assert intake.reply.headers == {"content-type": "text/xml"}
    return ET.fromstring(intake.reply.body)


def verbs(intake: Intake) -> list[str]:
    return [verb.tag for verb in document(intake)]


def verb(intake: Intake, tag: str) -> ET.Element:
    found = document(intake).find(tag)
    assert found is not None
    return found


def said(intake: Intake) -> str:
    """All that is said, in order."""
    return " ".join(verb.text or "" for verb in document(intake).iter("Say"))


def goes_to(url: str | None) -> tuple[str, dict[str, str]]:
    """The step at an address of ours, and its state without the id of our number."""
    assert url is not None
    assert url.startswith(HOOK)
    assert url.endswith("#rc=5&rp=all")
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    assert query.pop("n") == GATEWAY._naming.number(OURS)
    return parts.path.removeprefix(urlsplit(HOOK).path).strip("/"), query


class Core:
    """What core would do, as far as a call sees it: it answers what is asked from a dict, and keeps what is told."""

    def __init__(self, gateway: TwilioVoice = GATEWAY, queue: QueueView = BUSY) -> None:
        self.gateway = gateway
        self.queue = queue
        self.views: dict[str, CallView] = {}
        self.facts: list[AnyFact] = []
        self.heard: list[str] = []
        self.asked: list[Ask] = []
        self.hook = HOOK
        self.is_down = False

    @property
    def told(self) -> list[str]:
        """Each fact once, as core keeps them."""
        once = {fact.key: fact for fact in reversed(self.facts)}
        kept = [fact for fact in self.facts if once.get(fact.key) is fact]
        return [f"{f.leg} {f.step}".strip() if isinstance(f, CallStep) else type(f).__name__ for f in kept]

    @property
    def messages(self) -> list[Received]:
        return [fact for fact in self.facts if isinstance(fact, Received)]

    def answer(self, request: Request) -> Response:
        """A delivery, verified and taken in."""
        request = replace(request, subpath=urlsplit(request.url.removeprefix(self.hook)).path.strip("/"))
        self.gateway.verify(request)
        taken = self.gateway.receive(request)
        try:
            taken = taken if isinstance(taken, Intake) else self._consulted(taken)
        except Unavailable:
            return Response(status=503)
        self.facts += taken.facts
        for fact in taken.facts:
            self._note(fact)
        self.heard += [verb.text or "" for verb in ET.fromstring(taken.reply.body or b"<_/>").iter("Say")]
        return taken.reply

    def _consulted(self, flow: Any) -> Intake:
        try:
            asked = next(flow)
            self.asked.append(asked)
            if self.is_down:
                flow.throw(Unavailable("NATS is away"))
            flow.send(self.queue if asked.what == "queue" else self.views.get(asked.key))
        except StopIteration as stop:
            intake: Intake = stop.value
            return intake
        raise AssertionError("a step asks once at most")

    def _note(self, fact: AnyFact) -> None:
        match fact:
            case CallStep(step="arrived"):
                view = CallView(call_id=fact.call_id, state="arrived", attempt=0, first="agent", customer=fact.address)
                self.views[fact.call_id] = view
            case CallStep(step="accepted" | "connected" as state) if fact.call_id in self.views:
                self.views[fact.call_id] = replace(self.views[fact.call_id], state=state)


def play_out(deliveries: tuple[Later, ...], answer: Callable[[Request], Response]) -> list[Later]:
    """Make deliveries and all that follows from them, in no time; what was made."""
    waiting, made = deque(deliveries), []
    while waiting:
        later = waiting.popleft()
        made.append(later)
        response = answer(later.request)
        if later.then is not None:
            waiting.extendleft(reversed(later.then(response)))
    return made

"""Every document that voice.twilio can answer with is one that Twilio understands, and its addresses tell nothing."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial

import pytest
from msgspec.structs import replace

from sluiceway import CallView, Intake, QueueView, Unavailable
from sluiceway_contracts import Wait
from sluiceway_gateways.voice._number import Number
from sluiceway_gateways.voice._scenes import SCENES, TRIES
from sluiceway_gateways.voice._twiml import Page
from sluiceway_gateways.voice.twilio import TwilioVoice

from .twilio_voice import AGENT, BUSY, CLOSED, NUMBER, VIEW, sample, step, voice
from .twiml_grammar import faults

HOSTILE = 'O\'Neil & <Say/> "quoted" \x00\x0b\ud800\U0001f600 {name} ' + "long " * 2000
VIEWS: tuple[CallView | None, ...] = (
    None,
    VIEW,
    replace(VIEW, state="accepted", record=True),
    replace(VIEW, state="connected", name=None, reason=None),
    replace(VIEW, state="ended"),
    replace(VIEW, attempt=3),
    replace(VIEW, customer=None, agent=None, record=True),
    replace(VIEW, customer="mailto:ada@example.org", agent="mailto:x@example.org"),
    replace(VIEW, name=HOSTILE, reason=HOSTILE, record=True),
)
QUEUES = (
    BUSY,
    CLOSED,
    QueueView(prefixes=("+44",), is_open=False, reach=(f"tel:{AGENT}",)),
    QueueView(prefixes=("+44",), is_open=True, free=tuple(f"tel:+4477009008{n}" for n in range(10, 30)), waiting=1),
    QueueView(prefixes=("+44",), is_open=True, waiting=1, wait_ms=Wait(low=0, high=1)),
    QueueView(prefixes=("+44",), is_open=True, free=("mailto:x@example.org",), wait_ms=Wait(low=240_000, high=900_001)),
)
NUMBERS = (
    NUMBER,
    replace(NUMBER, operator=(), lang="de-DE"),
    replace(NUMBER, operator=(), voicemail=False, phrases={"closed": "Shut & bolted <today>."}),
)
SECOND_LEGS = {"whisper", "agent-whisper", "agent-accept", "inbound-whisper", "inbound-accept"}
TRIED: tuple[dict[str, int], ...] = ({}, {"try": TRIES - 1}, {"try": TRIES})
FLAGS: tuple[dict[str, int], ...] = ({}, {"person": 1, "rec": 1, "ring": 25, "attested": 1}, {"key": 0})
FROM_US = (
    *("agent", "agent-pressed-1", "agent-pressed-2", "second", "second-pressed-1", "customer"),
    *("dialled-completed", "dialled-unbridged", "dialled-busy", "dialled-nowhere"),
)
FROM_CALLERS = (
    *("called-attested", "caller", "caller-anonymous", "caller-after-dial", "caller-after-talk", "left", "ended"),
    *("caller-pressed-0", "caller-pressed-1", "caller-pressed-2", "caller-pressed-7", "caller-anonymous-pressed-1"),
    *("left-anonymous", "second-agent", "second-pressed-1"),
)
TO_US = {"", "menu", "choice", "left", "inbound-whisper", "inbound-accept"}
ASK_FOR_THE_QUEUE = {"", "menu", "choice"}


def intakes(gateway: TwilioVoice, name: str) -> Iterator[Intake]:
    """A step, in every state that we could think of."""
    forms, legs = (FROM_CALLERS, ("",)) if name in TO_US else (FROM_US, ("agent", "customer"))
    for form, leg, flags in itertools.product(forms, legs, FLAGS):
        take = partial(step, name, sample(form), gateway=gateway, leg=leg, attempt=0 if name in TO_US else 2)
        try:
            yield take(flags=flags)
        except AssertionError:  # it asks
            yield from (take(answer, flags=flags) for answer in (QUEUES if name in ASK_FOR_THE_QUEUE else VIEWS))
            yield from (take(Unavailable("NATS is away"), flags=flags | tried) for tried in TRIED)


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.hears != "nobody"])
@pytest.mark.parametrize("number", NUMBERS, ids=["english", "german", "bare"])
def test_every_document_is_in_twilios_grammar_and_its_addresses_tell_nothing(number: Number, name: str) -> None:
    documents = {intake.reply.body for intake in intakes(voice(number), name) if intake.reply.status == 200}
    assert documents
    for document in documents:
        assert [*faults(document)] == [], document.decode()
        root = ET.fromstring(document)
        assert name not in SECOND_LEGS or root.find("Dial") is None
        assert all(len(dial) <= 10 for dial in root.iter("Dial"))
        for url in urls(root):
            assert re.fullmatch(
                r"https://gw\.example/hooks/calls(/[a-z-]+)?\?[a-z]+=[0-9a-z-]+(&[a-z]+=[0-9a-z-]+)*#rc=5&rp=all", url
            )
            assert re.search("[0-9]{9}", re.sub("[?&](call|n)=[^&#]*", "", url)) is None, url


def urls(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if element.tag == "Redirect":
            yield element.text or ""
        yield from (value for value in element.attrib.values() if value.startswith("https:"))


def test_what_is_parked_is_answered_with_a_document() -> None:
    assert [*faults(TwilioVoice.accepted.body)] == []


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("<Answer/>", "the root is Answer"),
        ("<Response><Shout>x</Shout></Response>", "<Shout> in <Response>"),
        ("<Response><Gather><Dial>x</Dial></Gather></Response>", "<Dial> in <Gather>"),
        ("<Response><Dial><Number sendDigit='1'>x</Number></Dial></Response>", "<Number sendDigit>"),
        ("<Response><Dial answerOnBridge='True'><Number>x</Number></Dial></Response>", '<Dial answerOnBridge="True">'),
        ("<Response><Dial timeout='0'><Number>x</Number></Dial></Response>", '<Dial timeout="0">'),
        ("<Response><Redirect/></Response>", "the text of <Redirect>"),
        ("<Response><Gather action='/x'><Say>x</Say></Gather></Response>", '<Gather action="/x">'),
    ],
)
def test_the_grammar_knows_a_fault(document: str, fault: str) -> None:
    assert [*faults(document.encode())] == [fault]


def test_what_xml_can_not_have_is_left_out_and_the_rest_is_said() -> None:
    body = Page("en-GB").say("a\x00b", "<c>\ud800", "\U0001f600").reply().body
    assert ET.fromstring(body).findtext("Say") == "a b <c>  \U0001f600"

"""TwiML documents, verb by verb, written by Twilio's own library. Decides nothing.

https://www.twilio.com/docs/voice/twiml
"""

from __future__ import annotations

import re

from msgspec import Struct
from twilio.twiml.voice_response import Dial, Gather, VoiceResponse  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway import Response

LONGEST_S = 14_400
"""Twilio ends every call then."""
MESSAGE_S = 180
WAIT_FOR_KEY_S = 8
MAX_SAID_CHARS = 3000
"""Of one <Say>: Twilio takes 4,096 characters."""
# What XML can't have: https://www.w3.org/TR/xml/#charsets
UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Line(Struct, frozen=True, kw_only=True):
    """Whom to join to the call: all `numbers` ring at once, and each hears the document at `url` first.

    At `then` Twilio asks how it goes on. With `recording`, both sides are recorded and it is told there.
    """

    numbers: tuple[str, ...]
    ours: str
    url: str
    then: str
    ring_s: int
    status: str | None = None
    recording: str | None = None


class Page:
    """One document, in one language. Each method adds a verb."""

    def __init__(self, lang: str) -> None:
        self._lang = lang
        self._document = VoiceResponse()

    def say(self, *texts: str) -> Page:
        self._document.say(_spoken(texts), language=self._lang)
        return self

    def pause(self, seconds: int) -> Page:
        self._document.pause(length=seconds)
        return self

    def gather(self, url: str, *texts: str) -> Page:
        """Say this, and wait for one key; it is told at `url`. Without one the document goes on."""
        gather = Gather(num_digits=1, timeout=WAIT_FOR_KEY_S, finish_on_key="", action=url)
        gather.say(_spoken(texts), language=self._lang)
        self._document.append(gather)
        return self

    def dial(self, line: Line) -> Page:
        dial = Dial(
            action=line.then,
            caller_id=line.ours,
            timeout=line.ring_s,
            time_limit=LONGEST_S,
            answer_on_bridge=True,
            record="record-from-answer-dual" if line.recording else None,
            recording_status_callback=line.recording,
        )
        events = "ringing answered completed" if line.status else None
        for number in line.numbers:
            dial.number(number, url=line.url, status_callback=line.status, status_callback_event=events)
        self._document.append(dial)
        return self

    def record(self, then: str, stored: str) -> Page:
        """Have a message left, told at `then` at once and at `stored` when the file is there."""
        self._document.record(
            action=then, max_length=MESSAGE_S, play_beep=True, trim="trim-silence", recording_status_callback=stored
        )
        return self

    def redirect(self, url: str) -> Page:
        self._document.redirect(url)
        return self

    def hang_up(self) -> Page:
        self._document.hangup()
        return self

    def reply(self) -> Response:
        """The document as the answer to Twilio."""
        return Response(headers={"content-type": "text/xml"}, body=self._document.to_xml().encode())


def _spoken(texts: tuple[str, ...]) -> str:
    return UNSPEAKABLE.sub(" ", " ".join(texts))[:MAX_SAID_CHARS]

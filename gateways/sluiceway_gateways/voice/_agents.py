"""What agents hear on their own telephone, and what they press: with 1 they have the call, so that no mailbox has."""

from __future__ import annotations

from sluiceway import CallStep, CallView, Consulting, Intake, Unavailable

from ._step import Step, told
from ._twiml import Line, Page

GONE = frozenset({"accepted", "connected", "ended"})
"""States of a call in which a telephone that still rings is too late."""


def answered(step: Step) -> CallStep:
    return step.fact("answered", "agent")


def ring(step: Step, numbers: tuple[str, ...], ring_s: int, then: str) -> Line:
    """All of these at once, for somebody who calls us: the first who presses 1 has the call."""
    return Line(numbers=numbers, ours=step.ours, url=step.url("inbound-whisper"), then=then, ring_s=ring_s)


def offer(step: Step, view: CallView | None, then: str) -> Page:
    """Twice what the call is about; nothing pressed is as good as declined."""
    words, url = step.number.words, step.url(then)
    texts = words.offer() if view is None else words.offer(_short(view.name), _short(view.reason), view.record)
    return step.page().gather(url, *texts).gather(url, *texts).redirect(url)


def decline(step: Step) -> Intake:
    """They pass it on. Of several who are offered a call to us, that is nobody's business."""
    facts = (step.fact("declined", "agent"),) if step.attempt else ()
    return told(step.page("passed_on").hang_up(), *facts)


def take(step: Step) -> Intake:
    """With 1 both are joined: an empty document lets Twilio do so."""
    if step.key != "1":
        return decline(step)
    return told(step.page(), step.fact("accepted", "agent"), step.fact("connected", "agent"))


def whisper(step: Step) -> Consulting[Intake]:
    """One of those whom somebody who calls us is offered to. They need not wait for what core knows."""
    try:
        view = yield step.about_call()
    except Unavailable:
        view = None
    if view is not None and view.state in GONE:
        return told(step.page("taken_back").hang_up())
    return told(offer(step, view, "inbound-accept"))


def _short(text: str | None) -> str | None:
    return text and " ".join(text.split())[:200].rstrip(" .")

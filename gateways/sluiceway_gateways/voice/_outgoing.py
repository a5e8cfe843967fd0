"""The steps of a call that we place: one side answers, then the other is dialled and both are joined.

Who is on the line first is core's to decide.
"""

from __future__ import annotations

from sluiceway import CallStep, Consulting, Intake

from . import _agents
from ._agents import decline, offer
from ._dialled import is_bridged, second
from ._number import plain
from ._step import Step, told
from ._twiml import Line

IN_HAND = ("offered", "accepted", "connected")
"""States in which an attempt goes on: Twilio may ask twice, and core may be ahead of it."""


def answered(step: Step) -> CallStep:
    return step.fact("answered", "customer")


def agent(step: Step) -> Consulting[Intake]:
    """The agent was dialled first, and answered."""
    view = yield step.about_call()
    if not step.is_about(view, "offered"):
        return told(step.page("taken_back").hang_up(), _agents.answered(step))
    return told(offer(step, view, "accept"), _agents.answered(step))


def accept(step: Step) -> Consulting[Intake]:
    """The agent pressed a key, or none: with 1 the customer is dialled."""
    if step.key != "1":
        return decline(step)
    view = yield step.about_call()
    if not step.is_about(view, *IN_HAND):
        return told(step.page("taken_back").hang_up())
    accepted, number = step.fact("accepted", "agent"), plain(view.customer)
    if number is None:
        return told(step.page("customer_missed").hang_up(), accepted, step.nobody("customer"))
    return told(step.page("calling").dial(_other(step, number, "customer", "whisper", view.record)), accepted)


def whisper(step: Step) -> Intake:
    """The customer was dialled second, and answered: when this is said, both are joined."""
    page = step.page("greeting", "consent") if step.has("rec") else step.page("greeting")
    return told(page, step.fact("connected"))


def customer(step: Step) -> Consulting[Intake]:
    """The customer was dialled first, and answered: now the agent is."""
    view = yield step.about_call()
    if not step.is_about(view, *IN_HAND):
        return told(step.page("not_needed").hang_up(), answered(step))
    number = plain(view.agent)
    if number is None:
        return told(step.page("agent_missed").hang_up(), answered(step), step.nobody("agent"))
    page = step.page("greeting_wait", "consent") if view.record else step.page("greeting_wait")
    return told(page.dial(_other(step, number, "agent", "agent-whisper", view.record)), answered(step))


def agent_whisper(step: Step) -> Consulting[Intake]:
    """The agent was dialled second, and answered; meanwhile the customer hears it ring."""
    view = yield step.about_call()
    if not step.is_about(view, *IN_HAND):
        return told(step.page("taken_back").hang_up(), _agents.answered(step))
    return told(offer(step, view, "agent-accept"), _agents.answered(step))


def dialled(step: Step) -> Intake:
    """What became of the second leg; whoever was on the line first hears it."""
    page = step.page()
    if not is_bridged(step):
        page = step.page("customer_missed" if step.leg == "customer" else "agent_missed")
    return told(page.hang_up(), second(step, step.leg))


def _other(step: Step, number: str, leg: str, at: str, is_recorded: bool) -> Line:
    """The other side, dialled second."""
    return Line(
        numbers=(number,),
        ours=step.ours,
        url=step.url(at, *(["rec"] if is_recorded else []), leg=leg),
        then=step.url("dialled", leg=leg),
        ring_s=step.ring_s,
        status=step.url("status", leg=leg),
        recording=step.url("recording", leg="") if is_recorded else None,
    )

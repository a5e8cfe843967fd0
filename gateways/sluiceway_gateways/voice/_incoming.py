"""The beginning and the end of a call that somebody makes to us."""

from __future__ import annotations

from sluiceway import CallStep, Consulting, Intake, QueueView

from ._agents import ring
from ._menu import menu_page
from ._number import callable_numbers
from ._step import Step, seconds, told

RING_S = 20
# https://www.twilio.com/docs/voice/api/call-resource#call-status-values
OVER = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


def arrived(step: Step) -> CallStep:
    """Somebody calls: who they are, as well as the network knows."""
    name = step.form.get("CallerName") or None
    return step.fact("arrived", "customer", assurance=step.assurance, name=name, skill=step.number.skill or None)


def called(step: Step) -> Consulting[Intake]:
    """Whoever is free is called at once; where nobody is, the menu comes."""
    if step.form.get("CallStatus") in OVER:
        return ended(step)
    queue: QueueView = yield step.about_queue()
    free = callable_numbers(*queue.free) if queue.is_open else ()
    if not free:
        return told(menu_page(step, queue, "welcome"), arrived(step))
    page = step.page("welcome", "one_moment").dial(ring(step, free, RING_S, step.url("menu")))
    return told(page, arrived(step))


def ended(step: Step) -> Intake:
    """The caller is gone. Core knows whether anything had been agreed; if not, it is a missed call."""
    duration = seconds(step.form, "CallDuration")
    gone = step.fact(
        "hung_up", "customer", assurance=step.assurance, duration_ms=duration, skill=step.number.skill or None
    )
    return Intake(facts=(gone,), reply=step.nothing)

"""The menu for callers when nobody is free: to be called back, to leave a message, to speak with a person.

It promises nothing that nobody knows. Whoever presses nothing is called back, like whoever hangs up.
"""

from __future__ import annotations

from sluiceway import CallStep, Consulting, Intake, QueueView, Received
from sluiceway_contracts import Media, addresses

from ._agents import ring
from ._dialled import is_bridged, second
from ._number import callable_numbers, plain
from ._step import CUSTOM, Step, seconds, told
from ._twiml import Page

RING_S = 25


def menu(step: Step) -> Consulting[Intake]:
    """After a telephone rang in vain, or a key that means nothing; or after both spoke: then it is over."""
    if is_bridged(step):
        return told(step.page().hang_up(), second(step, "agent"))
    queue: QueueView = yield step.about_queue()
    return told(menu_page(step, queue, *(["person_missed"] if step.has("person") else [])))


def menu_page(step: Step, queue: QueueView, *lead: str) -> Page:
    """After these phrases, how things are and the menu; the menu again; a key may be pressed at any time."""
    say, keys = step.say, []
    place = step.number.words.place(queue.waiting, queue.wait_ms) if queue.is_open else (say("closed"),)
    back = _can_be_called(step, queue)
    if back:
        keys.append(say("choose_call_back" if queue.is_open else "choose_call_back_closed"))
    if step.number.voicemail:
        keys.append(say("choose_message"))
    if not step.has("person") and _people(step, queue):
        keys.append(say("choose_person"))
    texts, url = (*map(say, lead), *place), step.url("choice", *(["back"] if back else []))
    if not keys:
        return step.page().say(*texts, say("no_number"), say("goodbye")).hang_up()
    return step.page().gather(url, *texts, *keys).gather(url, *keys).redirect(url)


def choice(step: Step) -> Consulting[Intake]:
    """A key was pressed, or none."""
    match step.key:
        case "" | "1" if step.has("back"):
            return told(step.page("will_call_back").hang_up(), step.fact("wants_call_back", "customer"))
        case "":
            return told(step.page("no_number", "goodbye").hang_up())
        case "1":
            return told(step.page("no_number").redirect(step.url("menu")))
        case "2" if step.number.voicemail:
            return told(leave(step, "leave_message"))
        case "0":
            queue: QueueView = yield step.about_queue()
            return told(_call(step, _people(step, queue)), step.fact("wants_person", "customer"))
    return told(step.page().redirect(step.url("menu")))


def leave(step: Step, phrase: str) -> Page:
    """A message may be left."""
    page = step.page(phrase).record(step.url("left"), step.url("voicemail"))
    return page.say(step.say("no_message")).hang_up()


def left(step: Step) -> Intake:
    """The message has been spoken. Its file may take a moment: whoever fetches it tries again."""
    if not step.form.get("RecordingUrl"):
        return told(step.page("no_message").hang_up())
    return told(step.page("thanks").hang_up(), *_message(step, step.party))


def voicemail(step: Step) -> Consulting[Intake]:
    """The file is there. It is the same message, told again lest it be lost; who left it, only core knows here."""
    if step.form.get("RecordingStatus", "completed") != "completed":
        return Intake(reply=step.nothing)
    view = yield step.about_call()
    return Intake(facts=_message(step, view.customer if view is not None else None), reply=step.nothing)


def _message(step: Step, sender: str | None) -> tuple[CallStep, Received]:
    """Whoever is not shown has an address of this call's own, so that no message is lost."""
    address = step.form.required("RecordingUrl")
    recording = step.form.get("RecordingSid") or address.rpartition("/")[2]
    spoken = Media(
        id="1",
        kind="voice",
        mime="audio/mpeg",
        state="pending",
        duration_ms=seconds(step.form, "RecordingDuration"),
    )
    received = Received(
        at=step.ours,
        key=recording,
        sender=sender or addresses.build(CUSTOM, step.sid),
        assurance=step.assurance,
        parts=(spoken,),
        media={"1": f"{address}.mp3"},
        external_ids=(recording,),
    )
    return step.fact("left_message", "customer", address=sender), received


def _call(step: Step, numbers: tuple[str, ...]) -> Page:
    menu = step.url("menu", "person")
    if not numbers:
        return step.page().redirect(menu)
    return step.page("one_moment").dial(ring(step, numbers, RING_S, menu))


def _can_be_called(step: Step, queue: QueueView) -> bool:
    """Whether a call-back can be promised: the number is shown, and calls go there."""
    number = plain(step.party)
    return number is not None and number.startswith(tuple(queue.prefixes))


def _people(step: Step, queue: QueueView) -> tuple[str, ...]:
    """Who may answer for a person: the operator, and all who are at work."""
    return callable_numbers(*step.number.operator, *queue.reach)

"""Every sentence that callers, customers and agents hear, by language. Says nothing itself.

An account may put its own in place of any (`phrases`); what is in braces is filled in.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from string import Formatter

from sluiceway_contracts import Wait

ENGLISH: Mapping[str, str] = {
    # to agents
    "offer": "A call with a customer.",
    "offer_name": "A call with {name}.",
    "about": "It is about: {reason}.",
    "recorded": "It will be recorded.",
    "press": "Press 1 to take it, or any other key to pass it on.",
    "taken_back": "This call was taken back. Goodbye.",
    "passed_on": "All right, it goes to somebody else. Goodbye.",
    "calling": "One moment, we are calling the customer.",
    "customer_missed": "The customer was not reached. We take care of it. Goodbye.",
    # to customers whom we call
    "greeting": "Here is the call that you asked for.",
    "greeting_wait": "Here is the call that you asked for. One moment, we are putting you through.",
    "consent": "This call is recorded. Hang up if you do not want that.",
    "not_needed": "Excuse us, this call is no longer needed. Goodbye.",
    "agent_missed": "Nobody could take the call just now. You keep your place, and we will call you again. Goodbye.",
    # to those who call us
    "welcome": "Hello, and thank you for calling.",
    "one_moment": "One moment, please.",
    "closed": "We are closed at the moment.",
    "all_busy": "Nobody is free at the moment.",
    "waiting_one": "One caller is waiting before you.",
    "waiting": "{waiting} callers are waiting before you.",
    "wait": "It takes about {low} to {high} minutes.",
    "choose_call_back": "Press 1, and we call you back: you keep your place.",
    "choose_call_back_closed": "Press 1, and we call you back when we are open.",
    "choose_message": "Press 2 to leave a message.",
    "choose_person": "Press 0 to speak with somebody now.",
    "person_missed": "Nobody could be reached just now.",
    "will_call_back": "We will call you back on the number that you are calling from. Goodbye.",
    "no_number": "We can't call your number.",
    "leave_message": "Please speak after the tone. Press any key when you have finished, or hang up.",
    "no_message": "We did not hear anything. Goodbye.",
    "thanks": "Thank you, we have your message. Goodbye.",
    "goodbye": "Goodbye.",
    # to anybody, when something is out of order
    "broken": "Sorry, something does not work here. Please try again later. Goodbye.",
    "broken_message": "Sorry, something does not work here. Leave us a message, and we will see to it.",
}
GERMAN: Mapping[str, str] = {
    "offer": "Ein Anruf mit einem Kunden.",
    "offer_name": "Ein Anruf mit {name}.",
    "about": "Es geht um: {reason}.",
    "recorded": "Er wird aufgezeichnet.",
    "press": "Drücken Sie die 1, um ihn anzunehmen, oder eine andere Taste, um ihn weiterzugeben.",
    "taken_back": "Dieser Anruf wurde zurückgezogen. Auf Wiederhören.",
    "passed_on": "In Ordnung, jemand anders übernimmt. Auf Wiederhören.",
    "calling": "Einen Moment, wir rufen den Kunden an.",
    "customer_missed": "Der Kunde war nicht zu erreichen. Wir kümmern uns darum. Auf Wiederhören.",
    "greeting": "Hier ist der Anruf, um den Sie gebeten haben.",
    "greeting_wait": "Hier ist der Anruf, um den Sie gebeten haben. Einen Moment, wir verbinden Sie.",
    "consent": "Dieses Gespräch wird aufgezeichnet. Legen Sie auf, wenn Sie das nicht möchten.",
    "not_needed": "Entschuldigen Sie, dieser Anruf ist nicht mehr nötig. Auf Wiederhören.",
    "agent_missed": "Gerade konnte niemand das Gespräch annehmen. Sie behalten Ihren Platz, und wir rufen wieder an. "
    "Auf Wiederhören.",
    "welcome": "Guten Tag, und danke für Ihren Anruf.",
    "one_moment": "Einen Moment, bitte.",
    "closed": "Im Moment ist geschlossen.",
    "all_busy": "Im Moment ist niemand frei.",
    "waiting_one": "Vor Ihnen wartet ein Anrufer.",
    "waiting": "Vor Ihnen warten {waiting} Anrufer.",
    "wait": "Es dauert etwa {low} bis {high} Minuten.",
    "choose_call_back": "Drücken Sie die 1, und wir rufen Sie zurück: Sie behalten Ihren Platz.",
    "choose_call_back_closed": "Drücken Sie die 1, und wir rufen Sie zurück, sobald wir geöffnet haben.",
    "choose_message": "Drücken Sie die 2, um eine Nachricht zu hinterlassen.",
    "choose_person": "Drücken Sie die 0, um jetzt mit jemandem zu sprechen.",
    "person_missed": "Gerade war niemand zu erreichen.",
    "will_call_back": "Wir rufen Sie unter der Nummer zurück, von der Sie anrufen. Auf Wiederhören.",
    "no_number": "Ihre Nummer können wir nicht zurückrufen.",
    "leave_message": "Bitte sprechen Sie nach dem Ton. Drücken Sie am Ende eine Taste, oder legen Sie auf.",
    "no_message": "Wir haben nichts gehört. Auf Wiederhören.",
    "thanks": "Danke, wir haben Ihre Nachricht. Auf Wiederhören.",
    "goodbye": "Auf Wiederhören.",
    "broken": "Hier funktioniert leider etwas nicht. Bitte versuchen Sie es später noch einmal. Auf Wiederhören.",
    "broken_message": "Hier funktioniert leider etwas nicht. Hinterlassen Sie eine Nachricht, wir kümmern uns darum.",
}
TABLES = {"en": ENGLISH, "de": GERMAN}
MINUTE_MS = 60_000


class Phrases:
    """The sentences of one account."""

    def __init__(self, lang: str, own: Mapping[str, str]) -> None:
        """Raises `ValueError`, which says what is missing, unknown or can't be filled in."""
        self._texts = {**TABLES.get(lang.partition("-")[0].lower(), {}), **own}
        for key, text in own.items():
            _check(key, text)
        if missing := [key for key in ENGLISH if key not in self._texts]:
            raise ValueError(f"there are no phrases in {lang}: give {', '.join(missing)} in phrases")

    def say(self, key: str, **values: object) -> str:
        """One sentence."""
        return self._texts[key].format(**values)

    def offer(self, name: str | None = None, reason: str | None = None, is_recorded: bool = False) -> tuple[str, ...]:
        """What an agent is told before they take a call."""
        said = [self.say("offer_name", name=name) if name else self.say("offer")]
        if reason:
            said.append(self.say("about", reason=reason))
        if is_recorded:
            said.append(self.say("recorded"))
        return (*said, self.say("press"))

    def place(self, waiting: int, wait: Wait | None) -> tuple[str, ...]:
        """What somebody who would have to wait is told: in whole minutes, and nothing that nobody knows."""
        said = [self.say("all_busy")]
        if waiting:
            said.append(self.say("waiting_one") if waiting == 1 else self.say("waiting", waiting=waiting))
        if wait is not None:
            low, high = max(wait.low // MINUTE_MS, 1), max(-(-wait.high // MINUTE_MS), 2)
            said.append(self.say("wait", low=low, high=high))
        return tuple(said)


def _check(key: str, text: str) -> None:
    if key not in ENGLISH:
        near = difflib.get_close_matches(key, ENGLISH, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(ENGLISH)}"
        raise ValueError(f"there is no phrase {key}; {hint}")
    known = _blanks(ENGLISH[key])
    try:
        given = _blanks(text)
    except ValueError as error:
        raise ValueError(f"the phrase {key} has a brace too many or too few") from error
    if given - known:
        takes = " and ".join(sorted(f"{{{name}}}" for name in known)) or "nothing"
        raise ValueError(f"the phrase {key} can be filled in with {takes}")


def _blanks(text: str) -> set[str]:
    """What is in braces, formats and conversions included."""
    found = set()
    for _, name, form, conversion in Formatter().parse(text):
        if name is not None:
            found.add(name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""))
    return found

"""What customers are written about their calls, by language. Everything that is written is in here.

Nobody is asked to write CANCEL or STOP: Twilio takes that for an opt-out from all texts.
https://help.twilio.com/articles/223134027
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from sluiceway_contracts import Wait

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "queued": "We will call you. You are number {position} in the queue{wait}. "
        "Write NO CALL if you don't need it any more.",
        "wait": ", about {low} to {high} minutes",
        "next": "You are next: we will call you in a moment.",
        "scheduled": "We will call you from {time} on. Write NO CALL if you don't need it any more.",
        "proof": "Somebody asked us to call this number. Answer {code} if that was you; otherwise do nothing.",
        "missed": "We could not reach you just now. We will try again at about {time}. "
        "Write NO CALL if you don't need it.",
        "given_up": "We could not reach you. Write to us when we may call again.",
        "canceled": "All right, we will not call.",
    },
    "de": {
        "queued": "Wir rufen Sie an. Sie sind Nummer {position} in der Reihe{wait}. "
        "Schreiben Sie KEIN ANRUF, wenn es nicht mehr nötig ist.",
        "wait": ", etwa {low} bis {high} Minuten",
        "next": "Sie sind die Nächsten: Wir rufen gleich an.",
        "scheduled": "Wir rufen Sie ab {time} an. Schreiben Sie KEIN ANRUF, wenn es nicht mehr nötig ist.",
        "proof": "Jemand hat uns um einen Anruf bei dieser Nummer gebeten. "
        "Antworten Sie {code}, wenn Sie das waren; sonst tun Sie nichts.",
        "missed": "Wir haben Sie eben nicht erreicht. Gegen {time} versuchen wir es noch einmal. "
        "Schreiben Sie KEIN ANRUF, wenn es nicht nötig ist.",
        "given_up": "Wir haben Sie nicht erreicht. Schreiben Sie uns, wann wir wieder anrufen dürfen.",
        "canceled": "In Ordnung, wir rufen nicht an.",
    },
}


class Texts:
    """The texts of one tenant; `own` replaces some of them. Raises `ValueError`."""

    def __init__(self, lang: str, own: Mapping[str, str]) -> None:
        for name, text in own.items():
            if name not in TEXTS["en"]:
                raise ValueError(f"texts.{name} is none of: {', '.join(TEXTS['en'])}")
            try:
                named = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
            except ValueError as error:
                raise ValueError(f"texts.{name} can't be filled in: {error}") from error
            usual = {field for _, field, _, _ in Formatter().parse(TEXTS["en"][name]) if field is not None}
            if wrong := sorted(named - usual):
                blanks = ", ".join(sorted(usual)) or "none"
                raise ValueError(f"texts.{name} names {wrong[0] or '{}'}, and what is filled in there is: {blanks}")
        self._texts = {**TEXTS.get(lang.partition("-")[0], TEXTS["en"]), **own}

    def say(self, name: str, **values: object) -> str:
        return self._texts[name].format(**values)

    def wait(self, wait: Wait | None) -> str:
        """In whole minutes, rounded outwards; nothing where nobody can say honestly."""
        if wait is None:
            return ""
        low, high = wait.low // 60_000, -(-wait.high // 60_000)
        return self.say("wait", low=max(low, 1), high=max(high, 2))

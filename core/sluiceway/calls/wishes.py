"""What a customer's message asks of the queue of calls: to be called, or no longer to be. Guesses at nothing.

A message that says anything besides is for people to read: "he said call me Ishmael" is no wish.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal

import regex
from msgspec import Struct

from sluiceway_contracts import Choice, FormResponse, Message, Text

REQUEST, CANCEL = "call_me", "call_cancel"
"""Ids or payloads of options; `call_me:<skill>` is a request as well."""
TICKED_FIELDS = ("call_me", "callback", "call_back")
TICKED = frozenset({"1", "yes", "on", "true", "ja", "oui"})
NUMBER_FIELDS = ("phone", "tel", "number")
SKILL_FIELDS = ("skill", "topic")
REASON_FIELD = "message"
MAX_REASON = 200
MAX_TEXT, MAX_WORDS = 120, 8
"""Whatever is longer says more than a wish and a kind word."""

CANCELLING = frozenset(
    {
        *("cancel", "cancel call", "cancel the call", "cancel my call", "cancel callback", "cancel the callback"),
        *("stop calling", "stop calling me", "no call", "no callback", "no call back", "don't call", "don't call me"),
        *("dont call", "dont call me", "do not call", "do not call me"),
        *("abbrechen", "stornieren", "anruf abbrechen", "rückruf abbrechen", "rückruf stornieren", "nicht anrufen"),
        *("nicht mehr anrufen", "kein anruf", "keinen anruf", "kein rückruf", "keinen rückruf", "ruf mich nicht an"),
        *("rufen sie mich nicht an",),
        *("annuler", "annulez", "annuler l'appel", "annuler le rappel", "annulez l'appel", "annulez le rappel"),
        *("ne pas appeler", "ne pas rappeler", "ne m'appelez pas", "ne m'appelez plus", "ne me rappelez pas"),
        *("pas d'appel", "pas de rappel"),
    }
)
"""What people write while a call waits; English, German and French, as are the words that come with a configuration."""
KIND_WORDS = (
    *("please", "pls", "plz", "thanks", "thank you", "thx", "hi", "hello", "hey", "now", "asap"),
    *("can you", "could you", "would you"),
    *("bitte", "danke", "vielen dank", "hallo", "guten tag", "guten morgen", "guten abend", "jetzt", "sofort"),
    *("können sie", "könnten sie", "kannst du", "könntest du"),
    *("s'il vous plaît", "s'il vous plait", "s'il te plaît", "s'il te plait", "svp", "stp", "merci", "bonjour"),
    *("bonsoir", "salut", "maintenant", "pouvez vous", "pourriez vous", "peux tu"),
)

_POLITE = re.compile(rf"(?<![^ ])(?:{'|'.join(KIND_WORDS)})(?![^ ])")
_WORD = regex.compile(r"[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}]|'(?=\p{L}))*")
_APOSTROPHES = str.maketrans("’ʼ`", "'''")
_SKILL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BETWEEN_DIGITS = re.compile(r"[\s./()\[\]\u2010-\u2015-]")
# ITU-T E.164: at most 15 digits, the first not 0; nobody abroad is reached by fewer than 7
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class Wish(Struct, frozen=True, kw_only=True):
    """What somebody wants.

    Of a request, `address` is the number that they typed in, which proves nothing, `skill` what whoever calls must
    know of, `reason` what it is about.
    """

    kind: Literal["request", "cancel"]
    address: str | None = None
    skill: str | None = None
    reason: str | None = None


def wish(message: Message, words: Iterable[str], waiting: bool) -> Wish | None:
    """What a message asks for, by an option that was picked, a form, or a text that is one of `words` and no more.

    `waiting` says whether a call to this customer waits: only then is "cancel" a word about it.
    """
    if message.author.role != "customer":
        return None
    answers = _answers(message)
    said = " ".join(part.text for part in message.parts if isinstance(part, Text))
    by_option = _by_option(message, answers)
    if by_option is not None:
        return by_option
    if any(_is_ticked(answers.get(field, "")) for field in TICKED_FIELDS):
        return _request({REASON_FIELD: said, **answers})
    return _by_text(said, words, answers, waiting=waiting)


def _by_option(message: Message, answers: Mapping[str, str]) -> Wish | None:
    picked = [option for part in message.parts if isinstance(part, Choice) for option in _picked(part)]
    if CANCEL in picked:
        return Wish(kind="cancel")
    for option in picked:
        name, _, skill = option.partition(":")
        if name == REQUEST:
            return _request(answers, skill)
    return None


def _by_text(said: str, words: Iterable[str], answers: Mapping[str, str], *, waiting: bool) -> Wish | None:
    spellings = _spellings(said) if len(said) <= MAX_TEXT else frozenset()
    if waiting and not spellings.isdisjoint(CANCELLING):
        return Wish(kind="cancel")
    if spellings and any(not spellings.isdisjoint(_spellings(word)) for word in words):
        return _request(answers)
    return None


def _picked(choice: Choice) -> tuple[str, ...]:
    return (*choice.option_ids, choice.payload) if choice.payload is not None else choice.option_ids


def _answers(message: Message) -> Mapping[str, str]:
    fields = [field for part in message.parts if isinstance(part, FormResponse) for field in part.fields]
    return {field.name.casefold().replace("-", "_"): field.value for field in reversed(fields)}


def _is_ticked(value: str) -> bool:
    """Of a field that came several times, as a box with a hidden field beside it does, the last counts."""
    return value.rpartition(",")[2].strip().casefold() in TICKED


def _request(answers: Mapping[str, str], skill: str = "") -> Wish:
    numbers = (_number(answers.get(field, "")) for field in NUMBER_FIELDS)
    skills = (skill, *(answers.get(field, "").strip() for field in SKILL_FIELDS))
    return Wish(
        kind="request",
        address=next(filter(None, numbers), None),
        skill=next(filter(_SKILL.fullmatch, skills), None),
        reason=" ".join(answers.get(REASON_FIELD, "").split())[:MAX_REASON].rstrip() or None,
    )


def _number(text: str) -> str | None:
    """The `tel:` address of a number with its country code; of any other nobody knows the country."""
    text = text.strip()
    if text.startswith(("+", "00")):
        text = text.replace("(0)", "", 1)  # how it is dialled within the country
    number = re.sub("^00", "+", _BETWEEN_DIGITS.sub("", text))
    return f"tel:{number}" if _E164.fullmatch(number) else None


def _spellings(text: str) -> frozenset[str]:
    """The words of a text, in one spelling, with those that are only polite and without."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    found = _WORD.findall(folded)
    if len(found) > MAX_WORDS:
        return frozenset()
    whole = " ".join(found)
    return frozenset({whole, " ".join(_POLITE.sub("", whole).split())} - {""})

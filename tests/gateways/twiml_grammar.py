"""The grammar of TwiML for calls, read out of the official library's classes: which verb may have what in it."""

from __future__ import annotations

import inspect
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from twilio.twiml import TwiML, lower_camel  # type: ignore[import-untyped]  # it has no py.typed
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped]  # as above

# https://www.twilio.com/docs/voice/twiml/dial, …/number, …/gather, …/record, …/say
VALUES: Mapping[str, frozenset[str]] = {
    "answerOnBridge": frozenset({"true", "false"}),
    "playBeep": frozenset({"true", "false"}),
    "record": frozenset(
        f"record-from-{since}{channels}" for since in ("answer", "ringing") for channels in ("", "-dual")
    ),
    "trim": frozenset({"trim-silence", "do-not-trim"}),
    "language": frozenset({"en-GB", "de-DE"}),
}
WORDS: Mapping[str, frozenset[str]] = {
    "statusCallbackEvent": frozenset({"initiated", "ringing", "answered", "completed"})
}
COUNTS = {
    "timeout": (1, 600),
    "timeLimit": (1, 86_400),
    "numDigits": (1, 10),
    "maxLength": (1, 14_400),
    "length": (1, 60),
}
URLS = frozenset({"action", "url", "statusCallback", "recordingStatusCallback"})
EMPTY = frozenset({"Hangup", "Pause", "Record"})
MOST_CHARS = 4096


Kind: TypeAlias = Callable[..., Any]


class Rule(NamedTuple):
    """An element in another: its class, and the attributes that the method for it takes."""

    kind: Kind
    attributes: frozenset[str]


@cache
def rules(kind: Kind) -> Mapping[str, Rule]:
    """What may be in an element of this class, by tag: each method that nests another element makes one."""
    found: dict[str, Rule] = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_") or name in {"append", "nest", "to_xml", "xml", "add_child"}:
            continue
        parameters = [one for one in inspect.signature(method).parameters if one not in {"self", "kwargs"}]
        instance = kind(*["x"] * len(contents(kind)))
        method(instance, **dict.fromkeys(parameters, "en-GB"))
        child = instance.verbs[-1]
        attributes = set(parameters) - set(contents(type(child)))
        found[child.name] = Rule(type(child), frozenset(lower_camel(TwiML.MAP.get(one, one)) for one in attributes))
    return found


def contents(kind: Kind) -> list[str]:
    """What the class takes as the element's text."""
    return [one for one in inspect.signature(kind).parameters if one not in {"self", "kwargs"}]


def faults(document: bytes) -> Iterator[str]:
    """What is wrong with a document; nothing where Twilio's own library could have written it."""
    root = ET.fromstring(document)
    if root.tag != "Response" or root.attrib:
        yield f"the root is {root.tag}"
    yield from _inside(root, VoiceResponse)


def _inside(element: ET.Element, kind: Kind) -> Iterator[str]:
    for child in element:
        rule = rules(kind).get(child.tag)
        if rule is None:
            yield f"<{child.tag}> in <{element.tag}>"
            continue
        for name, value in child.attrib.items():
            if name not in rule.attributes:
                yield f"<{child.tag} {name}>"
            elif not _is_good(name, value):
                yield f'<{child.tag} {name}="{value}">'
        if (child.text is None) != (child.tag in EMPTY or bool(len(child))) or len(child.text or "") > MOST_CHARS:
            yield f"the text of <{child.tag}>"
        yield from _inside(child, rule.kind)


def _is_good(name: str, value: str) -> bool:
    if name in VALUES:
        return value in VALUES[name]
    if name in WORDS:
        return set(value.split(" ")) <= WORDS[name]
    if name in COUNTS:
        low, high = COUNTS[name]
        return value.isdecimal() and low <= int(value) <= high
    if name in URLS:
        return value.startswith("https://")
    if name == "callerId":
        return value.startswith("+")
    return name == "finishOnKey" and value == ""

"""The header that mail clients write above what they quote or pass on: who, when, to whom, about what.

Looks at a few lines each time that it is asked. What people type is no header where it lacks what a client would give.
"""

from __future__ import annotations

import re

from ._addresses import mailboxes
from ._mail import Mailbox
from ._quote_words import FORWARDED, FROM, SENT, SUBJECT, TO

MAX_LINE = 400
MAX_LINES = 8
"""So many lines a header has, and so many are looked at for one below a line that announces it."""
_FORWARDED = re.compile(
    rf"\s*(?:[-_*=~]{{2,}}\s*(?:{'|'.join(map(re.escape, FORWARDED))})\b.{{0,300}}"
    rf"|(?:{'|'.join(map(re.escape, FORWARDED))})\s*[:：]\s*)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*[*_]{0,2}([^\W\d_][^:*_\n]{0,20}?)\s?[*_]{0,2}\s?:[*_]{0,2}(?:\s|$)")
_LABELS = {
    label: kind
    for kind, labels in (("from", FROM), ("sent", SENT), ("to", TO), ("subject", SUBJECT))
    for label in labels
}
_LINKED = re.compile(r"(?<=\S)<mailto:[^<>]{0,400}>", re.IGNORECASE)
_MAILTO = re.compile(r"[<\[](?:mailto:)?([^<>\[\]\s@]{1,300}@[^<>\[\]\s@]{1,300})[>\]]", re.IGNORECASE)


def header(lines: list[str], at: int, *, announced: bool = False) -> dict[str, str]:
    """What begins in this line, by from, sent, to and subject; empty where it is a journey, or what somebody typed.

    It says who, and when or to whom, about what; a sender with an address may stand for the subject. Where it is
    `announced`, it says who and anything else.
    """
    kinds, last = dict[str, str](), ""
    for line in (line[:MAX_LINE].removeprefix("> ") for line in lines[at : at + MAX_LINES]):
        found = _LABEL.match(line)
        kind = _LABELS.get(found[1].lower(), "") if found else last
        if (not kinds and not kind) or not line.strip("> "):
            break
        if found is None and kind:
            kinds[kind] += f" {line.strip()}"
        elif found and kind and kind not in kinds:
            kinds[kind] = line[found.end() :]
        last = kind
    sure = len(kinds) >= 3 and ("subject" in kinds or "@" in kinds.get("from", ""))
    return kinds if "from" in kinds and (sure or (announced and len(kinds) >= 2)) else {}


def announces(lines: list[str], at: int) -> bool:
    """Whether this line says that something is passed on, and a header follows."""
    if len(lines[at]) > MAX_LINE or not _FORWARDED.fullmatch(lines[at]):
        return False
    below = (start for start in range(at + 1, min(at + MAX_LINES, len(lines))) if lines[start].strip("> \t"))
    return bool(header(lines, next(below, at), announced=True))


def author(lines: list[str]) -> Mailbox:
    """Who wrote what is passed on, by the header that it begins with; an empty address where that does not say."""
    headers = (header(lines, at, announced=True) for at in range(min(MAX_LINES, len(lines))))
    value = next(filter(None, headers), {}).get("from", "")[:MAX_LINE]
    found = next(iter(mailboxes(_MAILTO.sub(r"<\1>", _LINKED.sub("", value)))), Mailbox(address=""))
    return Mailbox(address=found.address if "@" in found.address else "", name=(found.name or "").strip("*_ ") or None)

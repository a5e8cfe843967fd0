"""What is new in a text, what it quotes and how it is signed, told apart; nothing is thrown away.

It goes line by line, in time that grows with the text alone. Where it is not sure, a line is new: better that people
see too much than that a customer's words are hidden. Quotations between which somebody has answered stay.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ._quote_words import FORWARDS, FROM, OPENERS, ORIGINAL, SENT, SENT_FROM, SUBJECT, TO, WROTE

MAX_SIGNATURE_LINES = 30
MAX_LINE = 400
MAX_LINES = 10_000
"""Further down nobody looks for a quotation."""
_FORWARD = re.compile(rf"\s*(?:{'|'.join(FORWARDS)})\s*:", re.IGNORECASE)
_WROTE = re.compile(rf"(?:\b(?:{'|'.join(map(re.escape, WROTE))})(?!\w)).{{0,200}}[:：]\s*$", re.IGNORECASE)
_OPENS = re.compile(rf"[\s\[*_]*(?:\d|(?:{'|'.join(map(re.escape, OPENERS))})(?!\w))", re.IGNORECASE)
_ADDRESS = re.compile(r"<[^<>\s]{1,300}@[^<>\s]{1,300}>|\(<?[^()\s]{1,300}@[^()\s]{1,300}>?\)")
_ORIGINAL = re.compile(rf"\s*[-_*]{{2,}}\s*(?:{'|'.join(map(re.escape, ORIGINAL))})\s*[-_*]{{2,}}\s*", re.IGNORECASE)
_RULE = re.compile(r"\s*[-_]{10,}\s*")
_LABEL = re.compile(r"\s*[*_]{0,2}([^\W\d_][^:*_\n]{0,20}?)\s?[*_]{0,2}\s?:[*_]{0,2}(?:\s|$)")
_LABELS = {
    label: kind
    for kind, labels in (("from", FROM), ("sent", SENT), ("to", TO), ("subject", SUBJECT))
    for label in labels
}
_SENT_FROM = re.compile(rf"\s*(?:{'|'.join(map(re.escape, SENT_FROM))})\b.{{0,80}}", re.IGNORECASE)


class Split(NamedTuple):
    """`text` is what is new; the others are None where there is nothing of the kind."""

    text: str
    quoted: str | None = None
    signature: str | None = None


def split(text: str, subject: str = "", *, history: bool = True) -> Split:
    """The text's three kinds of lines. What passes something on (by its subject) keeps it, as without `history`."""
    lines = text.split("\n")
    new, quoted = _quotation(lines) if history and not _FORWARD.match(subject) else (lines, [])
    new, signature = _signature(new)
    marked = any(line.startswith(">") for line in quoted)
    rest, below = _signature(quoted) if marked else (quoted, [])
    result = Split(_text(new), _text(rest) or None, _text([*signature, *below]) or None)
    if not result.text:
        return Split(_text(lines)) if result.quoted else Split("", None, result.signature)
    return result


def _text(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _quotation(lines: list[str]) -> tuple[list[str], list[str]]:
    """What is new and what is quoted."""
    for at, line in enumerate(lines[:MAX_LINES]):
        if len(line) > MAX_LINE or not line.strip():
            continue
        if _ORIGINAL.fullmatch(line) or _is_header(lines, at):
            above = _above_rule(lines, at)
            return lines[:above], lines[above:]
        start = _attribution(lines, at)
        if start is not None:
            return _around(lines, start, at + 1)
        if line.startswith(">"):
            return _around(lines, at, at)
    return lines, []


def _around(lines: list[str], start: int, first: int) -> tuple[list[str], list[str]]:
    """What is new above a quotation, or below one that the mail begins with; answers within leave all as it is."""
    end = first
    while end < len(lines) and (lines[end].startswith(">") or not lines[end].strip()):
        end += 1
    if end == first or not any(line.startswith(">") for line in lines[first:end]):
        return lines[:start], lines[start:]  # quoted without marks
    below = lines[end:]
    if not below or below[0].rstrip() == "--":
        return lines[:start], lines[start:]
    if any(line.strip() for line in lines[:start]) or any(line.startswith(">") for line in below):
        return lines, []
    return below, lines[start:end]


def _attribution(lines: list[str], at: int) -> int | None:
    """Where the line begins that says who wrote what follows, if it ends here; clients wrap it."""
    if not lines[at].rstrip().endswith((":", "：")):
        return None
    following = next((line for line in lines[at + 1 : at + 4] if line.strip()), "")
    marked = following.startswith(">")
    for start in range(at, max(at - 3, -1), -1):
        if not lines[start].strip() or lines[start].startswith(">"):
            break
        said = " ".join(line.strip() for line in lines[start : at + 1])
        if len(said) > MAX_LINE:
            break
        if _WROTE.search(said) and _OPENS.match(said) and re.search(r"\d", said):
            return start if marked or _ADDRESS.search(said) else None
    return at if marked and _WROTE.search(lines[at]) else None


def _is_header(lines: list[str], at: int) -> bool:
    """Whether a header of a quoted mail begins here, not a journey: who, and when or to whom, about what.

    A sender with an address may stand for the subject.
    """
    kinds = dict[str, str]()
    for line in lines[at : at + 8]:
        found = _LABEL.match(line[:MAX_LINE].removeprefix("> "))
        kind = _LABELS.get(found[1].lower()) if found else None
        if kind is None and (line is lines[at] or not line.strip()):
            break
        if kind is not None:
            kinds.setdefault(kind, line)
    return len(kinds) >= 3 and ("subject" in kinds or "@" in kinds.get("from", "")) and "from" in kinds


def _above_rule(lines: list[str], at: int) -> int:
    """The line above, with empty ones between, if it is a rule: it belongs to what is quoted."""
    above = at - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    return above if above >= 0 and _RULE.fullmatch(lines[above]) else at


def _signature(lines: list[str]) -> tuple[list[str], list[str]]:
    """What is written, and how it is signed: after "-- " (RFC 3676, 4.3), or by the device at the end."""
    for at, line in enumerate(lines):
        if line.rstrip() == "--" and len(lines) - at <= MAX_SIGNATURE_LINES:
            return lines[:at], lines[at + 1 :]
    last = len(lines)
    while last and not lines[last - 1].strip():
        last -= 1
    if last > 1 and _SENT_FROM.fullmatch(lines[last - 1]):
        return lines[: last - 1], lines[last - 1 :]
    return lines, []

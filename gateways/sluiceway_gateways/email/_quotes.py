"""What is new in a text, what it quotes and how it is signed, told apart; nothing is thrown away.

It goes line by line, in time that grows with the text alone. Where it is not sure, a line is new: better that people
see too much than that a customer's words are hidden. Quotations between which somebody has answered stay, and so does
what a mail passes on.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ._inline_headers import MAX_LINE, announces, author, header
from ._mail import Mailbox
from ._quote_words import FORWARDS, OPENERS, ORIGINAL, SENT_FROM, WROTE

MAX_SIGNATURE_LINES = 30
MAX_LINES = 10_000
"""Further down nobody looks for a quotation."""
_FORWARD = re.compile(rf"\s*(?:{'|'.join(FORWARDS)})\s*:", re.IGNORECASE)
_WROTE = re.compile(rf"(?:\b(?:{'|'.join(map(re.escape, WROTE))})(?!\w)).{{0,200}}[:：]\s*$", re.IGNORECASE)
_OPENS = re.compile(rf"[\s\[*_]*(?:\d|(?:{'|'.join(map(re.escape, OPENERS))})(?!\w))", re.IGNORECASE)
_ADDRESS = re.compile(r"<[^<>\s]{1,300}@[^<>\s]{1,300}>|\(<?[^()\s]{1,300}@[^()\s]{1,300}>?\)")
_ORIGINAL = re.compile(rf"\s*[-_*]{{2,}}\s*(?:{'|'.join(map(re.escape, ORIGINAL))})\s*[-_*]{{2,}}\s*", re.IGNORECASE)
_RULE = re.compile(r"\s*[-_]{10,}\s*")
_SENT_FROM = re.compile(rf"\s*(?:{'|'.join(map(re.escape, SENT_FROM))})\b.{{0,80}}", re.IGNORECASE)


class Split(NamedTuple):
    """`text` is new or passed on; the others are None where there is none. `forwarded` wrote what is passed on."""

    text: str
    quoted: str | None = None
    signature: str | None = None
    forwarded: Mailbox | None = None


class _History(NamedTuple):
    """Where what others wrote begins, and where it goes on below the lines that say so."""

    kind: Literal["passed on", "quoted", "marked"]
    start: int
    below: int


def split(text: str, subject: str = "", *, history: bool = True) -> Split:
    """The text's three kinds of lines. What passes something on keeps it; without `history` all is kept."""
    lines = text.split("\n")
    found = _history(lines, forwards=_FORWARD.match(subject) is not None) if history else None
    if found is not None and found.kind == "passed on":
        new, signature = _signature(lines[: found.start])
        passed_on = lines[found.start :]
        return Split(_text([*new, *passed_on]), None, _text(signature) or None, author(passed_on))
    new, quoted = _quotation(lines, found)
    new, signature = _signature(new)
    marked = any(line.startswith(">") for line in quoted)
    rest, below = _signature(quoted) if marked else (quoted, [])
    result = Split(_text(new), _text(rest) or None, _text([*signature, *below]) or None)
    if not result.text:
        return Split(_text(lines)) if result.quoted else Split("", None, result.signature)
    return result


def _text(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _history(lines: list[str], *, forwards: bool) -> _History | None:
    """The first that there is. What `forwards` by its subject passes on what stands below a header."""
    for at, line in enumerate(lines[:MAX_LINES]):
        if len(line) > MAX_LINE or not line.strip():
            continue
        if announces(lines, at):
            return _History("passed on", at, at)
        if _ORIGINAL.fullmatch(line) or header(lines, at):
            return _History("passed on" if forwards else "quoted", _above_rule(lines, at), at)
        if forwards:
            continue
        start = _attribution(lines, at)
        if start is not None:
            return _History("marked", start, at + 1)
        if line.startswith(">"):
            return _History("marked", at, at)
    return None


def _quotation(lines: list[str], found: _History | None) -> tuple[list[str], list[str]]:
    """What is new and what is quoted."""
    if found is None:
        return lines, []
    if found.kind == "marked":
        return _around(lines, found.start, found.below)
    return lines[: found.start], lines[found.start :]


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

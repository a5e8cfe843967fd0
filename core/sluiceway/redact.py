"""What may not be stored is masked before it is: card numbers, by form and check digit. Changes nothing else."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from .gateway import Edited, Received

CARD_NUMBER = "card_number"
"""What `Message.redactions` calls it."""

_NO_TEXT = frozenset({"id", "ref", "url", "mime", "content_id"})
# 13 to 19 digits (ISO/IEC 7812-1) in any grouping by single spaces or hyphens, no part of a longer run of digits or
# of a telephone number in E.164. It begins with the digit, not with what may not stand before it: what is no digit is
# passed over several times as fast
_CANDIDATE = re.compile(r"[0-9](?<![0-9+][0-9])(?<![0-9][ -][0-9])(?:[ -]?[0-9]){12,18}(?![ -]?[0-9])")


F = TypeVar("F", Received, Edited)


def redact(fact: F) -> tuple[F, tuple[str, ...]]:
    """The fact with every card number masked but its last four digits, and the names of what was masked."""
    parts = _masked(fact.parts)
    if parts is fact.parts:
        return fact, ()
    return msgspec.structs.replace(fact, parts=parts), (CARD_NUMBER,)


def mask(text: str) -> str:
    """The text with every card number masked."""
    return _CANDIDATE.sub(_mask_match, text) if len(text) >= 13 else text


def _masked(value: Any) -> Any:
    """The same value where nothing in it is masked, else a changed copy."""
    match value:
        case str():
            masked = mask(value)
            return value if masked == value else masked
        case tuple():
            items = tuple(_masked(item) for item in value)
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        case msgspec.Struct():
            changes = {}
            for name in value.__struct_fields__:
                if name not in _NO_TEXT and (new := _masked(old := getattr(value, name))) is not old:
                    changes[name] = new
            return msgspec.structs.replace(value, **changes) if changes else value
    return value


def _mask_match(match: re.Match[str]) -> str:
    found = match[0]
    digits = [character for character in found if character.isdigit()]
    if not _luhn(digits):
        return found
    keep = len(digits) - 4
    seen = 0
    masked = []
    for character in found:
        if character.isdigit():
            seen += 1
            masked.append(character if seen > keep else "*")
        else:
            masked.append(character)
    return "".join(masked)


def _luhn(digits: list[str]) -> bool:
    """The check of ISO/IEC 7812-1, annex B."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0

"""A contact in lines for people; nothing in it can drive a terminal. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterator

from sluiceway_contracts import ContactAnswer

from .lines import clock, shown


def portrait(answer: ContactAnswer) -> list[str]:
    """The contact, and what is known of it, a line each."""
    return [shown(line) for line in _lines(answer)]


def _lines(answer: ContactAnswer) -> Iterator[str]:
    contact = answer.contact
    yield f"contact {contact.id}"
    if contact.erased_at is not None:
        yield f"  erased {clock(contact.erased_at)}"
    for id in answer.ids:
        if id != contact.id:
            yield f"  once    {id}"
    for address in contact.addresses:
        channel = f", {address.channel}" if address.channel else ""
        yield f"  address {address.address}  {address.assurance}, {address.method} {clock(address.since)}{channel}"
    for consent in contact.consents:
        what = f"{consent.purpose} on {consent.channel}"
        yield f"  consent {consent.address}  {what} {consent.state} {clock(consent.at)}"
    for conflict in contact.conflicts:
        yield f"  perhaps {conflict.candidate_id}  by {', '.join(conflict.addresses)} {clock(conflict.at)}"
    for id in reversed(contact.conversations):
        yield f"  {'open' if id == contact.open_conversation else 'talk':7} {id}"

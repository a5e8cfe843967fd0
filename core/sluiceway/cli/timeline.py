"""A conversation as people tell it: its messages in order, each with what became of it, and what happened between."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import click
import msgspec

from sluiceway_contracts import (
    STATUS_ORDER,
    TERMINAL,
    ContactLinked,
    ContactMerged,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    ConversationChannelChanged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    Event,
    Message,
    MessageReceived,
    MessageSent,
    MessageStatus,
)

from . import lines

MARKS = {"accepted": "…", "queued": "…", "unknown": "?", "sent": "✓", "delivered": "✓✓", "read": "✓✓"}
FAILED = "✗"


class Receipt(msgspec.Struct, omit_defaults=True):
    """A status of a message as a whole, and why, where it failed."""

    status: str
    at: datetime.datetime
    why: str | None = None


class Entry(msgspec.Struct, omit_defaults=True):
    """A message, or something else that happened: `what` is message or the event's type without "sluiceway.".

    `direction` is in, out, or absent where neither.
    """

    at: datetime.datetime
    what: str
    text: str
    channel: str | None = None
    account: str | None = None
    direction: str | None = None
    author: str | None = None
    message_id: str | None = None
    receipts: list[Receipt] = []


class Timeline:
    """Built event by event, in the order of the stream."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.tenant: str | None = None
        self.contact: str | None = None
        self.previous_id: str | None = None
        self.continued_as: str | None = None
        self._messages: dict[str, Entry] = {}

    def add(self, event: Event) -> None:
        """One event of the conversation."""
        self.tenant = event.tenant
        match event.data:
            case MessageReceived(message=message):
                self._message(event, message, "in")
            case MessageSent(message=message):
                self._message(event, message, "out")
            case MessageStatus() as status:
                self._receipt(event, status)
            case ConversationOpened() as opened:
                self.contact, self.previous_id = opened.contact_id, opened.previous_id
                self._note(event, _with("opened", ("after", opened.previous_id)))
            case ConversationReopened():
                self.continued_as = None
                self._note(event, "goes on")
            case ConversationClosed() as closed:
                self.continued_as = closed.continued_as
                self._note(event, _with(f"closed: {closed.reason}", ("goes on as", closed.continued_as)))
            case ConversationChannelChanged() as changed:
                self._note(event, f"from {changed.previous_channel} to {changed.channel}")
            case ContactLinked(addresses=addresses) | ContactVerified(addresses=addresses) as link:
                self._note(event, f"{', '.join(addresses)}: {link.assurance} by {link.method}")
            case ContactUnlinked(addresses=addresses):
                self._note(event, ", ".join(addresses))
            case ContactMerged() as merged:
                self._note(event, f"contact {merged.from_id} is now {merged.into_id}: {merged.method}")
            case ContactUnmerged() as split:
                self._note(event, f"contact {split.into_id} is no longer {split.from_id}: {split.method}")
            case other:
                self._note(event, lines.said(other))

    def _message(self, event: Event, message: Message, direction: str) -> None:
        """Stored twice, it is one; one whose receipt came first gets its words now."""
        entry = self._messages.get(message.id)
        if entry is not None and entry.author is not None:
            return
        if entry is None:
            entry = self._entry(event, "message", message.id)
        entry.at, entry.direction = event.time, direction
        entry.author, entry.text = lines.name_of(message.author), lines.text_of(message)

    def _receipt(self, event: Event, status: MessageStatus) -> None:
        entry = self._messages.get(status.message_id)
        if entry is None:
            entry = self._entry(event, "message", status.message_id)
            entry.direction, entry.text = "out", f"(message {status.message_id})"
        if entry.receipts and entry.receipts[-1].status == status.overall:
            return
        fate = lines.fate(status)
        why = fate if fate != status.overall else None
        entry.receipts.append(Receipt(status=status.overall, at=status.occurred_at or event.time, why=why))

    def _note(self, event: Event, text: str) -> None:
        self._entry(event, event.type.removeprefix("sluiceway."), None).text = text

    def _entry(self, event: Event, what: str, message_id: str | None) -> Entry:
        entry = Entry(
            at=event.time, what=what, text="", channel=event.channel, account=event.account, message_id=message_id
        )
        self.entries.append(entry)
        if message_id is not None:
            self._messages[message_id] = entry
        return entry


def line(entry: Entry) -> str:
    """The entry as one line; nothing in it can drive a terminal."""
    when = click.style(lines.clock(entry.at), dim=True)
    where = lines.shown("/".join(filter(None, (entry.channel, entry.account))) or "-")
    if entry.what != "message":
        what = "" if entry.what.startswith("conversation.") else f"{entry.what}  "
        words = lines.shown(f"{what}{entry.text}".rstrip())
        return f"{when}  {where} {lines.NEITHER} {click.style(words, dim=True)}"
    arrow = lines.FROM_CUSTOMER if entry.direction == "in" else lines.TO_CUSTOMER
    said = f"{entry.author}: {entry.text}" if entry.author is not None else entry.text
    words = click.style(lines.shown(said)[: lines.MAX_CHARS], fg="green" if entry.direction == "in" else "cyan")
    return "  ".join([f"{when}  {where} {arrow} {words}", *_receipts(entry.receipts)])


def _receipts(receipts: Iterable[Receipt]) -> Iterable[str]:
    for receipt in receipts:
        failed = receipt.status in TERMINAL
        mark = FAILED if failed else MARKS.get(receipt.status, "·")
        at = receipt.at.astimezone().strftime("%H:%M")
        words = lines.shown(f"{mark} {receipt.status} {at}{f' ({receipt.why})' if receipt.why else ''}")
        high = STATUS_ORDER.get(receipt.status, 0) >= STATUS_ORDER["delivered"]
        yield click.style(words, fg="red" if failed else "blue", dim=not (failed or high))


def _with(text: str, more: tuple[str, str | None]) -> str:
    words, id = more
    return text if id is None else f"{text}, {words} {id}"

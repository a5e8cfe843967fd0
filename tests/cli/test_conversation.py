"""`sluiceway conversation`: the timeline as people read it, and the list of records."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.cli import timeline
from sluiceway.cli.timeline import Timeline
from sluiceway.config import Nats
from sluiceway_contracts import (
    CommandFailed,
    ContactLinked,
    ContactMerged,
    ContactUnlinked,
    ContactUnmerged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    ConversationState,
    Error,
    Event,
    EventData,
    LastInbound,
    LastOutbound,
    Message,
    MessageCount,
    MessageReceived,
    MessageSent,
    MessageStatus,
    Party,
    Piece,
    Text,
    now,
    uuid7,
)

from .conftest import CONVERSATION, Cli, received

STORY = Path(__file__).parents[2] / "contracts" / "samples" / "story.ndjson"
OTHER = "019c22f1-d578-7625-af24-35aeedc2728e"
ANNA, BEN = "019c22f1-d578-7b69-b91e-e6031249eeb2", "019c22f1-d578-7b69-b91e-e6031249eeb3"


def event(data: EventData, at: datetime.datetime | None = None) -> Event:
    return Event(tenant="acme", time=at or now(), channel="sms", account="uk-sms", subject=CONVERSATION, data=data)


def asked(text: str = "Hello", id: str = "m1") -> MessageReceived:
    message = Message(id=id, author=Party(role="customer", name="Anna"), parts=(Text(text=text),), text=text)
    return MessageReceived(message=message, resolved_by="open")


def sent(id: str = "r1", text: str = "On its way.") -> MessageSent:
    return MessageSent(message=Message(id=id, author=Party(role="agent", name="Lee"), parts=(Text(text=text),)))


def status(overall: str, id: str = "r1", error: Error | None = None) -> MessageStatus:
    piece = Piece(index=1, of=1, status=overall, error=error)
    return MessageStatus(message_id=id, status=overall, overall=overall, pieces=(piece,))


def told(*data: EventData) -> list[str]:
    """The lines, without colours and times."""
    whole = Timeline()
    for one in data:
        whole.add(event(one))
    found = [click.unstyle(timeline.line(entry)) for entry in whole.entries]
    return [re.sub(r"\b\d\d:\d\d(:\d\d)?\b ?", "", line).strip() for line in found]


def test_a_message_is_one_line_with_what_became_of_it() -> None:
    assert told(asked(), sent(), status("sent"), status("delivered"), status("delivered"), status("read")) == [
        "sms/uk-sms ← Anna: Hello",
        "sms/uk-sms → Lee: On its way.  ✓ sent  ✓✓ delivered  ✓✓ read",
    ]


def test_a_receipt_stands_with_its_own_message_whatever_came_between() -> None:
    assert told(sent("r1", "One"), sent("r2", "Two"), status("delivered", "r1")) == [
        "sms/uk-sms → Lee: One  ✓✓ delivered",
        "sms/uk-sms → Lee: Two",
    ]


def test_a_failure_says_why() -> None:
    error = Error(code="rejected", message="no such number", provider_code="30006")
    assert told(sent(), status("failed", error=error)) == [
        "sms/uk-sms → Lee: On its way.  ✗ failed (failed, rejected 30006: no such number)"
    ]


def test_a_status_of_a_message_that_was_never_sent_has_a_line_too() -> None:
    (line,) = told(status("unknown", error=Error(code="ambiguous", message="no answer")))
    assert line == "sms/uk-sms → (message r1)  ? unknown (unknown, ambiguous: no answer)"
    assert told(status("accepted"), sent()) == ["sms/uk-sms → Lee: On its way.  … accepted"]


def test_a_message_that_is_stored_twice_is_told_once() -> None:
    assert told(asked(), asked()) == ["sms/uk-sms ← Anna: Hello"]


def test_what_happened_between_is_told() -> None:
    lines = told(
        ConversationOpened(conversation_id=CONVERSATION, contact_id=ANNA, channel="sms", reason="inbound"),
        ConversationClosed(conversation_id=CONVERSATION, contact_id=ANNA, channel="sms", reason="idle"),
        ConversationReopened(conversation_id=CONVERSATION, contact_id=ANNA, channel="sms", reason="inbound"),
        ContactLinked(contact_id=ANNA, addresses=("mailto:a@b.example",), assurance="channel", method="reply_token"),
        ContactUnlinked(contact_id=ANNA, addresses=("mailto:a@b.example",), method="command"),
        ContactMerged(from_id=BEN, into_id=ANNA, method="command"),
        ContactUnmerged(from_id=ANNA, into_id=BEN, method="command"),
        CommandFailed(error=Error(code="expired", message="too late"), command_type="sluiceway.message.send"),
    )
    assert [line.removeprefix("sms/uk-sms · ") for line in lines] == [
        "opened",
        "closed: idle",
        "goes on",
        "contact.linked  mailto:a@b.example: channel by reply_token",
        "contact.unlinked  mailto:a@b.example",
        f"contact.merged  contact {BEN} is now {ANNA}: command",
        f"contact.unmerged  contact {BEN} is no longer {ANNA}: command",
        "command.failed  expired: too late (sluiceway.message.send)",
    ]


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x9b2J", "\r", "\u202e", "a\nb"])
def test_nothing_that_was_written_drives_the_terminal(bad: str) -> None:
    lines = told(asked(bad), sent(text=bad), status("failed", error=Error(code=bad, message=bad)))
    lines += told(ContactLinked(contact_id=ANNA, addresses=(bad,), assurance=bad, method=bad))
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", "".join(lines))


def test_the_story_is_shown_over_all_its_channels(cli: Cli) -> None:
    cli.publish()
    assert cli.run("play", str(STORY)).returncode == 0
    done = cli.run("conversation", "show", CONVERSATION)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"conversation {CONVERSATION} of acme, contact {ANNA}"
    assert "webform/shop-contact ← Sam Okafor: Your name: Sam Okafor ⏎" in done.stdout
    assert re.search(r"email/help → Lee: Hello Sam,.*✓ sent \d\d:\d\d  ✓✓ delivered \d\d:\d\d", done.stdout)
    assert "voice/uk-voice · from email to voice" in done.stdout
    assert lines[-1].endswith("closed: command")
    found = [json.loads(line) for line in cli.run("conversation", "show", CONVERSATION, "--json").stdout.splitlines()]
    assert len(found) == len(lines) - 1
    assert [one["status"] for one in found[2]["receipts"]] == ["sent", "delivered"]


def test_where_it_came_from_and_where_it_goes_on_is_said(cli: Cli) -> None:
    opened = ConversationOpened(
        conversation_id=CONVERSATION, contact_id=ANNA, channel="sms", reason="inbound", previous_id=OTHER
    )
    closed = ConversationClosed(
        conversation_id=CONVERSATION, contact_id=ANNA, channel="sms", reason="merged", continued_as=OTHER
    )
    cli.publish(event(opened), b"no event", event(closed))
    done = cli.run("conversation", "show", CONVERSATION)
    assert f"the one before: sluiceway conversation show {OTHER}" in done.stdout
    assert done.stdout.endswith(f"it goes on: sluiceway conversation show {OTHER}\n")
    assert "event 2 can't be read" in done.stderr


def test_of_a_conversation_that_the_stream_does_not_have_it_says_so(cli: Cli) -> None:
    cli.publish(received("Hello"))
    done = cli.run("conversation", "show", OTHER)
    assert done.returncode == 1
    assert done.stderr == f"sluiceway: the stream has nothing of {OTHER}; `sluiceway conversation list` names some\n"


def keep(cli: Cli, *records: tuple[str, ConversationState | None]) -> None:
    asyncio.run(_keep(cli.nats, records))


async def _keep(nats: Nats, records: tuple[tuple[str, ConversationState | None], ...]) -> None:
    link = Link(nats, "test")
    await link.connect()
    layout = Layout(nats)
    await ensure(link, layout, create=True)
    for tenant, record in records:
        if record is None:
            await link.publish(f"$KV.{layout.state}.{tenant}.conversation.x", b"", {"KV-Operation": "DEL"})
        else:
            await Bucket(link, layout.state, ConversationState).put(f"{tenant}.conversation.{record.id}", record)
    await link.close()


def talk(number: int, state: str = "open", channel: str = "sms", **fields: Any) -> ConversationState:
    return ConversationState(
        id=fields.pop("id", uuid7()),
        state=state,
        contact=ANNA,
        channels=(channel,),
        message_count=MessageCount(inbound=number, outbound=1),
        last_at=now(),
        last_sequence=number,
        **fields,
    )


def counts(cli: Cli, *arguments: str) -> list[int]:
    done = cli.run("conversation", "list", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["message_count"]["in"] for line in done.stdout.splitlines()]


def test_conversations_are_listed_by_their_latest_activity(cli: Cli) -> None:
    records = [
        ("acme", talk(5)),
        ("acme", talk(9, channel="email")),
        ("globex", talk(7)),
        ("acme", talk(8, "closed")),
        ("acme", talk(6, "erased")),
        ("acme", None),
    ]
    keep(cli, *records)
    assert counts(cli) == [9, 7, 5]
    assert counts(cli, "--tenant", "acme") == [9, 5]
    assert counts(cli, "--closed") == [8]
    assert counts(cli, "--all") == [9, 8, 7, 6, 5]
    assert counts(cli, "--channel", "sms", "--limit", "1") == [7]


def test_a_listed_conversation_says_who_wrote_last_and_what_became_of_the_answer(cli: Cli) -> None:
    inbound = LastInbound(message_id="m", at=now(), sequence=1, address="tel:+447700900456")
    outbound = LastOutbound(message_id="r", at=now(), status="failed")
    keep(cli, ("acme", talk(3, id=OTHER, last_inbound=inbound, last_outbound=outbound)))
    (line,) = cli.run("conversation", "list").stdout.splitlines()
    assert line.endswith(f"{OTHER}  acme  open  sms  ←3 →1  tel:+447700900456  last answer failed")


def test_a_list_reaches_back_as_far_as_it_must(cli: Cli) -> None:
    """The first look is at the last thousand writes; the only one that fits was written before."""
    keep(cli, ("acme", talk(1, channel="email")), *(("acme", talk(n)) for n in range(2, 1100)))
    assert counts(cli, "--channel", "email") == [1]
    assert counts(cli, "--limit", "3") == [1099, 1098, 1097]


def test_where_there_is_no_bucket_the_remedy_is_said(cli: Cli) -> None:
    done = cli.run("conversation", "list")
    assert done.returncode == 1
    assert "is not there; `sluiceway up` or `run` creates it" in done.stderr

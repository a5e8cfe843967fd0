"""`sluiceway contact`: questions answered from the records, decisions carried as commands; a dispatcher stands in."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluiceway.accounts import Notice
from sluiceway.answers import Answers
from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.gateway import Capabilities
from sluiceway.projection import Projection
from sluiceway.units import Chars
from sluiceway_contracts import (
    Command,
    CommandFailed,
    ConsentChanged,
    ContactConflict,
    ContactErase,
    ContactErased,
    ContactLink,
    ContactLinked,
    ContactMerge,
    ContactMerged,
    ContactSplit,
    ContactState,
    ContactUnlink,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    Error,
    Event,
    EventData,
    Message,
    MessageReceived,
    Party,
    Text,
    subjects,
    uuid7,
)
from sluiceway_contracts.commands import CommandData

from .conftest import CONVERSATION, Cli

PHONE, MAIL = "tel:+447700900456", "mailto:anna@customer.example"
ANNA, BEN = "019c22f1-d578-7b69-b91e-e6031249eeb2", "019c22f1-d578-7b69-b91e-e6031249eeb3"
UNDO = "019bbbda-e821-7805-a4c5-faebafce1a3b"
TYPED = "mailto:typed@customer.example"
OWNERS = {PHONE: ANNA, MAIL: BEN}


def carried_out(command: Command) -> EventData:
    """What a dispatcher would say; it refuses to erase Ben."""
    match command.data:
        case ContactMerge(from_id=old, into_id=into):
            return ContactMerged(from_id=old, into_id=into, undo=UNDO, method="command")
        case ContactSplit(contact_id=id):
            return ContactUnmerged(from_id=id, into_id=BEN, method="command")
        case ContactLink(contact_id=id, address=address) if address == TYPED:
            return ContactVerified(contact_id=id, addresses=(address,), assurance="agent", method="command")
        case ContactLink(contact_id=id, address=address):
            return ContactLinked(contact_id=id, addresses=(address,), assurance="agent", method="command")
        case ContactUnlink(contact_id=id, address=address):
            return ContactUnlinked(contact_id=id, addresses=(address,), method="command")
        case ContactErase(contact_id=id) if id != BEN:
            return ContactErased(contact_id=id, method="command")
    return CommandFailed(error=Error(code="refused", message="not him"), command_id=command.id)


class Dispatcher:
    """Answers, projects, and carries commands out."""

    def __init__(self, link: Link, cli: Cli) -> None:
        self.layout = Layout(link.settings)
        self.cli = cli
        self.commands: list[Command] = []
        self._link = link
        self._prefix = link.settings.prefix

    def last(self) -> CommandData:
        """The last command."""
        return self.commands[-1].data

    async def owner(self, tenant: str, address: str) -> str | None:
        return OWNERS.get(address) if tenant == "acme" else None

    async def run(self) -> None:
        for question, answer in Answers(self._link, self.layout.state, self).asks.items():

            async def respond(message: Any, answer: Any = answer) -> None:
                tenant = message.subject.split(".")[2]
                await self._link.send(message.reply, await answer(tenant, message.data))

            await self._link.subscribe(f"{self._prefix}.v1.*.ask.{question}", respond)
        projection = await Projection.create(self._link, self.layout, self._prefix)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(projection.run())
            tasks.create_task(self._carry_out())

    async def _carry_out(self) -> None:
        subject = subjects.command("acme", "sluiceway.contact.x", prefix=self._prefix).replace(".x._", ".>")
        async for stored in Reader(self._link, self.layout.commands).messages(subject, "all"):
            command = Command.decode(stored.data)
            self.commands.append(command)
            await self.tell(carried_out(command), causationid=command.id)

    async def tell(self, data: EventData, contact: str = ANNA, **fields: Any) -> None:
        """An event of acme's, on the stream."""
        event = Event(tenant="acme", channel="sms", account="uk-sms", contactid=contact, data=data, **fields)
        await self._link.publish(event.nats_subject(self._prefix), event.encode(), event.headers())

    async def wrote(self, contact: str, address: str, text: str) -> None:
        author = Party(role="customer", address=address, contact_id=contact, assurance="channel")
        message = Message(id=uuid7(), author=author, parts=(Text(text=text),), text=text)
        await self.tell(MessageReceived(message=message, resolved_by="open"), contact, subject=CONVERSATION)

    async def until(self, contact: str, condition: Callable[[ContactState], object]) -> None:
        """Return once the record is so."""
        bucket = Bucket(self._link, self.layout.state, ContactState)
        for _ in range(500):
            entry = await bucket.get(f"acme.contact.{contact}")
            if entry is not None and condition(entry.value):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the record of {contact} never was so")

    async def contact(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self.cli.run, "contact", *arguments, "--tenant", "acme", input=input)


@asynccontextmanager
async def dispatching(cli: Cli) -> AsyncIterator[Dispatcher]:
    link = Link(cli.nats, "dispatcher")
    await link.connect()
    await ensure(link, Layout(cli.nats), create=True)
    dispatcher = Dispatcher(link, cli)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await link.close()


@pytest.fixture
async def dispatcher(cli: Cli) -> AsyncIterator[Dispatcher]:
    """Anna wrote by telephone, Ben by mail; they may be one."""
    async with dispatching(cli) as dispatcher:
        await dispatcher.wrote(ANNA, PHONE, "Hello")
        await dispatcher.wrote(BEN, MAIL, "Hello, too")
        conflict = ContactConflict(
            contact_id=ANNA, candidate_id=BEN, addresses=(MAIL,), assurance="asserted", method="form"
        )
        await dispatcher.tell(conflict)
        consent = ConsentChanged(address=PHONE, channel="sms", purpose="all", state="revoked", method="keyword")
        await dispatcher.tell(consent)
        await dispatcher.until(ANNA, lambda anna: anna.consents)
        yield dispatcher


async def test_a_contact_is_shown_with_all_that_is_known(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("show", PHONE)
    assert done.returncode == 0, done.stderr
    first, address, consent, conflict, talk = (line.strip() for line in done.stdout.splitlines())
    assert first == f"contact {ANNA}"
    assert address.startswith(f"address {PHONE}  channel, inbound ")
    assert address.endswith(", sms")
    assert consent.startswith(f"consent {PHONE}  all on sms revoked ")
    assert conflict.startswith(f"perhaps {BEN}  by {MAIL} ")
    assert talk == f"open    {CONVERSATION}"
    told = json.loads((await dispatcher.contact("show", ANNA, "--json")).stdout)
    assert (told["ids"], told["contact"]["open_conversation"]) == ([ANNA], CONVERSATION)


async def test_who_is_not_known_is_said(dispatcher: Dispatcher) -> None:
    for who, why in ((uuid7(), "there is no contact"), ("tel:+447700900999", "this address is nobody's")):
        done = await dispatcher.contact("show", who)
        assert done.returncode == 1
        assert why in done.stderr


async def test_two_are_merged_and_split_again(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("merge", MAIL, PHONE, "--evidence", "one order")
    assert done.returncode == 0, done.stderr
    assert "contact.merged" in done.stdout
    assert done.stdout.splitlines()[-1] == f"to take it back: sluiceway contact split {ANNA} {UNDO}"
    assert dispatcher.last() == ContactMerge(from_id=BEN, into_id=ANNA, evidence="one order")
    await dispatcher.until(BEN, lambda ben: ben.merged_into == ANNA)
    shown = (await dispatcher.contact("show", MAIL)).stdout
    assert shown.startswith(f"contact {ANNA}\n  once    {BEN}\n")
    done = await dispatcher.contact("split", PHONE, UNDO)
    assert done.returncode == 0, done.stderr
    assert dispatcher.last() == ContactSplit(contact_id=ANNA, undo=UNDO)
    await dispatcher.until(BEN, lambda ben: ben.merged_into is None)


async def test_an_address_is_linked_and_unlinked(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("link", ANNA, "MAILTO:anna@Customer.Example", "--evidence", "said so", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["addresses"] == [MAIL]
    assert dispatcher.last() == ContactLink(contact_id=ANNA, address=MAIL, evidence="said so")
    done = await dispatcher.contact("unlink", PHONE, MAIL)
    assert done.returncode == 0, done.stderr
    assert "contact.unlinked" in done.stdout


async def test_an_address_that_was_only_typed_in_is_linked(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("link", PHONE, TYPED)
    assert done.returncode == 0, done.stderr
    assert "contact.verified" in done.stdout


async def test_who_is_one_already_is_not_merged(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("merge", ANNA, PHONE)
    assert (done.returncode, done.stderr) == (1, f"sluiceway: both are the contact {ANNA} already\n")
    assert dispatcher.commands == []


async def test_a_contact_is_erased_only_when_that_is_confirmed(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("erase", PHONE, input="n\n")
    assert (done.returncode, dispatcher.commands) == (1, [])
    done = await dispatcher.contact("erase", PHONE, "--yes", "--reason", "asked to be forgotten")
    assert done.returncode == 0, done.stderr
    assert dispatcher.last() == ContactErase(contact_id=ANNA, reason="asked to be forgotten")
    await dispatcher.until(ANNA, lambda anna: anna.erased_at)
    assert "\n  erased " in (await dispatcher.contact("show", ANNA)).stdout


async def test_what_is_refused_ends_with_1_and_says_why(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("erase", BEN, "--yes")
    assert done.returncode == 1
    assert "refused: not him" in done.stdout
    assert done.stderr == "sluiceway: nothing was changed\n"


async def test_without_waiting_the_command_is_only_stored(dispatcher: Dispatcher) -> None:
    done = await dispatcher.contact("erase", BEN, "--yes", "--wait", "0")
    assert done.stdout.startswith("stored: command ")
    done = await dispatcher.contact("erase", BEN, "--yes", "--wait", "0", "--json")
    assert json.loads(done.stdout)["data"] == {"contact_id": BEN}


async def test_all_that_is_there_of_a_person_is_exported(dispatcher: Dispatcher, tmp_path: Path) -> None:
    await dispatcher.contact("merge", MAIL, PHONE)
    await dispatcher.until(ANNA, lambda anna: anna.merged_from == (BEN,))
    await dispatcher.wrote(uuid7(), "tel:+447700900777", "Somebody else's")
    link, prefix = dispatcher._link, dispatcher._prefix
    await link.publish(f"{prefix}.v1.acme.events.message.received.sms.{BEN}._", b"no JSON")
    file = tmp_path / "anna.json"
    done = await dispatcher.contact("export", MAIL, "--out", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert file.stat().st_mode & 0o077 == 0
    found = json.loads(file.read_bytes())
    assert (found["tenant"], found["ids"]) == ("acme", [ANNA, BEN])
    assert {one["id"] for one in found["contacts"]} == {ANNA, BEN}
    assert [one["id"] for one in found["conversations"]] == [CONVERSATION]
    assert [one.get("type", "").rpartition(".")[2] for one in found["events"][:-1]] == [
        "received",
        "received",
        "conflict",
        "changed",
        "merged",
    ]
    assert found["events"][-1] == "no JSON"
    assert "Somebody else's" not in file.read_text()
    assert json.loads((await dispatcher.contact("export", MAIL)).stdout)["ids"] == [ANNA, BEN]


async def serve(cli: Cli, *keys: str) -> None:
    link = Link(cli.nats, "test")
    await link.connect()
    await ensure(link, Layout(cli.nats), create=True)
    notice = Notice(connection="c", gateway="sms.twilio", address=PHONE, capabilities=Capabilities(text=Chars(160)))
    for key in keys:
        await Bucket(link, Layout(cli.nats).accounts, Notice).put(key, notice)
    await link.close()


async def test_the_only_tenant_that_has_accounts_need_not_be_named(cli: Cli) -> None:
    done = await asyncio.to_thread(cli.run, "contact", "show", ANNA)
    assert "name the tenant with --tenant: no gateway has run here for a day" in done.stderr
    await serve(cli, "acme.sms.uk-sms", "acme.sms.de-sms")
    done = await asyncio.to_thread(cli.run, "contact", "show", ANNA)
    assert done.returncode == 1
    assert done.stderr == "sluiceway: no dispatcher answers: start `sluiceway run dispatcher`\n"
    await serve(cli, "globex.sms.uk-sms")
    done = await asyncio.to_thread(cli.run, "contact", "show", ANNA)
    assert "name the tenant with --tenant: there are acme, globex" in done.stderr


async def test_where_no_dispatcher_carries_it_out_that_is_said(cli: Cli) -> None:
    await serve(cli)
    arguments = ("contact", "unlink", ANNA, MAIL, "--tenant", "acme", "--wait", "1s")
    done = await asyncio.to_thread(cli.run, *arguments)
    assert done.returncode == 1
    assert "no `sluiceway run dispatcher` runs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("show", "07700900456"), "neither a contact's id, a UUID in lower case, nor an address"),
        (("link", ANNA, "07700900456"), "not an address"),
        (("split", ANNA, "it"), "'it' is no id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_name_is_told(cli: Cli, arguments: tuple[str, ...], why: str) -> None:
    done = cli.run("contact", *arguments)
    assert done.returncode == 2
    assert why in " ".join(done.stderr.split())


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"contact": 1}'])
async def test_an_answer_that_can_not_be_read_is_told(cli: Cli, answer: bytes) -> None:
    link = Link(cli.nats, "test")
    await link.connect()

    async def respond(message: Any) -> None:
        await link.send(message.reply, answer)

    await link.subscribe(f"{cli.nats.prefix}.v1.acme.ask.contact", respond)
    done = await asyncio.to_thread(cli.run, "contact", "show", ANNA, "--tenant", "acme")
    await link.close()
    assert done.returncode == 1
    assert "is the dispatcher of another version?" in done.stderr

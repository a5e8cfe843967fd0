"""Accounts and secrets that change while the process runs: taken whole, or not at all, and nobody else notices."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluiceway import accounts, accountwork, announcer, config, metrics, outbound, reload
from sluiceway.errors import Unavailable
from sluiceway.gateway import Deliverer, Files, Outbound, Sent
from sluiceway.reload import Reloader
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.wire import Request, Response
from sluiceway_contracts import AccountUnknown, Event, MessageReceived, MessageSent, MessageStatus
from sluiceway_gateways.sms.twilio import TwilioSms

from .conftest import ENVIRONMENT, TWILIO, Rig, _numbers, until

CONNECTIONS = TWILIO.partition("[connections.twilio-uk]")[2].partition("[accounts.uk-sms]")[0]
CORE = TWILIO.partition("[connections.twilio-uk]")[0] + "[reload]\nevery_s = 3600\n"
LINE = """
[accounts.{name}]
connection = "twilio-uk"
tenant = "{tenant}"
address = "tel:{number}"
"""
UK, DE = "+447700900123", "+4915700000123"


class Folder(Rig):
    """A service whose accounts are in files of a folder, and a reloader that looks when told."""

    folder: Path
    loaded: config.Config
    reloader: Reloader

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def reload(self) -> None:
        await self.reloader._look(self.service.renew)

    @property
    def names(self) -> set[str]:
        return {served.name for served in self.accounts}


def line(name: str, number: str, tenant: str = "acme") -> str:
    return LINE.format(name=name, number=number, tenant=tenant)


@asynccontextmanager
async def folder(tmp_path: Path, server: NatsServer, *, wait: bool = True) -> AsyncIterator[Folder]:
    api = free_port()
    values = {"url": server.url, "number": next(_numbers), "hooks": free_port(), "probes": free_port(), "api": api}
    file = tmp_path / "sluiceway.toml"
    file.write_text(CORE.format(**values))
    (tmp_path / "token").write_text(ENVIRONMENT["TWILIO_TOKEN"])
    (tmp_path / "accounts.d").mkdir()
    connection = "[connections.twilio-uk]" + CONNECTIONS.format(**values).replace("env:TWILIO_TOKEN", "file:token")
    (tmp_path / "accounts.d" / "twilio.toml").write_text(connection)
    (tmp_path / "accounts.d" / "uk.toml").write_text(line("uk-sms", UK))
    loaded = config.load(str(file), ENVIRONMENT)
    rig = Folder(loaded.core, accounts.of(loaded), api)
    rig.folder, rig.loaded, rig.reloader = tmp_path / "accounts.d", loaded, Reloader(loaded, (), ENVIRONMENT)
    try:
        await (rig.start() if wait else rig.service.start())
        yield rig
    finally:
        await (rig.stop() if wait else asyncio.gather(rig.service.stop(), rig.client.close()))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "SETTLE_S", 0.05)
    monkeypatch.setattr(accountwork, "FAREWELL_LOOK_S", 0.05)


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Folder]:
    async with folder(tmp_path, shared_nats) as rig:
        yield rig


async def test_an_account_that_is_added_receives_and_sends(rig: Folder) -> None:
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.text("Hallo", account="de-sms")
    (received,) = await rig.events("message.received")
    assert (received.account, type(received.data)) == ("de-sms", MessageReceived)
    await rig.send("Unterwegs.", account="de-sms", conversation_id=received.subject)
    await rig.until_event("message.sent")
    assert rig.provider.requests[-1].form["From"] == DE


async def test_an_account_that_is_removed_is_nobodys_from_then_on(rig: Folder) -> None:
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    gone = rig.account("de-sms")
    (rig.folder / "de.toml").unlink()
    await rig.reload()
    await rig.deliver(rig.simulator.deliver(gone.account, "+447700900456", "Hallo"))
    (unknown,) = await rig.events("account.unknown")
    assert isinstance(unknown.data, AccountUnknown)
    assert unknown.data.identity == DE
    await until(lambda: _register_lacks(rig, "acme.sms.de-sms"), "the register has forgotten it")
    await rig.send("Unterwegs.", account="de-sms", to=())
    await rig.until_event("command.failed")


async def _register_lacks(rig: Folder, key: str) -> bool:
    return await rig.service._register.get(key) is None


async def _left_behind(rig: Folder, monkeypatch: pytest.MonkeyPatch, number: int = 3) -> list[str]:
    """Commands that wait for an account whose credentials are refused, which is then removed; their ids."""
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.text("Hallo", account="de-sms")
    where = (await rig.events("message.received"))[-1].subject

    async def refuse(request: Request) -> Response:
        return Response.of_json({"code": 20003, "message": "Authenticate"}, status=401)

    with monkeypatch.context() as patch:
        patch.setattr(rig.provider, "answer", refuse)
        sent = [await rig.send(f"No. {i}", account="de-sms", conversation_id=where) for i in range(number)]
        await rig.until_event("account.health")
        (rig.folder / "de.toml").unlink()
        await rig.reload()
    return [command.id for command in sent]


async def test_what_waits_for_an_account_that_is_removed_fails_by_name(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accountwork, "FAREWELL_S", 0)
    commands = await _left_behind(rig, monkeypatch)
    await until(lambda: _ended(rig, commands), "each command has ended")


async def _ended(rig: Folder, commands: list[str]) -> bool:
    failed = {event.causationid for event in await rig.events("command.failed")}
    rejected = {
        event.causationid
        for event in await rig.events("message.status")
        if isinstance(event.data, MessageStatus) and event.data.status == "rejected"
    }
    return failed | rejected >= set(commands)


async def test_what_waits_for_an_account_is_carried_out_by_whoever_serves_it_next(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accountwork, "FAREWELL_S", 0.5)
    commands = await _left_behind(rig, monkeypatch)
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.until_event("message.sent", len(commands))
    assert not await rig.events("command.failed")


async def _register_has(rig: Folder, key: str) -> bool:
    return not await _register_lacks(rig, key)


async def test_what_an_account_has_in_hand_is_finished_and_sent_once(rig: Folder) -> None:
    where = (await _written(rig)).subject
    for number in range(40):
        await rig.send(f"No. {number}", conversation_id=where)
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.until_event("message.sent", 40)
    bodies = [request.form["Body"] for request in rig.provider.requests]
    assert bodies == [f"No. {number}" for number in range(40)]


async def _written(rig: Folder) -> Event:
    await rig.text("Where is my order?")
    return (await rig.events("message.received"))[-1]


async def test_a_connection_that_is_as_before_keeps_its_gateway_and_its_work(rig: Folder) -> None:
    assert rig.service._staff is not None
    gateway, tasks = rig.accounts.gateways["twilio-uk"], dict(rig.service._staff._tasks)
    other = (rig.folder / "twilio.toml").read_text().replace("twilio-uk", "twilio-de")
    rig.write("other.toml", other + line("de-sms", DE).replace("twilio-uk", "twilio-de"))
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms"}
    assert rig.accounts.gateways["twilio-uk"] is gateway
    assert rig.service._staff._tasks["acme.sms.uk-sms"] is tasks["acme.sms.uk-sms"]


async def test_a_secret_that_is_exchanged_in_its_file_is_used(rig: Folder) -> None:
    before = rig.simulator.deliver(rig.account().account, "+447700900456", "Signed with the old one")
    (rig.folder.parent / "token").write_text("another-0123456789")
    await rig.reload()
    assert (await rig.deliver(before)).status == 403
    simulator = type(rig.simulator)(rig.accounts.connections["twilio-uk"].settings, rig.hook_url)
    after = simulator.deliver(rig.account().account, "+447700900456", "Signed with the new one")
    assert (await rig.deliver(after)).status == 200


SECOND = '[connections.x]\ngateway = "sms.twilio"\nsid = "AC00000000000000000000000000000002"\ntoken = "file:missing"\n'
MISTAKES = {
    "no TOML": "[accounts",
    "an unknown key": line("de-sms", DE) + "colour = 3\n",
    "a connection that is none": line("de-sms", DE).replace("twilio-uk", "twilio-fr"),
    "somebody's address": line("de-sms", UK),
    "somebody's name": line("uk-sms", DE),
    "a section that is none of accounts": line("de-sms", DE) + "[http]\nmax_connections = 1\n",
    "a secret that is not there": SECOND,
    "nothing, as while it is written": "",
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
async def test_one_mistake_and_all_goes_on_as_before_until_it_is_mended(rig: Folder, mistake: str) -> None:
    rig.write("de.toml", mistake)
    rig.write("fr.toml", line("fr-sms", "+33700000123"))
    await rig.reload()
    assert rig.names == {"uk-sms"}
    assert metrics.reload_success._value.get() == 0
    assert (await rig.text("Hello")).status == 200
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms", "fr-sms"}
    assert metrics.reload_success._value.get() == 1


async def test_a_folder_that_is_gone_or_can_not_be_looked_into_takes_no_account_away(rig: Folder) -> None:
    await rig.reload()
    elsewhere = rig.folder.rename(rig.folder.parent / "elsewhere")
    await rig.reload()
    assert rig.names == {"uk-sms"}
    assert metrics.reload_success._value.get() == 0
    rig.folder.write_text("no folder")
    await rig.reload()
    assert rig.names == {"uk-sms"}
    rig.folder.unlink()
    elsewhere.rename(rig.folder)
    await rig.reload()
    assert metrics.reload_success._value.get() == 1


async def test_what_editors_leave_beside_a_file_is_none_of_ours(rig: Folder) -> None:
    (rig.folder / ".#uk.toml").symlink_to("somebody@somewhere.1234")
    rig.write("._uk.toml", "\0")
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms"}


async def test_a_secrets_file_that_was_missing_is_waited_for(rig: Folder) -> None:
    rig.write("de.toml", SECOND + line("de-sms", DE).replace("twilio-uk", "x"))
    await rig.reload()
    assert rig.names == {"uk-sms"}
    (rig.folder.parent / "missing").write_text("0123456789abcdef")
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms"}


async def test_before_nats_was_reached_nothing_is_called_wrong(tmp_path: Path, own_nats: NatsServer) -> None:
    own_nats.kill()
    async with folder(tmp_path, own_nats, wait=False) as rig:
        rig.write("de.toml", line("de-sms", DE))
        assert not await rig.reloader._look(rig.service.renew)
        assert metrics.reload_success._value.get() == 1
        own_nats.restart()
        await until(lambda: rig.service.ready, "the service is ready")
        assert await rig.reloader._look(rig.service.renew)
        assert rig.names == {"uk-sms", "de-sms"}


async def test_files_that_are_as_before_are_not_read_again(rig: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.reload()
    renewed: list[object] = []

    async def renew(new: accounts.Accounts) -> None:
        renewed.append(new)

    monkeypatch.setattr(rig.service, "renew", renew)
    os.utime(rig.folder / "uk.toml")
    await rig.reload()
    assert not renewed


async def test_what_nats_had_no_time_for_is_tried_again(rig: Folder) -> None:
    async def refuse(new: accounts.Accounts) -> None:
        raise Unavailable("NATS is away")

    rig.write("de.toml", line("de-sms", DE))
    await rig.reloader._look(refuse)
    assert rig.names == {"uk-sms"}
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms"}


async def test_a_folder_that_kubernetes_swaps_is_taken_as_a_whole(tmp_path: Path, shared_nats: NatsServer) -> None:
    """A mounted ConfigMap: files are links into `..data`, which is a link that is replaced at once."""
    async with folder(tmp_path, shared_nats) as rig:
        for version in (1, 2):
            there = rig.folder / f"..{version}"
            there.mkdir()
            (there / "uk.toml").write_text(line(f"uk-{version}", UK))
            (there / "de.toml").write_text(line(f"de-{version}", DE))
        (rig.folder / "uk.toml").unlink()
        (rig.folder / "..data").symlink_to("..1")
        for name in ("uk.toml", "de.toml"):
            (rig.folder / name).symlink_to(f"..data/{name}")
        await rig.reload()
        assert rig.names == {"uk-1", "de-1"}
        (rig.folder / "..data_tmp").symlink_to("..2")
        (rig.folder / "..data_tmp").rename(rig.folder / "..data")
        await rig.reload()
        assert rig.names == {"uk-2", "de-2"}


async def test_files_that_change_while_they_are_read_are_read_again(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, reads = Reloader._load, 0

    def load(self: Reloader) -> object:
        nonlocal reads
        reads += 1
        found = original(self)
        if reads == 1:
            rig.write("fr.toml", line("fr-sms", "+33700000123"))
        return found

    monkeypatch.setattr(Reloader, "_load", load)
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    assert rig.names == {"uk-sms", "de-sms", "fr-sms"}


async def test_it_looks_at_once_when_told_and_outlives_whatever_breaks(rig: Folder) -> None:
    broken = asyncio.Event()

    async def renew(new: accounts.Accounts) -> None:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("a bug")
        await rig.service.renew(new)

    looking = asyncio.create_task(rig.reloader.run(renew))
    try:
        rig.write("de.toml", line("de-sms", DE))
        rig.reloader.hurry()
        await until(broken.is_set, "it looked")
        assert metrics.reload_success._value.get() == 0
        rig.reloader.hurry()
        await until(lambda: rig.names == {"uk-sms", "de-sms"}, "the account is there")
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_what_a_provider_was_asked_is_awaited_longer_than_a_process_that_ends_would(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "DRAIN_S", 0.05)
    where, asked, original = (await _written(rig)).subject, asyncio.Event(), rig.provider.answer

    async def slow(request: Request) -> Response:
        asked.set()
        await asyncio.sleep(1)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", slow)
    await rig.send("It takes a while.", conversation_id=where)
    await asked.wait()
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.until_event("message.sent")
    statuses = [e.data.status for e in await rig.events("message.status") if isinstance(e.data, MessageStatus)]
    assert "unknown" not in statuses


async def test_a_gateway_that_breaks_at_its_end_keeps_nobody_from_being_served(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(TwilioSms, Deliverer):
        async def deliver(self, message: Outbound, files: Files) -> Sent:
            raise NotImplementedError

        async def close(self) -> None:
            raise OSError("it broke")

    settings: Any = rig.accounts.connections["twilio-uk"].settings
    monkeypatch.setitem(rig.accounts.gateways, "twilio-uk", Breaking(settings))
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await rig.text("Hallo", account="de-sms")
    where = (await rig.events("message.received"))[-1].subject
    await rig.send("Unterwegs.", account="de-sms", conversation_id=where)
    await rig.until_event("message.sent")


async def test_two_changes_one_after_the_other_are_told_in_their_order(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a NATS that is far away: whoever is told of may have left meanwhile."""
    original = rig.service._register.get

    async def get(key: str) -> Any:
        await asyncio.sleep(0.02)
        return await original(key)

    monkeypatch.setattr(rig.service._register, "get", get)
    numbers = {f"n{i}": f"+4477009{i:05}" for i in range(20)}
    second = SECOND.replace("file:missing", "file:token")
    rig.write("many.toml", second + "".join(line(n, v).replace("twilio-uk", "x") for n, v in numbers.items()))
    await rig.reload()
    (rig.folder / "many.toml").unlink()
    await rig.reload()
    await until(lambda: _register_lacks(rig, "acme.sms.n19"), "the register has forgotten them")
    assert not rig.service.link.closed.is_set(), "the process goes on"
    assert await original("acme.sms.uk-sms") is not None


async def test_an_account_that_another_process_has_taken_over_is_neither_dropped_nor_refused(
    rig: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accountwork, "FAREWELL_S", 0)
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    await until(lambda: _register_has(rig, "acme.sms.de-sms"), "it is told")
    other = announcer.Announcer(rig.accounts, rig.service._register)
    await other.announce()
    rig.write("fr.toml", line("fr-sms", "+33700000123"))
    await rig.reload()
    (rig.folder / "de.toml").unlink()
    await rig.reload()
    await asyncio.sleep(0.5)
    assert await rig.service._register.get("acme.sms.de-sms") is not None
    await rig.send("Unterwegs.", account="de-sms", to=("tel:+447700900777",))
    await asyncio.sleep(0.5)
    assert not await rig.events("command.failed"), "it waits for the process that has come for the account"


async def test_who_has_said_nothing_for_long_is_taken_to_be_gone(rig: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    register, served = rig.service._register, rig.account()
    other = announcer.Announcer(rig.accounts, register)
    await other.announce()
    await rig.service._announcer._look(served, again=True)
    assert (found := await register.get(served.key)) is not None
    assert found.value.by == other._me
    monkeypatch.setattr(announcer, "GONE", datetime.timedelta(0))
    await rig.service._announcer._look(served, again=True)
    assert (found := await register.get(served.key)) is not None
    assert found.value.by == rig.service._announcer._me


async def test_an_account_that_is_healed_elsewhere_is_not_paused_here(rig: Folder) -> None:
    metrics.paused.labels("uk-sms").set(1)
    await rig.service._announcer._look(rig.account(), again=False)
    assert metrics.paused.labels("uk-sms")._value.get() == 0


async def test_a_paused_account_that_is_removed_is_not_paused_for_ever(rig: Folder) -> None:
    metrics.paused.labels("de-sms").set(1)
    rig.write("de.toml", line("de-sms", DE))
    await rig.reload()
    (rig.folder / "de.toml").unlink()
    await rig.reload()
    assert "de-sms" not in {labels[0] for labels in metrics.paused._metrics}


async def test_thirty_numbers_change_under_load_and_no_message_is_lost_or_sent_twice(rig: Folder) -> None:
    numbers = {f"n{i}": f"+4477009{i:05}" for i in range(30)}
    rig.write("many.toml", "".join(line(name, number) for name, number in numbers.items()))
    await rig.reload()
    where = (await _written(rig)).subject
    acknowledged: list[str] = []

    async def customers() -> None:
        for i in range(60):
            reply = await rig.text(f"In {i}", sender=f"+44770090{i % 7:04}")
            if reply.status == 200:
                acknowledged.append(f"In {i}")

    writing = asyncio.create_task(customers())
    for i in range(5):
        await rig.send(f"Out {i}", conversation_id=where)
        kept = {name: number for name, number in numbers.items() if name != f"n{i}"}
        rig.write("many.toml", "".join(line(name, number) for name, number in kept.items()))
        await rig.reload()
    await writing
    await rig.until_event("message.sent", 5)
    told = [event.data for event in await rig.events("message.received")]
    received = [data.message.text for data in told if isinstance(data, MessageReceived)]
    sent = [event.data for event in await rig.events("message.sent")]
    assert len(acknowledged) == 60
    assert set(acknowledged) <= set(received)
    assert len(received) == len(set(received))
    assert [data.message.text for data in sent if isinstance(data, MessageSent)] == [f"Out {i}" for i in range(5)]
    assert [request.form["Body"] for request in rig.provider.requests] == [f"Out {i}" for i in range(5)]

"""A backup, the loss of all that NATS had, and the way back: nothing that was in it is lost, or happens twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from sluiceway.bus import snapshot
from sluiceway.bus.link import Link
from sluiceway.bus.snapshot import SnapshotError
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import MessageReceived

from .conftest import Rig, linked, running, until


async def save_all(link: Link, layout: Layout, folder: Path) -> list[str]:
    return [(await snapshot.save(link, name, folder)).name for name in await snapshot.names(link, layout)]


def lose(server: NatsServer) -> None:
    """The server comes back without its disk."""
    server.kill()
    shutil.rmtree(server._folder / "jetstream")
    server.restart()


async def again(rig: Rig, tmp_path: Path) -> None:
    """The service once more, as the next pod: nothing of the one before is remembered."""
    rig.service = Service(rig.core, rig.accounts)
    rig.link = rig.service.link
    await rig.service.start()
    await until(lambda: rig.service.ready, "the service is ready")


async def test_after_the_loss_of_everything_a_backup_is_where_it_goes_on(tmp_path: Path, own_nats: NatsServer) -> None:
    async with running(tmp_path, own_nats) as rig:
        delivery = rig.simulator.deliver(rig.account().account, "+447700900456", "Where is my order?")
        await rig.deliver(delivery)
        (first,) = await rig.until_event("message.received")
        command = await rig.send("It is on its way.", conversation_id=first.subject)
        await rig.until_event("message.status")
        await rig.provider.idle()
        before = await rig.stream()
        layout = Layout(rig.core.nats)
        saved = await save_all(rig.link, layout, tmp_path / "backup")
        assert {name.removeprefix("KV_") for name in saved} >= {layout.events, layout.commands, layout.identity}
        await rig.service.stop()
        lose(own_nats)
        async with linked(rig.core.nats) as link:
            assert await snapshot.names(link, layout) == []
            for name in saved:
                await snapshot.restore(link, tmp_path / "backup" / name)
        own_nats.restart()  # only then the server reads again which ids it has
        await again(rig, tmp_path)
        assert await rig.stream() == before
        await rig.deliver(delivery)
        await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
        await rig.text("And my invoice?")
        await rig.send("It is attached.", conversation_id=first.subject)
        await until(lambda: len(rig.provider.requests) == 2, "the second answer is sent")
        received = await rig.until_event("message.received", 2)
        assert [event.data.message.text for event in received if isinstance(event.data, MessageReceived)] == [
            *("Where is my order?", "And my invoice?")
        ]
        assert {(event.contactid, event.subject) for event in received} == {(first.contactid, first.subject)}
        assert [request.form["Body"] for request in rig.provider.requests] == ["It is on its way.", "It is attached."]


async def test_a_command_that_waited_when_it_was_saved_is_carried_out_after_the_restore(
    tmp_path: Path, own_nats: NatsServer
) -> None:
    async with running(tmp_path, own_nats) as rig:
        layout = Layout(rig.core.nats)
        await rig.service.stop()
        async with linked(rig.core.nats) as link:
            rig.link = link
            await rig.send("It waits.", to=("tel:+447700900777",))
            saved = await save_all(link, layout, tmp_path / "backup")
        lose(own_nats)
        async with linked(rig.core.nats) as link:
            for name in saved:
                await snapshot.restore(link, tmp_path / "backup" / name)
        await again(rig, tmp_path)
        await rig.until_event("message.sent")
        assert [request.form["Body"] for request in rig.provider.requests] == ["It waits."]


async def test_tables_are_saved_after_the_streams_that_they_tell_of(link: Link, layout: Layout) -> None:
    names = await snapshot.names(link, layout)
    ledger, contacts = f"KV_{layout.messages}", f"KV_{layout.identity}"
    assert names.index(layout.commands) < names.index(layout.events) < names.index(contacts) < names.index(ledger)
    assert set(names) == set(layout.configs)


async def test_what_is_there_is_not_overwritten_and_what_is_missing_can_not_be_saved(
    link: Link, layout: Layout, tmp_path: Path
) -> None:
    await snapshot.save(link, layout.dead, tmp_path)
    with pytest.raises(SnapshotError, match="already in use"):
        await snapshot.restore(link, tmp_path / layout.dead)
    with pytest.raises(SnapshotError, match="stream not found"):
        await snapshot.save(link, "NOBODYS", tmp_path)


async def test_a_broken_file_is_told_and_makes_no_stream(link: Link, layout: Layout, tmp_path: Path) -> None:
    await snapshot.save(link, layout.dead, tmp_path)
    (tmp_path / layout.dead / snapshot.DATA).write_bytes(b"no archive")
    await link.request(link.api(f"STREAM.DELETE.{layout.dead}"))
    with pytest.raises(SnapshotError, match="can't be restored"):
        await snapshot.restore(link, tmp_path / layout.dead)
    answer = msgspec.json.decode((await link.request(link.api(f"STREAM.INFO.{layout.dead}"))).data)
    assert answer["error"]["code"] == 404


async def test_without_a_backup_streams_are_made_anew_and_running_processes_go_on(
    tmp_path: Path, own_nats: NatsServer
) -> None:
    async with running(tmp_path, own_nats) as rig:
        await rig.text("Where is my order?")
        (before,) = await rig.until_event("message.received")
        await rig.send("It is on its way.", conversation_id=before.subject)
        await rig.until_event("message.sent")
        lose(own_nats)
        await until(lambda: rig.link.connected, "it is connected again")
        assert (await rig.text("Hello?")).status == 503, "there is no stream that takes it"
        async with linked(rig.core.nats) as link:
            await ensure(link, Layout(rig.core.nats), create=True, tenants=["acme"])

        async def is_taken() -> bool:
            return (await rig.text("Hello?")).status == 200

        await until(is_taken, "deliveries are taken")
        (after,) = await rig.until_event("message.received")
        assert after.contactid != before.contactid, "nobody knows the customer any more"
        await rig.send("Good morning.", conversation_id=after.subject)
        await rig.until_event("message.sent")


async def test_a_nats_of_many_may_have_more_streams_than_it_tells_at_once(own_nats: NatsServer) -> None:
    async with linked(Nats(url=own_nats.url)) as link:
        layout = Layout(link.settings)
        for number in range(1100):
            config = {"name": f"A{number}", "subjects": [f"a{number}"], "storage": "memory"}
            await link.request(link.api(f"STREAM.CREATE.A{number}"), msgspec.json.encode(config))
        await ensure(link, layout, create=True, tenants=["acme"])
        assert set(await snapshot.names(link, layout)) == {*layout.configs, f"OBJ_{layout.media('acme')}"}

"""A backup, the loss of all that NATS had, and the way back: nothing that was in it is lost, or happens twice."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import pytest

from sluiceway.bus import backup, numbers, snapshot
from sluiceway.bus.backup import BackupError, Failed
from sluiceway.bus.consumer import Consumer
from sluiceway.bus.durables import Durables
from sluiceway.bus.inbox import Inbox
from sluiceway.bus.link import Link
from sluiceway.bus.snapshot import SnapshotError
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.consents import ConsentRecord, Consents
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import ConsentChanged, ConversationState, Event, MessageReceived

from .conftest import Rig, linked, running, until


async def save_all(link: Link, layout: Layout, folder: Path) -> list[str]:
    return [saved.name async for saved in backup.save(link, layout, folder)]


async def restore_all(link: Link, folder: Path) -> None:
    assert [made async for made in backup.restore(link, folder) if isinstance(made, Failed)] == []


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
            assert await backup.order(link, layout) == ([], [])
            await restore_all(link, tmp_path / "backup")
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


async def test_what_happened_while_it_was_saved_does_not_hide_what_comes_after_the_restore(
    tmp_path: Path, own_nats: NatsServer
) -> None:
    async with running(tmp_path, own_nats) as rig:
        await rig.text("Where is my order?")
        (first,) = await rig.until_event("message.received")
        layout, known = Layout(rig.core.nats), 0
        async for saved in backup.save(rig.link, layout, tmp_path / "backup"):
            if saved.name == layout.events:
                known = await busy(rig, first)
        await rig.service.stop()
        lose(own_nats)
        async with linked(rig.core.nats) as link:
            await restore_all(link, tmp_path / "backup")
        own_nats.restart()
        await again(rig, tmp_path)
        assert (await talk(rig, first)).last_sequence == known
        await say(rig, "revoked")
        await rig.text("And my invoice?")
        await until(lambda: said(rig, {"sms"}), "the opt-out is respected")

        async def moves_on() -> bool:
            return (await talk(rig, first)).last_sequence > known + 1

        await until(moves_on, "the conversation's record moves on")


OPTED_OUT = "tel:+447700900777"


async def busy(rig: Rig, first: Event) -> int:
    """Events that are not in the stream's file any more, and in the tables; the last number that these know."""
    for words in ("Hello?", "Is anybody there?", "Please answer."):
        await rig.text(words)
    await say(rig, "revoked")
    await until(lambda: said(rig, {"sms"}), "it is noted")
    await say(rig, "granted")
    await until(lambda: said(rig, set()), "it is noted")
    await rig.text("Never mind.")
    events = await numbers.last(rig.link, Layout(rig.core.nats).events)

    async def projected() -> bool:
        return (await talk(rig, first)).last_sequence == events

    await until(projected, "the conversation's record has it")
    return events


async def say(rig: Rig, state: Literal["granted", "revoked"]) -> None:
    data = ConsentChanged(address=OPTED_OUT, channel="sms", purpose="all", state=state, method="keyword")
    event = Event(tenant="acme", channel="sms", account="uk-sms", data=data)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())


async def said(rig: Rig, channels: set[str]) -> bool:
    bucket = Bucket(rig.link, Layout(rig.core.nats).identity, ConsentRecord)
    return await Consents(bucket, rig.service._identity).revoked("acme", OPTED_OUT) == channels


async def talk(rig: Rig, first: Event) -> ConversationState:
    found = await Bucket(rig.link, Layout(rig.core.nats).state, ConversationState).get(
        f"acme.conversation.{first.subject}"
    )
    assert found is not None
    return found.value


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_numbers_that_were_skipped_stay_so_and_no_reader_is_disturbed(
    tmp_path: Path, own_nats: NatsServer, how: str
) -> None:
    """The server has places of readers that wait, have read, and have read without acknowledging."""
    settings = Nats(url=own_nats.url, prefix="p", names="N")
    layout = Layout(settings)

    async def places(link: Link) -> dict[str, tuple[Any, ...]]:
        found = {}
        for name in ("state", "desk", "late"):
            info = await snapshot.call(link, f"CONSUMER.INFO.{layout.events}.{name}", {})
            places = (info["delivered"]["stream_seq"], info["ack_floor"]["stream_seq"])
            found[name] = (*places, info["num_pending"], info["num_ack_pending"])
        return found

    async with linked(settings) as link:
        await ensure(link, layout, create=True)
        for number in range(10):
            await link.publish(f"p.v1.acme.events.message.received.sms._.{number}", b"{}")
        await Durables(link, layout.events).create("desk", "acme", "p.v1.acme.events.>", "all")
        await Durables(link, layout.events).create("late", "acme", "p.v1.acme.events.>", "all")
        await Consumer(link, layout.events, "state", "p.v1.*.events.>", in_order=True).create()
        async with Inbox(link) as inbox:
            await link.send(link.api(f"CONSUMER.MSG.NEXT.{layout.events}.desk"), b'{"batch": 4}', inbox.subject)
            got = [await inbox.next(5) for _ in range(4)]
            assert got[1] is not None
            await link.request(got[1].reply, b"+ACK")
        before = await places(link)
        assert before["desk"][2:] == (6, 3)
        assert (await save_all(link, layout, tmp_path / "backup"))[0] == layout.commands
    lose(own_nats)
    async with linked(settings) as link:
        await snapshot.restore(link, tmp_path / "backup" / layout.events)
        for _ in range(2):
            await numbers.skip(link, layout.events, 1234)
        assert await places(link) == before
    assert own_nats._process is not None
    if how == "stopped":
        own_nats._process.terminate()
        own_nats._process.wait()
    own_nats.restart()
    async with linked(settings) as link:
        assert await places(link) == before
        assert (await snapshot.call(link, f"STREAM.INFO.{layout.events}", {}))["state"]["messages"] == 10
        ack = await link.publish("p.v1.acme.events.message.received.sms._.11", b"{}")
        assert ack.seq == 1235
        after = await places(link)
        assert {name: place[2] - before[name][2] for name, place in after.items()} == dict.fromkeys(before, 1)


async def test_somebody_who_writes_during_the_restore_is_told(
    link: Link, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = numbers.last

    async def last(link: Link, stream: str) -> int:
        await link.publish(f"{link.settings.prefix}.v1.acme.events.message.received.sms._._", b"{}")
        return await there(link, stream)

    monkeypatch.setattr(numbers, "last", last)
    with pytest.raises(SnapshotError, match=r"somebody wrote to .* while it was restored: it is at 6, not at 5; stop"):
        await numbers.skip(link, layout.events, 5)


async def test_a_command_that_waited_when_it_was_saved_is_carried_out_after_the_restore(
    tmp_path: Path, own_nats: NatsServer
) -> None:
    async with running(tmp_path, own_nats) as rig:
        layout = Layout(rig.core.nats)
        await rig.service.stop()
        async with linked(rig.core.nats) as link:
            rig.link = link
            await rig.send("It waits.", to=("tel:+447700900777",))
            await save_all(link, layout, tmp_path / "backup")
        lose(own_nats)
        async with linked(rig.core.nats) as link:
            await restore_all(link, tmp_path / "backup")
        await again(rig, tmp_path)
        await rig.until_event("message.sent")
        assert [request.form["Body"] for request in rig.provider.requests] == ["It waits."]


async def test_tables_are_saved_after_the_streams_that_they_tell_of(link: Link, layout: Layout) -> None:
    names, files = await backup.order(link, layout)
    ledger, contacts = f"KV_{layout.messages}", f"KV_{layout.identity}"
    assert names.index(layout.commands) < names.index(layout.events) < names.index(contacts) < names.index(ledger)
    assert (set(names), files) == (set(layout.configs), [])


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


def _cut(folder: Path, layout: Layout) -> None:
    file = folder / layout.events / snapshot.DATA
    file.write_bytes(file.read_bytes()[:-1])


def _alter(folder: Path, layout: Layout) -> None:
    file = folder / layout.events / snapshot.DATA
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder, layout: (folder / backup.MANIFEST).unlink(), "manifest.json is missing, which is written last"),
        (lambda folder, layout: (folder / backup.MANIFEST).write_text("{"), "manifest.json can't be read"),
        (lambda folder, layout: (folder / layout.dead / snapshot.META).unlink(), "_DEAD/backup.json is missing"),
        (lambda folder, layout: shutil.rmtree(folder / layout.dead), "_DEAD/stream.tar.s2 is missing"),
        (_cut, r"_EVENTS/stream.tar.s2 has [\d,]+ bytes, not"),
        (_alter, "_EVENTS/stream.tar.s2 has another content"),
    ],
)
async def test_a_backup_that_is_not_whole_is_refused_before_anything_is_made(
    link: Link, layout: Layout, tmp_path: Path, damage: Callable[[Path, Layout], object], why: str
) -> None:
    names = await save_all(link, layout, tmp_path / "backup")
    damage(tmp_path / "backup", layout)
    for name in names:
        await snapshot.call(link, f"STREAM.DELETE.{name}", {})
    with pytest.raises(BackupError, match=why):
        await restore_all(link, tmp_path / "backup")
    assert await backup.order(link, layout) == ([], [])


async def test_a_backup_of_another_format_is_refused(link: Link, layout: Layout, tmp_path: Path) -> None:
    await save_all(link, layout, tmp_path / "backup")
    file = tmp_path / "backup" / backup.MANIFEST
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(BackupError, match="has format 2, and this version reads 1; restore it with the version that"):
        await restore_all(link, tmp_path / "backup")


async def test_a_backup_that_breaks_off_never_gets_its_name(
    link: Link, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full."""

    def full(path: Path) -> BinaryIO:
        if layout.identity in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return new(path)

    new = snapshot._new
    monkeypatch.setattr(snapshot, "_new", full)
    with pytest.raises(OSError, match="No space left"):
        await save_all(link, layout, tmp_path / "backup")
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["backup.partial"]
    with pytest.raises(BackupError, match=r"manifest\.json is missing"):
        await restore_all(link, tmp_path / "backup.partial")


async def test_a_backup_is_its_owners_alone(link: Link, layout: Layout, tmp_path: Path) -> None:
    await save_all(link, layout, tmp_path / "backups" / "now")
    there = [tmp_path / "backups", *(tmp_path / "backups").rglob("*")]
    assert len(there) == 3 + 3 * len(layout.configs)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in there}
    assert modes == {(True, 0o700), (False, 0o600)}


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
        names, files = await backup.order(link, layout)
        assert (set(names), files) == (set(layout.configs), [f"OBJ_{layout.media('acme')}"])

"""While NATS is away: what is kept on disk, in which order it comes to the stream, and what of it survives what."""

from __future__ import annotations

import asyncio
import datetime
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import Consent, Intake, Receipt, Received, Request, Response, Unavailable, Unreadable
from sluiceway.cli.up import _at_home
from sluiceway.config import Config
from sluiceway.errors import ConfigError
from sluiceway.gateway import AnyFact
from sluiceway.record import Record, decode
from sluiceway.rounds import BAD, Rounds
from sluiceway.service import Service
from sluiceway.spool import Spool
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import AccountUnknown, Error, ErrorDeadLetter, MessageReceived, Price, Text
from sluiceway_contracts.values import now
from sluiceway_gateways.sms.twilio import TwilioSms

from .conftest import TWILIO, Rig, running, until
from .test_plugin import PIGEON

SPOOLED = TWILIO + '[spool]\npath = "{folder}"\nmax_bytes = {room}\n'
ANN, BEN = "+447700900456", "+447700900457"
CARD = "4111 1111 1111 1111"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@asynccontextmanager
async def spooling(tmp_path: Path, nats: NatsServer, folder: Path, room: int = 10**6) -> AsyncIterator[Rig]:
    text = SPOOLED.replace("{folder}", str(folder)).replace("{room}", str(room))
    async with running(tmp_path, nats, text) as rig:
        yield rig


@asynccontextmanager
async def next_process(rig: Rig, folder: Path | None = None) -> AsyncIterator[Rig]:
    """The same service once more, as after a restart: same NATS, same spool unless another folder is given."""
    core = rig.core
    if folder is not None:
        core = msgspec.structs.replace(core, spool=msgspec.structs.replace(core.spool, path=str(folder)))
    rig.core, rig.service = core, Service(core, rig.accounts)
    rig.link = rig.service.link
    await rig.service.start()
    try:
        yield rig
    finally:
        await rig.service.stop()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def left(folder: Path, contents: dict[str, bytes]) -> None:
    """Files that somebody left in the folder."""
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)


def empty(folder: Path) -> Callable[[], bool]:
    return lambda: files(folder) == []


async def away(rig: Rig, nats: NatsServer) -> None:
    nats.kill()
    await until(lambda: not rig.link.connected, "the loss is noticed")


async def texts(rig: Rig, sender: str = ANN) -> list[str | None]:
    """What a customer wrote, as the stream has it."""
    events = [event.data for event in await rig.events("message.received")]
    messages = [data.message for data in events if isinstance(data, MessageReceived)]
    return [message.text for message in messages if message.author.address == f"tel:{sender}"]


async def metric(rig: Rig, name: str) -> float:
    page = (await rig.client.exchange(Request.get(f"http://{rig.service.probes.listen}/metrics"))).body.decode()
    return float(next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")))


async def test_what_comes_while_nats_is_away_is_acknowledged_and_on_the_stream_in_order_when_it_is_back(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        assert (await rig.text("0")).status == 200
        await away(rig, own_nats)
        answers = [await rig.text(str(number)) for number in range(1, 4)]
        assert [answer.status for answer in answers] == [200] * 3
        assert b"<Response" in answers[0].body, "the provider gets its usual answer"
        assert (await rig.text("other", BEN)).status == 200
        assert await metric(rig, "sluiceway_spool_records") == 4
        assert await metric(rig, "sluiceway_spool_bytes") == sum(file.stat().st_size for file in files(folder))
        own_nats.restart()
        await until(lambda: rig.link.connected, "NATS is back")
        assert (await rig.text("4")).status == 200
        await until(empty(folder), "the spool is empty")
        assert await texts(rig) == ["0", "1", "2", "3", "4"]
        assert await texts(rig, BEN) == ["other"]
        assert len(await rig.events("conversation.opened")) == 2
        assert await metric(rig, "sluiceway_spool_records") == await metric(rig, "sluiceway_spool_bytes") == 0


async def test_what_an_earlier_process_left_comes_first(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await rig.text("0")
        await away(rig, own_nats)
        for number in range(1, 4):
            await rig.text(str(number))
        await rig.service.stop()
        async with next_process(rig):
            assert not rig.service.ready
            assert (await rig.text("4")).status == 200, "NATS was not reached yet, and still it is taken"
            own_nats.restart()
            await until(lambda: rig.service.ready, "the service is ready")
            assert (await rig.text("5")).status == 200
            await until(empty(folder), "the spool is empty")
            assert await texts(rig) == ["0", "1", "2", "3", "4", "5"]


async def test_with_a_spool_it_is_ready_before_nats_is_reached(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    """Or a pod that starts while NATS is away would be sent nothing to spool."""
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        await rig.service.stop()
        async with next_process(rig):
            ready = await rig.client.exchange(Request.get(f"http://{rig.service.probes.listen}/readyz"))
            assert ready.status == 200
            assert ready.body.startswith(b"serving from the spool: NATS was not reached yet")
            assert await metric(rig, "sluiceway_ready") == 0, "whoever is to be told that it has not begun still is"
            assert (await rig.text("Hello")).status == 200
            own_nats.restart()
            await until(lambda: rig.service.ready, "the service is ready")
            ready = await rig.client.exchange(Request.get(f"http://{rig.service.probes.listen}/readyz"))
            assert (ready.status, ready.body) == (200, b"ready\n")
            await until(empty(folder), "the spool is empty")


async def test_a_burst_shares_files_and_every_sender_keeps_its_order(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    senders = [f"+4477009004{number:02}" for number in range(50)]
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        for number in range(6):
            answers = await asyncio.gather(*(rig.text(str(number), sender) for sender in senders))
            assert {answer.status for answer in answers} == {200}
        assert len(files(folder)) < 300
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        for sender in senders:
            assert await texts(rig, sender) == ["0", "1", "2", "3", "4", "5"]


async def test_a_delivery_that_is_in_the_spool_ten_times_is_one_event(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        request = rig.simulator.deliver(rig.account().account, ANN, "Hello")
        await away(rig, own_nats)
        assert {(await rig.deliver(request)).status for _ in range(10)} == {200}
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        assert (await rig.deliver(request)).status == 200
        assert await texts(rig) == ["Hello"]


async def test_a_process_that_dies_before_a_file_is_removed_stores_nothing_twice(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, name: str) -> NoReturn:
        raise OSError(errno.EIO, "input/output error")

    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        for number in range(3):
            await rig.text(str(number))
        left = files(folder)
        with monkeypatch.context() as patched:
            patched.setattr(Rounds, "remove", fails)
            own_nats.restart()

            async def stored() -> bool:
                return await metric(rig, "sluiceway_spool_records") == 0

            await until(stored, "the spool has stored it")
            await rig.service.stop()
        assert files(folder) == left
        async with next_process(rig):
            await until(empty(folder), "the spool is empty")
            assert await texts(rig) == ["0", "1", "2"]


async def test_the_message_says_when_it_arrived_and_not_when_nats_was_back(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        before = now()
        await rig.text("Hello")
        after = now()
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    arrived = event.data.message.received_at
    assert arrived is not None
    assert before <= arrived <= after


async def test_a_frozen_nats_leaves_the_provider_its_answer_in_time(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: object, *_: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    async with spooling(tmp_path, own_nats, folder) as rig:
        await rig.text("0")
        with monkeypatch.context() as patched:
            patched.setattr("sluiceway.bus.pipeline.PipelinedClient._exchange", never)
            started = asyncio.get_running_loop().time()
            assert (await rig.text("1")).status == 200
            assert asyncio.get_running_loop().time() - started < 30, "it is not for ever"
            (file,) = files(folder)
            assert b'"1"' in file.read_bytes()
            # the drain waits in there: only a lost connection would end it
            await rig.service.stop()
        async with next_process(rig):
            await until(empty(folder), "the spool is empty")
            assert await texts(rig) == ["0", "1"]


async def test_a_full_spool_sends_deliveries_back(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with spooling(tmp_path, own_nats, folder, room=1000) as rig:
        await away(rig, own_nats)
        answers = [await rig.text("x" * 100) for _ in range(5)]
        taken = [answer.status for answer in answers].count(200)
        assert 1 <= taken < 5
        assert {answer.status for answer in answers[taken:]} == {503}
        assert "retry-after" in answers[-1].headers
        assert await metric(rig, "sluiceway_spool_bytes") <= 1000
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        assert len(await texts(rig)) == taken
        assert (await rig.text("Hello")).status == 200


async def test_a_disk_that_takes_nothing_sends_deliveries_back_and_leaves_nothing(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space left on device")

    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", full)
            assert (await rig.text("lost?")).status == 503
        assert files(folder) == []
        assert (await rig.text("kept")).status == 200
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        assert await texts(rig) == ["kept"]


async def test_a_provider_that_tries_for_long_is_sent_back(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with running(tmp_path, own_nats, PIGEON + f'[spool]\npath = "{folder}"\n') as rig:
        await away(rig, own_nats)
        assert (await rig.text("Hello", "south", "north")).status == 503
        assert files(folder) == []


async def test_what_nobody_proved_is_not_spooled(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        forged = rig.simulator.deliver(rig.account().account, ANN, "Hello")
        assert (await rig.deliver(msgspec.structs.replace(forged, body=forged.body + b"&x=1"))).status == 403
        assert files(folder) == []


async def test_a_card_number_does_not_come_to_disk_and_the_message_says_that_it_was_masked(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        await rig.text(f"My card is {CARD}")
        (file,) = files(folder)
        assert b"1111 1111" not in file.read_bytes()
        assert b"4111+1111" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0, "and it is nobody else's to read"
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    assert event.data.message.text == "My card is **** **** **** 1111"
    assert event.data.message.redactions == ("card_number",)


def fact(kind: str) -> AnyFact:
    """Each as a gateway might read it: some can't be used."""
    us: dict[str, Any] = {"at": "+447700900123", "key": kind}
    text = (Text(text="Hello"),)
    facts: dict[str, AnyFact] = {
        "received": Received(**us, sender=f"tel:{ANN}", parts=text),
        "consent": Consent(**us, address=f"tel:{ANN}", state="revoked"),
        "receipt": Receipt(**us, external_id="SM1", status="delivered"),
        "unreadable": Unreadable(**us, raw=b"\xff", why="no sense in it"),
        "bad sender": Received(**us, sender="nobody", parts=text),
        "no sender": Received(**us, sender=None, parts=text),  # type: ignore[arg-type]  # a gateway that errs
        "half an emoji": Received(**us, sender=f"tel:{ANN}", parts=(Text(text="\ud83d"),)),
        "no JSON": Received(**us, sender=f"tel:{ANN}", parts=text, ext={"x": object()}),
        "half a key": Received(at=us["at"], key="\ud83d", sender=f"tel:{ANN}", parts=text),
        "nobody's": Received(at="+1", key="1", sender=f"tel:{ANN}", parts=text),
    }
    return facts[kind]


BAD_FACTS = ("unreadable", "bad sender", "no sender", "half an emoji", "no JSON", "half a key")


@pytest.mark.parametrize("kind", BAD_FACTS)
async def test_a_fact_that_cannot_be_used_is_parked_when_nats_is_back_and_spoils_only_itself(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    facts = (fact("received"), fact(kind), fact("consent"))
    monkeypatch.setattr(TwilioSms, "receive", lambda self, request: Intake(facts=facts, reply=Response(status=202)))
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        assert (await rig.text("raw")).status == 202
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        assert len(await rig.events("message.received")) == 1
        assert len(await rig.events("consent.changed")) == 1
        (dead,) = await rig.events("error.dead_letter")
        assert isinstance(dead.data, ErrorDeadLetter)
        assert b"Body=raw" in (await rig.stream("DEAD"))[0][1] or kind == "unreadable"
        assert not list((folder / BAD).iterdir())


async def test_a_delivery_that_cannot_be_read_is_parked_with_its_bytes_when_nats_is_back(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, request: Request) -> NoReturn:
        raise ZeroDivisionError

    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        with monkeypatch.context() as patched:
            patched.setattr(TwilioSms, "receive", broken)
            assert (await rig.text("raw")).status == 204
        (file,) = files(folder)
        assert b"signature" not in file.read_bytes()
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        (dead,) = await rig.events("error.dead_letter")
        assert isinstance(dead.data, ErrorDeadLetter)
        assert dead.data.error.code == "gateway_error"
        assert b"Body=raw" in (await rig.stream("DEAD"))[0][1]


async def test_a_delivery_to_nobodys_number_is_parked_when_nats_is_back(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        stranger = msgspec.structs.replace(rig.account().account, address="tel:+447700900999")
        await away(rig, own_nats)
        assert (await rig.deliver(rig.simulator.deliver(stranger, ANN, "Hello"))).status == 200
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        (event,) = await rig.events()
        assert isinstance(event.data, AccountUnknown)
        assert b"Body=Hello" in (await rig.stream("DEAD"))[0][1]


async def test_receipts_wait_too_and_raise_the_status_when_nats_is_back(
    tmp_path: Path, own_nats: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await rig.send("Hello", to=(f"tel:{ANN}",))
        (sent,) = await rig.until_event("message.sent")
        external = sent.data.message.external_ids[0]  # type: ignore[attr-defined]  # events of this type have one
        await rig.until_event("message.status")
        before = len(await rig.events("message.status"))
        late = Receipt(at="+447700900123", key="late", external_id=external, status="read")
        await away(rig, own_nats)
        monkeypatch.setattr(TwilioSms, "receive", lambda self, request: Intake(facts=(late,)))
        assert (await rig.text("")).status == 200
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        await rig.until_event("message.status", before + 1)


async def test_a_line_that_cannot_be_read_is_set_aside_and_holds_nothing_up(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        await away(rig, own_nats)
        await rig.text("before")
        await rig.text("after")
        await rig.service.stop()
        first, _ = files(folder)
        whole = first.read_bytes()
        first.write_bytes(b"{half a li\n" + whole + b'{"connection":7}\n\xff\n')
        (folder / "7.ndjson").mkdir()  # a file that can't even be read
        async with next_process(rig):
            own_nats.restart()
            await until(empty(folder), "the spool is empty")
            assert await texts(rig) == ["before", "after"]
        assert (folder / BAD / first.name).read_bytes() == b'{half a li\n{"connection":7}\n\xff\n'
        assert (folder / BAD / "7.ndjson").is_dir()


@pytest.mark.parametrize("channel", ["sms", ""])
async def test_a_record_of_a_connection_that_is_gone_becomes_a_dead_letter_and_holds_up_nobody(
    tmp_path: Path, own_nats: NatsServer, folder: Path, channel: str
) -> None:
    """One that was written by an earlier version does not say its channel."""
    async with spooling(tmp_path, own_nats, folder) as rig:
        await rig.service.stop()
        gone = Record(connection="gone", channel=channel, arrived_at=now(), facts=(fact("received"),))
        (folder / "5.ndjson").write_bytes(gone.encode())
        async with next_process(rig):
            await until(empty(folder), "the spool is empty")
            (unknown,) = await rig.events("account.unknown")
            assert (unknown.channel, unknown.tenant) == (channel or None, "_")
            assert isinstance(unknown.data, AccountUnknown)
            assert unknown.data.connection == "gone"


async def test_what_an_earlier_process_never_finished_writing_is_removed(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    left(folder, {"5.ndjson.tmp": b"half", "notes.txt": b"somebody's"})
    async with spooling(tmp_path, own_nats, folder):
        assert [file.name for file in files(folder)] == ["notes.txt"]


async def test_files_are_taken_in_the_order_of_their_numbers(
    tmp_path: Path, own_nats: NatsServer, folder: Path
) -> None:
    for name in ("9", "10", "100"):
        one = Received(at="+447700900123", key=name, sender=f"tel:{ANN}", parts=(Text(text=name),))
        left(folder, {f"{name}.ndjson": Record(connection="twilio-uk", arrived_at=now(), facts=(one,)).encode()})
    async with spooling(tmp_path, own_nats, folder) as rig:
        await until(empty(folder), "the spool is empty")
        assert await texts(rig) == ["9", "10", "100"]


async def test_two_processes_cannot_share_a_folder(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        second = Service(rig.core, rig.accounts)
        with pytest.raises(ConfigError, match=r"spool\.path: the folder .* is another process's; give each a folder"):
            await second.run(asyncio.Event())


@pytest.mark.parametrize("obstacle", ["a file", "no right"])
async def test_a_folder_that_cannot_be_written_ends_the_start_in_one_line(
    folder: Path, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if obstacle == "a file":
        left(folder.parent, {folder.name: b""})
    else:

        def refused(*_: object, **__: object) -> NoReturn:
            raise PermissionError(errno.EACCES, "permission denied")

        monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(ConfigError, match=r"^configuration: spool\.path: the folder .* can't be written: \w") as caught:
        await Spool(folder, 1000, lambda record: ()).open()
    assert "\n" not in str(caught.value)


def test_up_has_a_spool_beside_its_data_and_the_file_may_name_another(tmp_path: Path) -> None:
    file = str(tmp_path / "sluiceway.toml")
    assert _at_home(Config(file, {}, {})).spool.path == str(tmp_path / "sluiceway-data" / "spool")
    elsewhere = Config(file, {"spool": {"path": "/var/spool/sluiceway"}}, {})
    assert _at_home(elsewhere).spool.path == "/var/spool/sluiceway"


async def test_two_replicas_with_a_spool_each_lose_nothing(tmp_path: Path, own_nats: NatsServer, folder: Path) -> None:
    async with spooling(tmp_path, own_nats, folder) as rig:
        other = Spool(tmp_path / "other", 10**6, lambda record: ())
        await other.open()
        one = Received(at="+447700900123", key="k", sender=f"tel:{BEN}", parts=(Text(text="by the other"),))
        await other.put(Record(connection="twilio-uk", arrived_at=now(), facts=(one,)))
        await other.close()
        await away(rig, own_nats)
        await rig.text("by this one")
        own_nats.restart()
        await until(empty(folder), "the spool is empty")
        await rig.service.stop()
        async with next_process(rig, tmp_path / "other"):
            await until(empty(tmp_path / "other"), "the other's spool is empty")
            assert (await texts(rig), await texts(rig, BEN)) == (["by this one"], ["by the other"])


def a_record(name: str, text: str = "") -> Record:
    one = Received(at=name, key=name, sender="tel:+447700900456", parts=(Text(text=text),))
    return Record(connection="c", arrived_at=now(), facts=(one,))


def by_account(record: Record) -> list[int]:
    return [hash(one.at) for one in record.facts]


async def test_deliveries_that_wait_at_once_share_one_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    syncs, original = [], os.fsync

    def fsync(descriptor: int) -> None:
        syncs.append(descriptor)
        original(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    await asyncio.gather(*(spool.put(a_record(str(number))) for number in range(200)))
    assert len(syncs) <= 4
    await spool.close()


async def test_nothing_is_told_to_be_stored_before_it_is_synced_under_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    steps = []
    originals: dict[str, Any] = {"fsync": os.fsync, "rename": Path.rename}

    def fsync(descriptor: int) -> None:
        steps.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp)))
        originals["fsync"](descriptor)

    def rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        renamed: Path = originals["rename"](self, target)
        return renamed

    tmp = folder.parent.resolve()
    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    await spool.put(a_record("a"))
    steps.append("told")
    assert [step.partition(" ")[0] for step in steps] == ["sync", "rename", "sync", "told"]
    assert steps[0].endswith(".tmp")
    assert steps[2] == "sync /spool"
    await spool.close()


async def test_one_sender_waits_behind_its_own_and_delays_no_other(folder: Path) -> None:
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    for name, text in (("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")):
        await spool.put(a_record(name, text))
    gate, done = asyncio.Event(), list[str]()

    async def take(record: Record) -> None:
        (one,) = record.facts
        assert isinstance(one, Received)
        if one.at == "a":
            await gate.wait()
        done.append(one.at + one.parts[0].plain())

    draining = asyncio.create_task(spool.drain(take))
    await until(lambda: done == ["b1", "b2"], "b's are stored")
    assert spool.holds(a_record("a"))
    assert not spool.holds(a_record("c"))
    gate.set()
    await until(empty(folder), "the spool is empty")
    assert done == ["b1", "b2", "a1", "a2"]
    await until(lambda: not spool.holds(a_record("a")), "nobody has to wait any more")
    draining.cancel()
    await spool.close()


async def test_what_could_not_be_stored_is_tried_again_before_what_came_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.spool.RETRY_S", 0.001)
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    for number in range(5):
        await spool.put(a_record("a", str(number)))
    tries, done = 0, list[str]()

    async def take(record: Record) -> None:
        nonlocal tries
        tries += 1
        if tries % 2:
            raise Unavailable("not now")
        done.append(record.facts[0].parts[0].plain())  # type: ignore[union-attr]  # all are texts

    draining = asyncio.create_task(spool.drain(take))
    await until(empty(folder), "the spool is empty")
    assert done == ["0", "1", "2", "3", "4"]
    draining.cancel()
    await spool.close()


async def test_a_file_that_cannot_be_set_aside_stays_and_holds_nothing_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space left on device")

    left(folder, {"5.ndjson": b"nonsense\n"})
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    await spool.put(a_record("a", "behind it"))
    monkeypatch.setattr(Rounds, "set_aside", full)
    done = []

    async def take(record: Record) -> None:
        done.append(record)

    draining = asyncio.create_task(spool.drain(take))
    await until(lambda: [file.name for file in files(folder)] == ["5.ndjson"], "the rest is stored")
    assert len(done) == 1
    draining.cancel()
    await spool.close()


async def test_one_who_leaves_while_it_is_written_harms_nobody(folder: Path) -> None:
    spool = Spool(folder, 10**6, by_account)
    await spool.open()
    leaving = asyncio.create_task(spool.put(a_record("a")))
    staying = asyncio.create_task(spool.put(a_record("b")))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    await spool.close()
    (file,) = files(folder)
    assert len(file.read_bytes().splitlines()) == 2


TOKENS = st.text(max_size=20)
WHEN = st.datetimes(timezones=st.just(datetime.UTC))
COMMON: dict[str, st.SearchStrategy[Any]] = {"at": TOKENS, "key": TOKENS, "occurred_at": st.none() | WHEN}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TOKENS, lambda inner: st.lists(inner, max_size=3)
)
FACTS: st.SearchStrategy[AnyFact] = st.one_of(
    st.builds(
        Received,
        **COMMON,
        sender=TOKENS,
        parts=st.lists(st.builds(Text, text=TOKENS, lang=st.none()), max_size=3).map(tuple),
        name=st.none() | TOKENS,
        lang=st.none(),
        reply_to=st.none(),
        referral=st.none(),
        external_ids=st.lists(TOKENS, max_size=2).map(tuple),
        ext=st.dictionaries(TOKENS, JSON_VALUES, max_size=2),
    ),
    st.builds(
        Receipt,
        **COMMON,
        external_id=TOKENS,
        status=TOKENS,
        error=st.none() | st.builds(Error, code=TOKENS, message=TOKENS, retryable=st.booleans()),
        price=st.none() | st.just(Price(amount="0.0075", currency="USD")),
        segments=st.none() | st.integers(0, 100),
    ),
    st.builds(Consent, **COMMON, address=TOKENS, state=TOKENS, evidence=st.none() | TOKENS),
    st.builds(Unreadable, **COMMON, raw=st.binary(max_size=50), why=TOKENS),
)


@given(
    st.builds(
        Record,
        connection=TOKENS,
        arrived_at=WHEN,
        facts=st.lists(FACTS, max_size=4).map(tuple),
        unreadable=st.none() | st.builds(Error, code=TOKENS, message=TOKENS),
        redactions=st.dictionaries(TOKENS, st.just(("card_number",)), max_size=2),
        request=st.none()
        | st.builds(
            Request,
            method=TOKENS,
            url=TOKENS,
            headers=st.dictionaries(TOKENS, TOKENS, max_size=2),
            body=st.binary(max_size=50),
            subpath=TOKENS,
        ),
    )
)
def test_whatever_a_record_says_it_says_after_the_disk(record: Record) -> None:
    line = record.encode()
    assert line.count(b"\n") == 1
    assert decode(line) == record


@given(st.binary(max_size=100))
def test_whatever_stands_in_a_file_is_a_record_or_none(data: bytes) -> None:
    assert decode(data) is None or isinstance(decode(data), Record)


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_whatever_a_gateway_read_can_be_written_to_disk(text: str, key: str) -> None:
    one = Received(at=text, key=key, sender=text, parts=(Text(text=text),), name=text, asserted=(text,))
    request = Request(method="POST", url=f"http://x/{text}", headers={"content-type": text}, body=b"raw")
    record = Record(connection="c", arrived_at=now(), facts=(one,), request=request).for_disk(whole=True)
    assert decode(record.encode()) == record

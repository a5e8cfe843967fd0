"""`sluiceway consumer`: what it makes, and that the user it prints can do what a reader must, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client

from sluiceway import embedded
from sluiceway.answers import Answers
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.errors import Unavailable
from sluiceway.gateway import Secret
from sluiceway.testing.ports import free_port
from sluiceway_contracts import Command, ConversationClose, ConversationState, TypingSet, subjects

from .conftest import CONVERSATION, Cli, received

PASSWORD = "only for tests"
OTHER = "019c22f1-d578-7625-af24-35aeedc2728e"


def added(cli: Cli, *arguments: str) -> Any:
    done = cli.run("consumer", "add", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def info(cli: Cli, consumer: str) -> Any:
    async def ask() -> bytes:
        link = Link(cli.nats, "test")
        await link.connect()
        answer = await link.request(link.api(f"CONSUMER.INFO.{Layout(cli.nats).events}.{consumer}"))
        await link.close()
        return answer.data

    return json.loads(asyncio.run(ask()))


def test_a_consumer_is_made_for_one_tenants_events(cli: Cli) -> None:
    cli.publish(received("Hello"), received("Hello", tenant="globex"))
    told = added(cli, "acme-desk", "--tenant", "acme", "--since", "all")
    assert (told["consumer"], told["stream"]) == ("acme-desk", Layout(cli.nats).events)
    found = info(cli, "acme-desk")
    config = found["config"]
    assert (config["filter_subject"], config["ack_policy"]) == (f"{cli.nats.prefix}.v1.acme.events.>", "explicit")
    assert (config["ack_wait"], config["max_ack_pending"]) == (30 * 10**9, 1000)
    assert found["num_pending"] == 1


def test_a_consumer_may_begin_now_and_with_some_events_alone(cli: Cli) -> None:
    cli.publish(received("Hello"))
    told = added(cli, "late", "--tenant", "acme", "--since", "now", "--subject", "message.*.sms.>")
    assert told["subject"] == f"{cli.nats.prefix}.v1.acme.events.message.*.sms.>"
    cli.publish(received("Hello again"), received("By mail", channel="email"))
    assert info(cli, "late")["num_pending"] == 1


def test_a_consumer_that_is_there_is_left_alone(cli: Cli) -> None:
    cli.publish()
    added(cli, "acme-desk", "--tenant", "acme", "--since", "all")
    done = cli.run("consumer", "add", "acme-desk", "--tenant", "globex", "--since", "all")
    assert done.returncode == 1
    assert "there is a consumer acme-desk already; remove it first" in done.stderr
    assert "acme.events" in info(cli, "acme-desk")["config"]["filter_subject"]


def test_consumers_are_listed_and_removed_but_not_those_of_others(cli: Cli) -> None:
    cli.publish(received("Hello"))
    for name in ("acme-desk", "acme-bot"):
        added(cli, name, "--tenant", "acme", "--since", "all")
    asyncio.run(_foreign(cli.nats))
    lines = cli.run("consumer", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["acme-bot", "acme-desk"]
    assert lines[0].endswith(f"{cli.nats.prefix}.v1.acme.events.>  1 waiting, 0 unacknowledged")
    assert cli.run("consumer", "remove", "acme-bot").stdout.startswith("removed: acme-bot; ")
    (left,) = cli.run("consumer", "list", "--json").stdout.splitlines()
    assert json.loads(left)["name"] == "acme-desk"
    for name, why in (("acme-bot", "there is no consumer acme-bot"), ("state", "it stays")):
        done = cli.run("consumer", "remove", name)
        assert done.returncode == 1
        assert why in done.stderr


async def _foreign(settings: Nats) -> None:
    link = Link(settings, "test")
    await link.connect()
    stream = Layout(settings).events
    body = {"stream_name": stream, "config": {"durable_name": "state", "ack_policy": "explicit"}}
    await link.request(link.api(f"CONSUMER.CREATE.{stream}.state"), msgspec.json.encode(body))
    await link.close()


def test_without_a_stream_the_servers_word_is_told(cli: Cli) -> None:
    for arguments in (("add", "x", "--tenant", "acme", "--since", "all"), ("list",)):
        done = cli.run("consumer", *arguments)
        assert done.returncode == 1
        assert "stream not found" in done.stderr


@pytest.mark.parametrize("subject", ["", "message", "message.>.x", ">.x", "a b", "a..b", "$JS.>", "*.", "x\n"])
def test_a_filter_that_is_none_is_refused(cli: Cli, subject: str) -> None:
    done = cli.run("consumer", "add", "x", "--tenant", "acme", "--since", "all", "--subject", subject)
    assert done.returncode == (1 if subject == "message" else 2)


@pytest.mark.parametrize(("name", "tenant"), [("a.b", "acme"), ("*", "acme"), ("x", "*"), ("x", "acme.>")])
def test_names_and_tenants_are_tokens(cli: Cli, name: str, tenant: str) -> None:
    assert cli.run("consumer", "add", name, "--tenant", tenant, "--since", "all").returncode == 2


class Guarded:
    """A nats-server with an administrator and whatever users are put into its configuration."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *users: str) -> None:
        file = self._folder / "nats.conf"
        file.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream: {{ store_dir: "{self._folder}" }}\n'
            f'authorization: {{ users: [\n{{ user: "admin", password: "{PASSWORD}" }}\n' + "\n".join(users) + "\n] }\n"
        )
        self.stop()
        environment = {"ACME_DESK_PASSWORD": json.dumps(PASSWORD)}
        log = self._folder / "nats.log"
        self._process = subprocess.Popen([embedded.binary(), "-c", str(file), "-l", str(log)], env=environment)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def nats(self) -> Nats:
        """The administrator's."""
        return Nats(url=f"nats://127.0.0.1:{self.port}", user="admin", password=Secret(PASSWORD), prefix="p", names="N")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with the user that `consumer add` printed, as it was printed, and two tenants' events."""
    folder = tmp_path_factory.mktemp("desk")
    server = Guarded(folder)
    server.start()
    asyncio.run(_fill(server.nats))
    environment = {"SLUICEWAY_NATS__URL": f"nats://127.0.0.1:{server.port}"} | {
        f"SLUICEWAY_NATS__{name}": value
        for name, value in (("USER", "admin"), ("PASSWORD", "env:DESK"), ("PREFIX", "p"), ("NAMES", "N"))
    }
    cli = Cli(folder, environment | {"DESK": PASSWORD}, ExitStack())
    assert cli.run("consumer", "add", "globex-desk", "--tenant", "globex", "--since", "all").returncode == 0
    printed = cli.run("consumer", "add", "acme-desk", "--tenant", "acme", "--since", "all")
    assert printed.returncode == 0, printed.stderr
    server.start(printed.stdout)
    asyncio.run(_wait(server.nats))
    yield server
    server.stop()


async def _wait(settings: Nats) -> Link:
    for _ in range(100):
        link = Link(settings, "test")
        try:
            await link.connect(2)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            await link.request("$JS.API.INFO", timeout_s=10)
            await link.close()
            return link
    raise AssertionError("nats-server does not start")


@asynccontextmanager
async def linked(settings: Nats) -> AsyncIterator[Link]:
    link = Link(settings, "test")
    await link.connect(10)
    try:
        yield link
    finally:
        await link.close()


async def _fill(settings: Nats) -> None:
    await _wait(settings)
    async with linked(settings) as link:
        await ensure(link, Layout(settings), create=True)
        for tenant in ("acme", "globex"):
            event = received("Hello", tenant=tenant)
            await link.publish(event.nats_subject("p"), event.encode(), event.headers())
            bucket = Bucket(link, Layout(settings).state, ConversationState)
            await bucket.put(f"{tenant}.conversation.{CONVERSATION}", ConversationState(id=CONVERSATION, state="open"))


@asynccontextmanager
async def reader(server: Guarded) -> AsyncIterator[Client]:
    """A helpdesk with nats-py alone, as the user printed."""

    async def on_error(error: Exception) -> None:
        """A violation of permissions comes here."""

    client = await nats.connect(
        f"nats://127.0.0.1:{server.port}",
        user="acme-desk",
        password=PASSWORD,
        inbox_prefix="_INBOX_acme-desk",
        error_cb=on_error,
    )
    try:
        yield client
    finally:
        await client.close()


async def test_the_printed_user_reads_its_tenants_events_and_acknowledges_them(desk: Guarded) -> None:
    async with reader(desk) as client:
        inbox = await client.jetstream().pull_subscribe_bind("acme-desk", "N_EVENTS")
        messages = await inbox.fetch(10, timeout=2)
        assert messages
        for message in messages:
            assert message.subject.startswith("p.v1.acme.events.message.received.")
            await message.ack_sync()
        found = await inbox.consumer_info()
        assert (found.num_pending, found.num_ack_pending) == (0, 0)


async def test_the_printed_user_publishes_its_tenants_commands(desk: Guarded) -> None:
    command = Command(tenant="acme", subject=CONVERSATION, data=ConversationClose(conversation_id=CONVERSATION))
    async with reader(desk) as client:
        js = client.jetstream()
        ack = await js.publish(command.nats_subject("p"), command.encode(), headers=command.headers())
        assert ack.stream == "N_COMMANDS"


async def test_the_printed_user_says_that_somebody_is_typing(desk: Guarded) -> None:
    command = Command(tenant="acme", subject=CONVERSATION, data=TypingSet(state="started"))
    async with linked(desk.nats) as admin, reader(desk) as client:
        heard = asyncio.Event()

        async def hear(message: Any) -> None:
            heard.set()

        await admin.subscribe(command.nats_subject("p"), hear)
        await admin.request("$JS.API.INFO")  # so that the server has heard of it
        await client.publish(command.nats_subject("p"), command.encode(), headers=command.headers())
        async with asyncio.timeout(5):
            await heard.wait()


class NoOwners:
    async def owner(self, tenant: str, address: str) -> str | None:
        return None


async def test_the_printed_user_asks_and_reads_its_tenants_records(desk: Guarded) -> None:
    async with linked(desk.nats) as admin, reader(desk) as client:
        answers = Answers(admin, "N_STATE", NoOwners())

        async def respond(message: Any) -> None:
            await admin.send(message.reply, await answers.conversation(message.subject.split(".")[2], message.data))

        await admin.subscribe("p.v1.*.ask.conversation", respond)
        await admin.request("$JS.API.INFO")  # so that the server has heard of it
        question = json.dumps({"conversation_id": CONVERSATION}).encode()
        answer = await client.request(subjects.ask("acme", "conversation", prefix="p"), question, timeout=2)
        assert json.loads(answer.data)["state"] == "open"
        key = f"$JS.API.DIRECT.GET.KV_N_STATE.$KV.N_STATE.acme.conversation.{CONVERSATION}"
        record = await client.request(key, timeout=2)
        assert json.loads(record.data) == {"id": CONVERSATION, "state": "open"}
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request(subjects.ask("acme", "contact", prefix="p"), b"{}", timeout=2)


async def test_the_printed_user_hears_what_is_live_of_its_tenant_alone(desk: Guarded) -> None:
    async with linked(desk.nats) as admin, reader(desk) as client:
        heard: list[str] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject)

        await client.subscribe("p.v1.acme.live.>", cb=hear)
        await client.subscribe("p.v1.globex.live.>", cb=hear)
        await client.subscribe("p.v1.*.events.>", cb=hear)
        await client.flush()
        for tenant in ("globex", "acme"):
            await admin.send(f"p.v1.{tenant}.live.typing.changed.sms._._", b"{}")
            event = received("Hello", tenant=tenant)
            await admin.publish(event.nats_subject("p"), event.encode())
        await client.flush()
        await asyncio.sleep(0.2)
        assert heard == ["p.v1.acme.live.typing.changed.sms._._"]


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.CONSUMER.MSG.NEXT.N_EVENTS.globex-desk",
        "$JS.API.CONSUMER.INFO.N_EVENTS.globex-desk",
        "$JS.API.CONSUMER.CREATE.N_EVENTS",
        "$JS.API.CONSUMER.CREATE.N_EVENTS.mine",
        "$JS.API.CONSUMER.CREATE.N_EVENTS.acme-desk.p.v1.globex.events.>",
        "$JS.API.CONSUMER.CREATE.N_EVENTS.mine.p.v1.acme.events.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.N_EVENTS.mine",
        "$JS.API.CONSUMER.DELETE.N_EVENTS.acme-desk",
        "$JS.API.CONSUMER.RESET.N_EVENTS.acme-desk",
        "$JS.API.STREAM.MSG.GET.N_EVENTS",
        "$JS.API.DIRECT.GET.N_EVENTS",
        "$JS.API.DIRECT.GET.KV_N_STATE",
        f"$JS.API.DIRECT.GET.KV_N_STATE.$KV.N_STATE.globex.conversation.{CONVERSATION}",
        "$JS.API.STREAM.INFO.KV_N_STATE",
        "$JS.API.STREAM.LIST",
        "p.v1.globex.ask.conversation",
        "p.v1.globex.commands.any.any.conversation.close._",
        f"p.v1.globex.live.typing.set._._.{CONVERSATION}",
        f"p.v1.acme.live.typing.changed._._.{CONVERSATION}",
        "p.v1.acme.events.message.received.sms._._",
        "$KV.N_STATE.acme.conversation.x",
    ],
)
async def test_the_printed_user_is_refused_all_else(desk: Guarded, subject: str) -> None:
    async with reader(desk) as client:
        body = {"stream_name": "N_EVENTS", "config": {"filter_subject": "p.v1.globex.events.>", "ack_policy": "none"}}
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)) as refused:
            await client.request(subject, json.dumps(body).encode(), timeout=0.5)
        assert isinstance(refused.value, nats.errors.TimeoutError), "it got there, and nobody happened to listen"
        assert "permissions violation" in str(client.last_error).lower()


def test_the_printed_user_is_one_of_a_configuration_without_a_password(cli: Cli) -> None:
    cli.publish()
    printed = cli.run("consumer", "add", "acme-desk", "--tenant", "acme", "--since", "all").stdout
    assert re.search(r'^  user: "acme-desk"\n  password: \$ACME_DESK_PASSWORD$', printed, re.MULTILINE)
    assert "the client's inbox prefix is _INBOX_acme-desk" in printed

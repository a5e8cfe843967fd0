"""A real nats-server whose users are those that `sluiceway.permissions` lists, and an administrator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.cli.permissions import snippet, variable
from sluiceway.config import Nats
from sluiceway.errors import Unavailable
from sluiceway.gateway import Secret
from sluiceway.outline import Outlined
from sluiceway.permissions import Permissions, of_dispatcher, of_gateway, of_reader, of_streams
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port

Kind = Literal["plain", "domain", "leaf"]
"""`domain`: the server's JetStream has one; `leaf`: it is reached through a leaf node with a JetStream of its own."""

PASSWORD = "only for tests"
ACCOUNTS = tuple(Outlined("acme", "sms", name) for name in ("uk-sms", "de-sms"))


class Guarded:
    """One installation on it: users for acme's SMS gateway, a reader of acme's events, the dispatcher, the streams."""

    def __init__(self, url: str, domain: str | None = None, prefix: str = "p", names: str = "N") -> None:
        self.url, self.domain, self.prefix, self.names = url, domain, prefix, names
        self.layout = Layout(self.nats("admin"))

    def nats(self, user: str) -> Nats:
        inbox = "_INBOX" if user == "admin" else f"_INBOX_{user}"
        return Nats(
            url=self.url,
            user=user,
            password=Secret(PASSWORD),
            inbox_prefix=inbox,
            domain=self.domain,
            prefix=self.prefix,
            names=self.names,
            streams="create" if user == "admin" else "check",
        )

    def users(self, start: str = "") -> dict[str, Permissions]:
        """What each may do, by its name, which begins with `start`."""
        plain = Nats(domain=self.domain, prefix=self.prefix, names=self.names)
        names = {name: f"{start}{name}" for name in ("gateway", "liberal", "dispatcher", "streams", "reader")}
        acme, sms = ("acme",), ("sms",)
        return {
            names["gateway"]: of_gateway(plain, names["gateway"], acme, sms, ACCOUNTS),
            names["liberal"]: of_gateway(plain, names["liberal"], acme, sms, (), any_account=True),
            names["dispatcher"]: of_dispatcher(plain, names["dispatcher"], ("acme", "globex")),
            names["streams"]: of_streams(plain, names["streams"], ("acme", "globex", "initech")),
            names["reader"]: of_reader(plain, names["reader"], "acme"),
        }

    @asynccontextmanager
    async def link(self, user: str) -> AsyncIterator[Link]:
        link = Link(self.nats(user), "test")
        await link.connect(10)
        try:
            yield link
        finally:
            await link.close()

    async def make_streams(self) -> None:
        """As soon as the server is there."""
        async with self.link("admin") as link:
            for _ in range(100):
                try:
                    await ensure(link, self.layout, create=True, tenants=("acme", "globex"))
                    return
                except Unavailable:
                    await asyncio.sleep(0.1)
        raise AssertionError("JetStream can't be reached")


def authorization(users: dict[str, Permissions]) -> str:
    """As `sluiceway permissions` prints them, with the password in its place."""
    printed = (snippet(name, one).replace(f"${variable(name)}", json.dumps(PASSWORD)) for name, one in users.items())
    admin = f'{{ user: "admin", password: "{PASSWORD}" }}'
    return "authorization {{ users: [\n{}\n] }}".format("\n".join([admin, *printed]))


@contextmanager
def guarded_server(folder: Path, kind: Kind = "plain") -> Iterator[Guarded]:
    """A server, with streams."""
    domain = None if kind == "plain" else "hub"
    users = authorization(Guarded("", domain).users())
    with ExitStack() as servers:
        server = servers.enter_context(_hub(folder / "hub", domain, users, leafs=(port := free_port())))
        if kind == "leaf":
            login = f"admin:{quote(PASSWORD)}"
            remote = f'leafnodes {{ remotes: [{{ url: "nats-leaf://{login}@127.0.0.1:{port}" }}] }}'
            config = f"jetstream {{ domain: leaf }}\n{remote}\n{users}"
            server = servers.enter_context(nats_server(folder / "leaf", config))
        installation = Guarded(server.url, domain)
        asyncio.run(installation.make_streams())
        yield installation


@contextmanager
def _hub(folder: Path, domain: str | None, users: str, leafs: int) -> Iterator[NatsServer]:
    """With a domain, acknowledgements have their longer form too."""
    longer = f"jetstream {{ domain: {domain} }}\nfeature_flags {{ js_ack_fc_v2: true }}" if domain else ""
    leafnodes = f'leafnodes {{ listen: "127.0.0.1:{leafs}" }}'
    with nats_server(folder, f"{longer}\n{leafnodes}\n{users}") as server:
        yield server

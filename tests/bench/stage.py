"""The SMS gateway with a NATS and a provider of its own, and commands for it; what they stored and left undone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sluiceway.bus.link import Link
from sluiceway.config import Nats
from sluiceway.testing.ports import free_port
from sluiceway_contracts import Command, MessageSend, Party, Text, uuid7

from . import processes

TENANT = "acme"
COMMANDS = "SLUICEWAY_COMMANDS"
AT_ONCE = 2000
LOOK_S = 0.05
CORE = """
[nats]
url = "nats://127.0.0.1:{nats}"
[http]
listen = "127.0.0.1:{port}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:BENCH_KEY"
"""
LINE = """
[connections.{name}]
gateway = "sms.twilio"
sid = "AC{zeros}"
token = "env:BENCH_TOKEN"
api_url = "http://127.0.0.1:{provider}/{name}"
[accounts.{name}]
connection = "{name}"
tenant = "{tenant}"
address = "tel:+44770090012{digit}"
"""


@dataclass
class Stage:
    """What runs: the gateway's process, its NATS, the provider's port."""

    gateway: subprocess.Popen[bytes]
    link: Link
    nats_port: int
    provider: int

    async def publish(self, commands: Iterable[Command]) -> None:
        """Store them, in order. Raises `Unavailable`."""
        rest = iter(commands)
        while batch := list(itertools.islice(rest, AT_ONCE)):
            await asyncio.gather(
                *(self.link.publish(c.nats_subject(), c.encode(), c.headers(), 30) for c in batch),
            )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The gateway stands still within."""
        self.gateway.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.gateway.send_signal(signal.SIGCONT)

    async def done(self, line: str, within_s: float = 300) -> None:
        """Return when every command of the line is acknowledged. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            waiting, held = await self.undone(line)
            while waiting or held:
                await asyncio.sleep(LOOK_S)
                waiting, held = await self.undone(line)

    async def undone(self, line: str) -> tuple[int, int]:
        """How many commands of a line wait in the stream, and how many the gateway has in hand."""
        info = await self._call(f"CONSUMER.INFO.{COMMANDS}.out_{TENANT}_sms_{line}")
        return int(info["num_pending"]), int(info["num_ack_pending"])

    async def stored(self) -> int:
        """How many messages JetStream has stored in all streams but that of commands, counting what was replaced."""
        streams = (await self._call("STREAM.LIST"))["streams"]
        return sum(int(found["state"]["last_seq"]) for found in streams if found["config"]["name"] != COMMANDS)

    async def _call(self, call: str) -> dict[str, Any]:
        answer = await self.link.request(self.link.api(call), timeout_s=10)
        return msgspec.json.decode(answer.data, type=dict[str, Any])


def command(line: str, text: str, *, to: str = "", conversation: str | None = None) -> Command:
    """A text to a number, or into a conversation."""
    send = MessageSend(
        message_id=uuid7(), author=Party(role="bot"), parts=(Text(text=text),), to=(f"tel:{to}",) if to else ()
    )
    return Command(tenant=TENANT, channel="sms", account=line, subject=conversation, data=send)


@contextlib.asynccontextmanager
async def stage(folder: Path, *lines: str) -> AsyncIterator[Stage]:
    """Everything started, with one account a line. Raises `TimeoutError`."""
    port, probes, provider = free_port(), free_port(), free_port()
    file, secrets = folder / "sluiceway.toml", {"BENCH_TOKEN": "0" * 32, "BENCH_KEY": "k" * 32}
    with contextlib.ExitStack() as stack:
        nats = stack.enter_context(processes.nats(folder))
        config = CORE.format(nats=nats, port=port, probes=probes)
        for digit, name in enumerate(lines):
            config += LINE.format(name=name, digit=digit, provider=provider, tenant=TENANT, zeros="0" * 32)
        file.write_text(config)
        fake = [sys.executable, "-m", "tests.bench.fake", str(provider)]
        other = processes.running(fake, log=folder / "provider.log", core=processes.OTHER_CORE)
        processes.wait_for_port(provider, stack.enter_context(other))
        run = [processes.program("sluiceway"), "run", "sms", "--config", str(file)]
        gateway = stack.enter_context(processes.running(run, log=folder / "sluiceway.log", environment=secrets))
        processes.wait_until_ready(probes, gateway)
        link = Link(Nats(url=f"nats://127.0.0.1:{nats}"), "bench")
        await link.connect()
        try:
            yield Stage(gateway, link, nats, provider)
        finally:
            await link.close()

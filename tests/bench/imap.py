"""Whether a mailbox is read without a gap, whatever is killed: mails out of a real Dovecot, all of them, in order.

Run as `python -m tests.bench.imap`. While mails are delivered and read, Dovecot is killed several times, and so is the
gateway; each begins again, and has to go on. The order is that of the UIDs, which Dovecot gives. The gateway has a core
of its own; all else shares the other.
"""

from __future__ import annotations

import asyncio
import imaplib
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.config import Nats
from sluiceway.testing.ports import free_port

from ..mail import servers
from ..mail.servers import Dovecot, User
from . import processes
from .smtp import mail, on_the_stream

CONFIG = """
[nats]
url = "nats://127.0.0.1:{nats}"
[http]
listen = "127.0.0.1:{port}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:BENCH_KEY"
[connections.mail]
gateway = "email.imap"
host = "127.0.0.1"
port = {imaps}
ca_file = "{ca}"
user = "{user}"
password = "env:BENCH_PASSWORD"
since = "all"
authserv_id = "mx.acme.example"
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
"""
DOVECOT_AT, GATEWAY_AT = (0.1, 0.3, 0.5, 0.7, 0.9), (0.25, 0.65)
"""What is killed when so much of the mail is on the stream."""
AHEAD = 50
"""So many mails wait in the mailbox, so that somebody is always killed who is at work."""
LOOK_S, PATIENCE_S = 0.005, 120


class Gateway:
    """The process under test, which can be begun again."""

    def __init__(self, folder: Path, config: str, probes: int, password: str) -> None:
        self._folder, self._probes = folder, probes
        self._file = folder / "sluiceway.toml"
        self._file.write_text(config)
        self._secrets = {"BENCH_KEY": "k" * 32, "BENCH_PASSWORD": password}
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stack: ExitStack) -> None:
        """Return when it is ready. Raises `TimeoutError`."""
        command = [processes.program("sluiceway"), "run", "email", "--config", str(self._file)]
        log = self._folder / f"sluiceway-{next(self._numbers)}.log"
        self._process = stack.enter_context(processes.running(command, log=log, environment=self._secrets))
        processes.wait_until_ready(self._probes, self._process)

    def kill(self) -> None:
        """No time to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class Run:
    """One run: who delivers, who watches the stream, and when each mail was seen there."""

    def __init__(self, dovecot: Dovecot, user: User, gateway: Gateway, stack: ExitStack) -> None:
        self.dovecot, self.user, self.gateway, self.stack = dovecot, user, gateway, stack
        self.seen_s: list[float] = []
        self.faults: list[tuple[int, str]] = []
        self._up = asyncio.Lock()

    async def watch(self, nats_port: int) -> None:
        link = Link(Nats(url=f"nats://127.0.0.1:{nats_port}"), "bench")
        await link.connect()
        messages = Reader(link, "SLUICEWAY_EVENTS").messages("sluiceway.v1.acme.events.message.received.>", "all")
        try:
            async for _ in messages:
                self.seen_s.append(time.perf_counter())
        finally:
            await messages.aclose()
            await link.close()

    async def deliver(self, *numbers: int) -> None:
        """One after another, each while Dovecot is up: who delivers must know what was."""
        for number in numbers:
            await self.reached(number - AHEAD)
            async with self._up:
                await asyncio.to_thread(self.dovecot.deliver, self.user, mail(number))

    async def reached(self, count: int) -> None:
        """Raises `TimeoutError` where nothing more comes."""
        before, deadline = -1, 0.0
        while len(self.seen_s) < count:
            if before != len(self.seen_s):
                before, deadline = len(self.seen_s), time.monotonic() + PATIENCE_S
            if time.monotonic() > deadline:
                raise TimeoutError(f"{before} mails are on the stream, and no more come")
            await asyncio.sleep(LOOK_S)

    async def kill_dovecot(self) -> None:
        async with self._up:
            self.faults.append((len(self.seen_s), "Dovecot"))
            await asyncio.to_thread(self.dovecot.kill)
            await asyncio.to_thread(self.dovecot.restart)

    async def kill_gateway(self) -> None:
        self.faults.append((len(self.seen_s), "the gateway"))
        await asyncio.to_thread(self.gateway.kill)
        await asyncio.to_thread(self.gateway.start, self.stack)

    def in_the_mailbox(self) -> list[str]:
        """The Message-IDs there, by UID."""
        with imaplib.IMAP4("127.0.0.1", self.dovecot.imap_port, timeout=PATIENCE_S) as client:
            client.login(self.user.name, self.user.password)
            client.select("INBOX", readonly=True)
            answers = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]
        return [found[1] for answer in answers if (found := re.search(r"<(.+)>", str(answer)))]

    def silences_s(self, what: str) -> list[float]:
        """The longest that nothing came after each time that it was killed, until the next fault."""
        ends = [at for at, _ in self.faults[1:]] + [len(self.seen_s)]
        spans = [(at, end) for (at, killed), end in zip(self.faults, ends, strict=True) if killed == what]
        gaps = [b - a for a, b in itertools.pairwise(self.seen_s)]
        return [max(gaps[max(at - 1, 0) : end - 1] or [0.0]) for at, end in spans]


async def measured(run: Run, nats_port: int, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(run.watch(nats_port))
        began = time.perf_counter()
        delivering = tasks.create_task(run.deliver(*range(count)))
        faults = [(at, run.kill_dovecot) for at in DOVECOT_AT] + [(at, run.kill_gateway) for at in GATEWAY_AT]
        for at, fault in sorted(faults, key=lambda pair: pair[0]):
            await run.reached(int(at * count))
            await fault()
        await delivering
        await run.reached(count)
        seconds = time.perf_counter() - began
        await run.kill_gateway()  # what it would read again comes before what is new
        await run.deliver(count)
        await run.reached(count + 1)
        watching.cancel()
    click.echo(f"{count} mails in {seconds:.0f} s, Dovecot killed {len(DOVECOT_AT)} times, we {len(GATEWAY_AT)} times")
    for what in ("Dovecot", "the gateway"):
        silences = run.silences_s(what)
        median, most = statistics.median(silences), max(silences)
        click.echo(f"after {what} was killed nothing came for {median:.1f} s, {most:.1f} s at most")
    found = await on_the_stream(nats_port)
    there = await asyncio.to_thread(run.in_the_mailbox)
    lost, twice = len(set(there) - set(found)), len(found) - len(set(found))
    click.echo(f"in the mailbox {len(there)}, on the stream {len(found)}: {lost} lost, {twice} twice")
    click.echo("in the mailbox's order" if found == there else "not in the mailbox's order")
    if found != there or len(there) != count + 1:
        sys.exit(1)


async def run(folder: Path, count: int) -> None:
    os.sched_setaffinity(0, {processes.OTHER_CORE})
    port, probes = free_port(), free_port()
    with ExitStack() as stack:
        nats_port = stack.enter_context(processes.nats(folder))
        tls = servers.certificates(folder)
        dovecot = stack.enter_context(servers.dovecot(tls))
        user = dovecot.user("help")
        values = {"nats": nats_port, "port": port, "probes": probes, "imaps": dovecot.imaps_port, "ca": tls.ca}
        gateway = Gateway(folder, CONFIG.format(user=user.name, **values), probes, user.password)
        gateway.start(stack)
        await measured(Run(dovecot, user, gateway, stack), nats_port, count)


@click.command()
@click.option("--count", default=1000, show_default=True, type=click.IntRange(100, 100_000))
def main(count: int) -> None:
    """Read so many mails."""
    if why := servers.missing():
        raise click.ClickException(why)
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(Path(folder), count))


if __name__ == "__main__":
    main()

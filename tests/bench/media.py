"""What a large file costs: memory and CPU of the gateway, for each way that a file takes through it.

Run as `python -m tests.bench.media`. The gateway has a core of its own; nats-server, the simulated provider and this
share the other. A file of 1 MB goes every way first, and is counted in the memory alone. A file that does not arrive
whole ends it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click
import msgspec
import uvloop

from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.config import Nats
from sluiceway.gateway import Secret
from sluiceway.http.client import Client
from sluiceway.testing.ports import free_port
from sluiceway_contracts import (
    Command,
    Event,
    Media,
    MediaUpload,
    MediaUploadAnswer,
    MediaUrl,
    MediaUrlAnswer,
    MessageMedia,
    MessageSend,
    MessageSent,
    Party,
    StoredFile,
    subjects,
    uuid7,
)
from sluiceway_gateways._meta import App
from sluiceway_gateways.whatsapp.cloud import Number
from sluiceway_gateways.whatsapp.cloud_simulator import WhatsAppSimulator

from . import processes

CONFIG = """
[nats]
url = "nats://127.0.0.1:{nats}"
[http]
listen = "127.0.0.1:{port}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:BENCH_KEY"
[connections.meta]
gateway = "whatsapp.cloud"
app_secret = "env:BENCH_TOKEN"
verify_token = "env:BENCH_TOKEN"
access_token = "env:BENCH_TOKEN"
api_url = "http://127.0.0.1:{provider}"
[accounts.main]
connection = "meta"
tenant = "acme"
address = "whatsapp:447700900123"
phone_number_id = "100000000000001"
"""
SECRETS = {"BENCH_TOKEN": "0" * 32, "BENCH_KEY": "k" * 32}
NUMBER = Number(connection="meta", tenant="acme", address="whatsapp:447700900123", phone_number_id="100000000000001")
CUSTOMER = "447700900456"
MEGABYTE = 1_000_000
PATIENCE_S = 120


class Bench:
    """The gateway's process, and whoever is around it."""

    def __init__(self, pid: int, port: int, link: Link, http: aiohttp.ClientSession) -> None:
        self.pid = pid
        self._link = link
        self._http = http
        self._client = Client()
        secret = Secret(SECRETS["BENCH_TOKEN"])
        app = App(app_secret=secret, verify_token=secret, access_token=secret)
        self._simulator = WhatsAppSimulator(app, f"http://127.0.0.1:{port}/hooks/meta")

    async def come_in(self, word: str) -> tuple[StoredFile, float]:
        """A customer's film, as large as the word says; and how many ms the delivery took to be answered."""
        self._simulator.fields = {"video": word}
        start = await self._events.end()
        began = time.perf_counter()
        response = await self._client.exchange(self._simulator.deliver(NUMBER, CUSTOMER, "Look"))
        answered_ms = (time.perf_counter() - began) * 1000
        assert response.status == 200
        told = (await self._next(start, MessageMedia.type)).data
        assert isinstance(told, MessageMedia)
        assert told.state == "stored", told.error
        return StoredFile(ref=told.ref or "", mime=told.mime or "", size=told.size or 0), answered_ms

    async def read(self, ref: str) -> bytes:
        """By HTTP; the SHA-256 of what came."""
        question = subjects.ask("acme", MediaUrl.name)
        answer = await self._link.request(question, msgspec.json.encode(MediaUrl(ref=ref)), timeout_s=5)
        url = msgspec.json.decode(answer.data, type=MediaUrlAnswer).url or ""
        digest = hashlib.sha256()
        async with self._http.get(url) as response:
            async for chunk in response.content.iter_any():
                digest.update(chunk)
        return digest.digest()

    async def put(self, data: bytes) -> StoredFile:
        """By HTTP."""
        question = subjects.ask("acme", MediaUpload.name)
        answer = await self._link.request(question, msgspec.json.encode(MediaUpload()), timeout_s=5)
        url = msgspec.json.decode(answer.data, type=MediaUploadAnswer).url or ""
        async with self._http.put(url, data=data) as response:
            assert response.status == 201, await response.text()
            return msgspec.json.decode(await response.read(), type=StoredFile)

    async def go_out(self, ref: str) -> None:
        """Uploaded to the provider, and sent."""
        media = Media(kind="file", ref=ref, name="a.pdf")
        data = MessageSend(message_id=uuid7(), author=Party(role="bot"), parts=(media,), to=(f"whatsapp:{CUSTOMER}",))
        command = Command(tenant="acme", channel="whatsapp", account="main", data=data)
        start = await self._events.end()
        await self._link.publish(command.nats_subject(), command.encode(), command.headers())
        await self._next(start, MessageSent.type)

    @property
    def _events(self) -> Reader:
        return Reader(self._link, "SLUICEWAY_EVENTS")

    async def _next(self, start: int, type: str) -> Event:
        """The next event of a type."""
        subject = f"sluiceway.v1.acme.events.{type.removeprefix('sluiceway.')}.>"
        async with contextlib.aclosing(self._events.messages(subject, start)) as messages:
            async for stored in messages:
                return Event.decode(stored.data)
        raise AssertionError("the stream ended")

    async def close(self) -> None:
        await self._client.close()


class Cost(NamedTuple):
    """Of one way: seconds, and CPU ms of the gateway a megabyte."""

    seconds: float
    cpu_ms: float


async def cost(pid: int, megabytes: int, work: Callable[[], Awaitable[object]]) -> Cost:
    cpu_us, began = processes.cpu_us(pid), time.perf_counter()
    await work()
    seconds, cpu_us = time.perf_counter() - began, processes.cpu_us(pid) - cpu_us
    return Cost(seconds, cpu_us / 1000 / megabytes)


def peak_mb(pid: int) -> float:
    """The most memory that the process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"{pid} has no VmHWM")


@contextlib.asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """Everything started."""
    port, probes, provider = free_port(), free_port(), free_port()
    file = folder / "sluiceway.toml"
    program = processes.program("sluiceway")
    with contextlib.ExitStack() as stack:
        nats = stack.enter_context(processes.nats(folder))
        file.write_text(CONFIG.format(nats=nats, port=port, probes=probes, provider=provider))
        simulator = [program, "simulator", "--listen", f"127.0.0.1:{provider}", "--config", str(file)]
        other = processes.running(
            simulator, log=folder / "provider.log", core=processes.OTHER_CORE, environment=SECRETS
        )
        processes.wait_for_port(provider, stack.enter_context(other))
        run = [program, "up", "--config", str(file)]
        gateway = stack.enter_context(processes.running(run, log=folder / "sluiceway.log", environment=SECRETS))
        processes.wait_until_ready(probes, gateway)
        os.sched_setaffinity(0, {processes.OTHER_CORE})
        link = Link(Nats(url=f"nats://127.0.0.1:{nats}"), "bench")
        await link.connect()
        async with aiohttp.ClientSession() as http:
            made = Bench(gateway.pid, port, link, http)
            try:
                yield made
            finally:
                await made.close()
                await link.close()


def document(megabytes: int) -> bytes:
    """Something that is called a document, and differs from all others of its size."""
    return b"%PDF-1.7\n" + os.urandom(16) + bytes(megabytes * MEGABYTE - 25)


async def run(folder: Path, megabytes: int) -> None:
    async with bench(folder) as on:
        at_rest_mb = peak_mb(on.pid)
        (small, plain_ms), document_ = await on.come_in("large-1"), document(megabytes)
        await on.read(small.ref)
        await on.go_out((await on.put(document(1))).ref)
        costs: dict[str, Cost] = {}
        film: list[tuple[StoredFile, float]] = []
        paper: list[StoredFile] = []

        async def come_in() -> None:
            film.append(await on.come_in(f"large-{megabytes}"))

        async def read() -> None:
            assert (await on.read(film[0][0].ref)).hex() == film[0][0].ref.rpartition("/")[2]

        async def put() -> None:
            paper.append(await on.put(document_))

        async def go_out() -> None:
            await on.go_out(paper[0].ref)

        ways = {"fetched from the provider": come_in, "read by HTTP": read, "put by HTTP": put}
        for way, work in (ways | ({"uploaded to the provider": go_out} if megabytes <= 15 else {})).items():
            costs[way] = await cost(on.pid, megabytes, work)
        peak = peak_mb(on.pid)
    for line in table(costs, megabytes):
        click.echo(line)
    click.echo(f"resident at most: {at_rest_mb:.1f} MB at rest, {peak:.1f} MB after all of it")
    click.echo(f"the delivery was answered after {film[0][1]:.1f} ms, with a file of 1 MB after {plain_ms:.1f} ms")


def table(costs: dict[str, Cost], megabytes: int) -> Iterator[str]:
    yield f"{f'{megabytes} MB':28} {'MB/s':>8} {'CPU ms/MB':>10}"
    for way, (seconds, cpu_ms) in costs.items():
        yield f"{way:28} {megabytes / seconds:8.0f} {cpu_ms:10.2f}"


@click.command()
@click.option("--megabytes", default=64, show_default=True, type=click.IntRange(1, 99))
def main(megabytes: int) -> None:
    """Measure what a file of this size costs."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(Path(folder), megabytes))
    sys.exit(0)


if __name__ == "__main__":
    main()

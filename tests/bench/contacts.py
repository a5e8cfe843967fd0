"""What contacts cost: memory of a gateway and of NATS, bytes on disk, requests, CPU time.

Run as `python -m tests.bench.contacts`. Many are met at once; the cache is bounded, and so is the gateway's memory.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
import uvloop
from nats.aio.msg import Msg

from sluiceway.bus.link import TIMEOUT_S, Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Conversations, Nats
from sluiceway.contacts import Reach
from sluiceway.continuity import Continuity
from sluiceway.directory import CACHE_SIZE
from sluiceway.identity import Identity
from sluiceway.stream import EventStream
from sluiceway.testing.ports import free_port
from sluiceway.windows import Windows

from . import processes

AT_ONCE = 256
LOOKS = 20_000


class Counted(Link):
    """Counts requests, and how many of them had to wait for an earlier one."""

    def __init__(self, settings: Nats) -> None:
        super().__init__(settings, "bench")
        self.requests = 0
        self.round_trips = 0

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Msg:
        self.requests += 1
        mine = self.round_trips + 1
        try:
            return await super().request(subject, payload, headers, max(timeout_s, 30))
        finally:
            self.round_trips = max(self.round_trips, mine)


def reach(number: int) -> Reach:
    """How a customer writes."""
    return Reach(f"tel:+4477{number:09}", "sms", "main")


def disk_mb(folder: Path) -> float:
    """What the files in a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


async def run(folder: Path, n: int, nats_port: int, nats_pid: int) -> None:
    link = Counted(Nats(url=f"nats://127.0.0.1:{nats_port}"))
    await link.connect(15)
    layout = Layout(link.settings)
    await ensure(link, layout, create=True)
    stream = EventStream(link, link.settings.prefix)
    continuity = Continuity(link, layout.identity, Identity(b"k" * 32), stream, Windows(Conversations()))
    following = asyncio.create_task(continuity.directory.follow())

    async def meet(number: int) -> None:
        await continuity.resolve("acme", reach(number), "inbound")

    numbers = iter(range(1, n))

    async def work() -> None:
        for number in numbers:
            await meet(number)
            if number % (n // 10 or 1) == 0:
                click.echo(
                    f"  {number:9,} contacts: gateway {processes.rss_mb(os.getpid()):5.0f} MB, "
                    f"NATS {processes.rss_mb(nats_pid):5.0f} MB"
                )

    await meet(n)  # when this is done, the updates are followed
    link.requests = link.round_trips = 0
    await meet(0)
    click.echo(f"a new contact: {link.requests} requests in {link.round_trips} round trips")
    before, started = processes.rss_mb(os.getpid()), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - started
    link.requests = 0
    cpu = processes.cpu_us(os.getpid())
    for number in range(n - min(n, 1000), n):
        for _ in range(LOOKS // min(n, 1000)):
            await meet(number)
    cpu = processes.cpu_us(os.getpid()) - cpu
    click.echo(f"a usual message: {link.requests} requests, {cpu / LOOKS:.1f} µs CPU")
    link.requests = 0
    await meet(0)
    click.echo(f"who was forgotten here: {link.requests} requests")
    after = processes.rss_mb(os.getpid())
    click.echo(f"{n:,} contacts in {seconds:.0f} s; at most {CACHE_SIZE:,} are remembered")
    click.echo(f"gateway: {before:.0f} MB before, {after:.0f} MB after; NATS: {processes.rss_mb(nats_pid):.0f} MB")
    call = link.api(f"STREAM.INFO.KV_{layout.identity}")
    answer = await link.request(call, timeout_s=30)
    state = msgspec.json.decode(answer.data)["state"]
    files = disk_mb(next((folder / "jetstream").rglob(f"KV_{layout.identity}")))
    click.echo(
        f"KV: {state['messages']:,} keys, {state['bytes'] / n:.0f} bytes a contact, files {files:.0f} MB; "
        f"all streams {disk_mb(folder / 'jetstream'):.0f} MB"
    )
    following.cancel()
    await link.close()


@click.command()
@click.option("--n", default=20_000, show_default=True, type=click.IntRange(1000), help="Contacts.")
def main(n: int) -> None:
    """Measure what contacts cost."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        arguments = [processes.program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js"]
        arguments += ["-sd", str(folder / "jetstream")]
        with processes.running(arguments, core=processes.OTHER_CORE, log=folder / "nats.log") as server:
            processes.wait_for_port(port, server)
            os.sched_setaffinity(0, {processes.SERVER_CORE})
            uvloop.run(run(folder, n, port, server.pid))


if __name__ == "__main__":
    main()

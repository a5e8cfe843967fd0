"""What an open connection weighs: the gateway's memory with 1,000 and with 4,000 idle keep-alive connections.

Run as `python -m tests.bench.sockets`. Each connection has made one signed delivery; the kernel's buffers are not
counted.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import click
import uvloop

from . import processes
from .load import CUSTOMERS, LENGTH, TOKEN, request

WARM = 2000
STEPS = (0, 1000, 4000)
AT_ONCE = 50
CALM_S = 1.0
FILES = 6000


class Caller:
    """Connections to one port, each kept open."""

    def __init__(self, port: int) -> None:
        self.refused = 0
        self._port = port
        self._number = 0
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def deliver(self, on: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """One delivery on this connection."""
        reader, writer = on
        self._number += 1
        writer.write(request(self._number, self._port))
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        self.refused += head[9:12] != b"200"

    async def widen(self, count: int) -> None:
        """Open connections until there are so many."""
        await asyncio.gather(*(self._one() for _ in range(count - len(self._kept))))

    async def _one(self) -> None:
        async with self._turns:
            connection = await asyncio.open_connection("127.0.0.1", self._port)
            self._kept.append(connection)
            await self.deliver(connection)

    @property
    def open(self) -> int:
        """How many the gateway has not closed."""
        return sum(not reader.at_eof() for reader, _ in self._kept)


async def weigh(port: int, pid: int) -> bool:
    first = await asyncio.open_connection("127.0.0.1", port)
    caller = Caller(port)
    for _ in range(WARM):  # so that every customer is known, and every buffer has its size
        await caller.deliver(first)
    weights: list[float] = []
    for count in STEPS:
        await caller.widen(count)
        await asyncio.sleep(CALM_S)
        weights.append(processes.rss_mb(pid))
        click.echo(f"{caller.open:5} idle connections  {weights[-1]:6.1f} MB")
    for (few, many), (light, heavy) in zip(pairwise(STEPS), pairwise(weights), strict=True):
        bytes_each = (heavy - light) * 1e6 / (many - few)
        click.echo(f"from {few} to {many}: {bytes_each:.0f} bytes a connection")
    whole = (weights[-1] - weights[0]) * 1e6 / STEPS[-1]
    click.echo(f"from {STEPS[0]} to {STEPS[-1]}: {whole:.0f} bytes a connection")
    return caller.open == STEPS[-1] and not caller.refused


@click.command()
def main() -> None:
    """Measure what idle connections weigh."""
    assert WARM > CUSTOMERS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, most)))  # the gateway inherits it
    with tempfile.TemporaryDirectory() as name, processes.nats(Path(name)) as nats_port:
        gateway = processes.sluiceway(Path(name), nats_port, TOKEN)
        with processes.running(
            gateway.arguments, log=Path(name) / "sluiceway.log", environment=gateway.environment
        ) as process:
            processes.wait_until_ready(gateway.probes, process)
            ok = uvloop.run(weigh(gateway.port, process.pid))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()

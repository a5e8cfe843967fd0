"""What mail costs that comes in by SMTP: CPU and memory of the process that listens, and whether all of it is there.

Run as `python -m tests.bench.smtp`. The listener and its workers have one core; nats-server and this share the other.
Every mail is handed in twice, and must be on the stream once; then come large ones, one alone and four at once.
"""

from __future__ import annotations

import asyncio
import base64
import os
import smtplib
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import uvloop

from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.config import Nats
from sluiceway.testing.ports import free_port
from sluiceway_contracts import Event, MessageReceived

from . import processes
from .media import peak_mb

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
gateway = "email.smtp"
listen = "127.0.0.1:{smtp}"
authserv_id = "mx.acme.example"
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
"""
LARGE_BYTES = 18_750_000
"""Of random data, which base64 makes 25 MB of."""
AT_ONCE = 8


def mail(number: int, data: bytes = b"") -> bytes:
    """From one of a hundred customers."""
    domain = "customer.example"
    head = (
        f"Authentication-Results: mx.acme.example; dmarc=pass header.from={domain}\r\n"
        f"From: customer{number % 100}@{domain}\r\nTo: help@acme.example\r\nSubject: Kettle {number}\r\n"
        f"Message-ID: <{number}@{domain}>\r\nMIME-Version: 1.0\r\n"
    ).encode()
    if not data:
        return head + f"\r\nWhere is order {number}?\r\n".encode()
    return (
        head
        + b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\nSee the file.\r\n--q\r\n"
        + b"Content-Type: application/pdf; name=scan.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(data).replace(b"\n", b"\r\n")
        + b"--q--\r\n"
    )


def hand_in(port: int, mails: Iterable[bytes]) -> None:
    """In one connection; an answer but 250 ends it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
        for raw in mails:
            client.sendmail("customer@customer.example", ["help@acme.example"], raw)


async def run(folder: Path, count: int) -> None:
    port, probes, smtp = free_port(), free_port(), free_port()
    file = folder / "sluiceway.toml"
    with processes.nats(folder) as nats_port:
        file.write_text(CONFIG.format(nats=nats_port, port=port, probes=probes, smtp=smtp))
        command = [processes.program("sluiceway"), "run", "email", "--config", str(file)]
        secrets = {"BENCH_KEY": "k" * 32}
        with processes.running(command, log=folder / "sluiceway.log", environment=secrets) as listener:
            processes.wait_until_ready(probes, listener)
            processes.wait_for_port(smtp, listener)
            os.sched_setaffinity(0, {processes.OTHER_CORE})
            await measured(listener.pid, smtp, nats_port, count)


async def measured(pid: int, smtp: int, nats_port: int, count: int) -> None:
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(AT_ONCE)

    async def all_of(mails: list[bytes], connections: int) -> float:
        began = time.perf_counter()
        shares = (mails[number::connections] for number in range(connections))
        await asyncio.gather(*(loop.run_in_executor(pool, hand_in, smtp, share) for share in shares))
        return time.perf_counter() - began

    await all_of([mail(number) for number in range(count, count + 20)], 1)
    cpu_us, rest_mb = processes.cpu_us(pid), peak_mb(pid)
    seconds = await all_of([mail(number) for number in range(count)], AT_ONCE)
    cpu_us = processes.cpu_us(pid) - cpu_us
    small_mb = peak_mb(pid)
    click.echo(f"{count} mails: {count / seconds:.0f}/s, {cpu_us / count:.0f} µs CPU of the listener each")
    await all_of([mail(number) for number in range(count)], AT_ONCE)
    large = [mail(2 * count + number, os.urandom(LARGE_BYTES)) for number in range(5)]
    one_s, one_mb = await all_of(large[:1], 1), peak_mb(pid)
    four_s, four_mb = await all_of(large[1:], 4), peak_mb(pid)
    expected = count + 20 + len(large)
    found = await on_the_stream(nats_port)
    click.echo(f"handed in twice, on the stream: {len(found)} of {expected}, {len(found) - len(set(found))} twice")
    click.echo(f"25 MB alone {one_s:.1f} s, four at once {four_s:.1f} s")
    click.echo(
        f"resident at most: {rest_mb:.1f} MB after 20 mails, {small_mb:.1f} after {count}, "
        f"{one_mb:.1f} after 25 MB, {four_mb:.1f} after four times 25 MB at once"
    )
    if len(found) != expected or len(set(found)) != expected:
        sys.exit(1)


async def on_the_stream(nats_port: int) -> list[str]:
    """The Message-IDs of all messages there."""
    link = Link(Nats(url=f"nats://127.0.0.1:{nats_port}"), "bench")
    await link.connect()
    reader = Reader(link, "SLUICEWAY_EVENTS")
    messages = reader.messages("sluiceway.v1.acme.events.message.received.>", "all", follow=False)
    events = [Event.decode(stored.data).data async for stored in messages]
    await link.close()
    return [data.message.external_ids[0] for data in events if isinstance(data, MessageReceived)]


@click.command()
@click.option("--count", default=1000, show_default=True, type=click.IntRange(1, 100_000))
def main(count: int) -> None:
    """Measure what so many mails cost."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(Path(folder), count))


if __name__ == "__main__":
    main()

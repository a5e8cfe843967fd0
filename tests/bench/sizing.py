"""What NATS needs: memory and disk for conversations, memory for ids in a duplicate window, time to start and to save.

Run as `python -m tests.bench.sizing`. One conversation is had for real, and what it left in the streams is stored again
for as many customers as wanted, as fast as the server takes it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sluiceway.bus import backup as snapshots
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout
from sluiceway.config import Nats
from sluiceway.testing.ports import free_port

from . import processes
from .recorded import Recording, record

EVERY = 64
"""Of so many conversations one is acknowledged, and so all before it."""
AT_ONCE = 4
REST_S = 30
"""So long after the last message the server has let go of what it need not keep."""
STEPS = 4


class Pump:
    """One bare connection that stores messages, in order, and waits so that the server keeps up."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._read = self._socket.makefile("rb")
        self._read.readline()
        self._socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB ack 1\r\n')
        self._owed = 0

    def store(self, copy: Callable[[int, bytes], bytes], numbers: range, count: int) -> None:
        """`count` messages for each number."""
        for start in range(numbers.start, numbers.stop, EVERY):
            batch = range(start, min(start + EVERY, numbers.stop))
            self._socket.sendall(b"".join(copy(n, b"ack" if n == batch[-1] else b"") for n in batch))
            self._owed += count
            self._wait(count * AT_ONCE)
        self._wait(0)

    def _wait(self, owed: int) -> None:
        while self._owed > owed:
            line = self._read.readline()
            if line.startswith(b"MSG"):
                answer = self._read.read(int(line.split()[-1]) + 2)
                if b'"error"' in answer:
                    raise RuntimeError(answer.decode())
                self._owed -= 1
            elif line.startswith(b"HMSG") or line.startswith(b"-ERR") or not line:
                raise RuntimeError(f"the server refuses: {line.decode()}")
            elif line.startswith(b"PING"):
                self._socket.sendall(b"PONG\r\n")


class Server:
    """A nats-server as it comes, looked at while it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Seconds until it takes connections and has its streams."""
        started = time.perf_counter()
        arguments = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self._folder)]
        self._process = subprocess.Popen(
            [processes.program("nats-server"), *arguments, "-l", str(self._folder.with_suffix(".log"))]
        )
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return time.perf_counter() - started
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    @property
    def rss_mb(self) -> float:
        assert self._process is not None
        return processes.rss_mb(self._process.pid)

    @property
    def disk_mb(self) -> float:
        return sum(file.stat().st_blocks * 512 for file in self._folder.rglob("*") if file.is_file()) / 1e6


async def info(url: str) -> dict[str, dict[str, Any]]:
    """The state of every stream."""
    link = Link(Nats(url=url), "sizing")
    await link.connect(60)
    streams = json.loads((await link.request(link.api("STREAM.LIST"), timeout_s=60)).data)["streams"]
    await link.close()
    return {one["config"]["name"]: one["state"] for one in streams}


def conversations(folder: Path, n: int) -> None:
    """What so many of them take."""
    server = Server(folder / "conversations")
    server.start()
    try:
        recording = asyncio.run(record(server.url, folder))
        per_stream = Counter(message.stream for message in recording.messages)
        sizes = {s: sum(m.size for m in recording.messages if m.stream == s) for s in per_stream}
        for stream, count in per_stream.items():
            click.echo(f"a conversation leaves {count} messages, {sizes[stream]:,} bytes of payload in {stream}")
        grow(server, recording, n)
        states = asyncio.run(info(server.url))
        for stream, count in per_stream.items():
            stored = states[stream]["messages"]
            if stored < n * count:
                raise RuntimeError(f"{stream} has {stored:,} messages of {n * count:,}")
            click.echo(f"{stream}: {stored:,} messages, {states[stream]['bytes'] / stored:.0f} bytes each")
        asyncio.run(backup(server.url, folder))
        server.stop()
        again_s = server.start()
        asyncio.run(info(server.url))
        time.sleep(REST_S)
        click.echo(f"started again in {again_s:.1f} s; after that {server.rss_mb:,.0f} MB")
    finally:
        server.stop()


async def backup(url: str, folder: Path) -> None:
    """How long everything takes into files, and out of them into a server that is empty."""
    link, empty = Link(Nats(url=url), "sizing"), Server(folder / "empty")
    empty.start()
    other = Link(Nats(url=empty.url), "sizing")
    await link.connect(60)
    await other.connect(60)
    try:
        started = time.perf_counter()
        saved = [one async for one in snapshots.save(link, Layout(link.settings), folder / "backup")]
        saved_s, started = time.perf_counter() - started, time.perf_counter()
        failed = [one async for one in snapshots.restore(other, folder / "backup") if isinstance(one, snapshots.Failed)]
        if failed:
            raise click.ClickException(f"not restored: {failed}")
        size = sum(one.size for one in saved) / 1e6
        click.echo(f"backup: {size:,.0f} MB in {saved_s:.1f} s; restored in {time.perf_counter() - started:.1f} s")
    finally:
        await link.close()
        await other.close()
        empty.stop()


def grow(server: Server, recording: Recording, n: int) -> None:
    time.sleep(REST_S / 3)
    before, disk, pump = server.rss_mb, server.disk_mb, Pump(server.port)
    click.echo(f"empty: NATS has {before:.0f} MB of memory, {disk:.0f} MB on disk")
    peak, started = before, time.perf_counter()
    for step in range(STEPS):
        pump.store(recording.copy, range(n * step // STEPS, n * (step + 1) // STEPS), len(recording.messages))
        peak = max(peak, server.rss_mb)
        click.echo(f"  {n * (step + 1) // STEPS:9,} conversations: {server.rss_mb:,.0f} MB while they are stored")
    rate = n * len(recording.messages) / (time.perf_counter() - started)
    time.sleep(REST_S)
    rest = server.rss_mb
    grown = server.disk_mb - disk
    click.echo(
        f"{n:,} conversations: at rest {rest:,.0f} MB ({(rest - before) * 1e6 / n:,.0f} bytes each), "
        f"at most {peak:,.0f} MB; {grown:,.0f} MB on disk ({grown * 1e6 / n:,.0f} bytes each); {rate:,.0f} messages/s"
    )


def ids(folder: Path, n: int) -> None:
    """What ids in a duplicate window take: the same messages with and without them."""
    took = {}
    for with_id in (False, True):
        server = Server(folder / f"ids-{with_id}")
        server.start()
        try:
            asyncio.run(_stream(server.url))
            time.sleep(REST_S / 3)
            before, pump = server.rss_mb, Pump(server.port)
            pump.store(_with_id if with_id else _without_id, range(n), 1)
            time.sleep(REST_S)
            took[with_id] = server.rss_mb - before
            server.stop()
            server.start()
            asyncio.run(info(server.url))
            time.sleep(REST_S)
            click.echo(
                f"{n:,} messages {'with' if with_id else 'without'} ids: {took[with_id]:,.0f} MB more at rest, "
                f"{server.rss_mb - before:,.0f} MB more after a start"
            )
        finally:
            server.stop()
    click.echo(f"an id in the window: {(took[True] - took[False]) * 1e6 / n:,.0f} bytes of memory")


async def _stream(url: str) -> None:
    link = Link(Nats(url=url), "sizing")
    await link.connect(60)
    config = {"name": "IDS", "subjects": ["ids"], "storage": "file", "duplicate_window": 86_400 * 10**9}
    await link.request(link.api("STREAM.CREATE.IDS"), json.dumps(config).encode(), timeout_s=10)
    await link.close()


def _with_id(number: int, reply: bytes) -> bytes:
    return _message(b"Nats-Msg-Id: acme:01a21fc4-6136-772f-9845-%012x\r\n" % number, reply)


def _without_id(number: int, reply: bytes) -> bytes:
    return _message(b"Other-Header: acme:01a21fc4-6136-772f-9845-%012x\r\n" % number, reply)


def _message(header: bytes, reply: bytes) -> bytes:
    head, body = b"NATS/1.0\r\n" + header + b"\r\n", b"x" * 100
    return b"HPUB ids %s%d %d\r\n%s%s\r\n" % (reply and reply + b" ", len(head), len(head) + len(body), head, body)


@click.command()
@click.option("--conversations", "n", default=100_000, show_default=True, type=click.IntRange(1000))
@click.option("--ids", "n_ids", default=1_000_000, show_default=True, type=click.IntRange(0))
@click.option("--folder", type=click.Path(path_type=Path), help="Where there is room; a new one by default.")
def main(n: int, n_ids: int, folder: Path | None) -> None:
    """Measure what NATS needs."""
    base = Path(tempfile.mkdtemp(dir=folder))
    try:
        conversations(base, n)
        if n_ids:
            ids(base, n_ids)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()

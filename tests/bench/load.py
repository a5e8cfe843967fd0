"""Signed Twilio deliveries over raw sockets, as fast as answers come or at a fixed rate; reads of an answer its status.

Run as `python -m tests.bench.load JOB`, both ways in JSON, so that its own cost stays in its own process.
"""

from __future__ import annotations

import asyncio
import re
import selectors
import sys
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlencode

import msgspec
import uvloop
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from .processes import cpu_us

TOKEN = "0123456789abcdef0123456789abcdef"
HOOK = "/hooks/twilio"
CUSTOMERS = 500
SAMPLE = Path(__file__).parents[1] / "samples" / "twilio" / "text.form"
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`n` deliveries numbered from `first`; `rate` a second, or 0 for as many as `connections` in flight allow."""

    port: int
    pid: int
    first: int
    n: int
    connections: int
    rate: float = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What it took: `cpu_us` is the server's, latencies count from when a delivery was due; `failed` are numbers."""

    seconds: float
    cpu_us: float
    failed: list[int]
    latencies_ms: list[float]


def sid(number: int) -> str:
    """The MessageSid of a delivery."""
    return f"SM{number:032x}"


def request(number: int, port: int) -> bytes:
    """The bytes of a delivery; its customer is one of `CUSTOMERS`."""
    url, fields = f"http://127.0.0.1:{port}{HOOK}", dict(parse_qsl(SAMPLE.read_text(), keep_blank_values=True))
    fields |= dict.fromkeys(("MessageSid", "SmsSid", "SmsMessageSid"), sid(number))
    fields["From"] = f"+447700{number % CUSTOMERS:06}"
    body = urlencode(fields)
    head = (
        f"POST {HOOK} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: TwilioProxy/1.1",
        "Accept: */*",
        "Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
        f"I-Twilio-Idempotency-Token: {number:032x}",
        f"X-Twilio-Signature: {RequestValidator(TOKEN).compute_signature(url, fields)}",
        f"Content-Length: {len(body)}",
    )
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


class Load:
    """The deliveries of one job."""

    def __init__(self, job: Job) -> None:
        self.latencies_ms: list[float] = []
        self.failed: list[int] = []
        self.idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._job = job
        self._requests = [request(job.first + i, job.port) for i in range(job.n)]

    async def run(self) -> Result:
        """Send them all and wait for the last answer. Raises `ConnectionError` where the server hangs up."""
        job, loop = self._job, asyncio.get_running_loop()
        for _ in range(job.connections):
            self.idle.put_nowait((await loop.create_connection(lambda: Connection(self), "127.0.0.1", job.port))[1])
        cpu, started = cpu_us(job.pid), loop.time()
        for i, data in enumerate(self._requests):
            due = started + i / job.rate if job.rate else loop.time()
            if (delay := due - loop.time()) > 0:
                await asyncio.sleep(delay)
            (await self.idle.get()).send(job.first + i, data, due if job.rate else loop.time())
        await self.done
        seconds, cpu = loop.time() - started, cpu_us(job.pid) - cpu
        return Result(seconds=seconds, cpu_us=cpu, failed=self.failed, latencies_ms=self.latencies_ms)

    def answered(self, connection: Connection, number: int, status: bytes, seconds: float) -> None:
        """Note an answer; its connection is free for the next delivery."""
        self.latencies_ms.append(seconds * 1000)
        if status != b"200":
            self.failed.append(number)
        self.idle.put_nowait(connection)
        if len(self.latencies_ms) == self._job.n:
            self.done.set_result(None)


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one delivery in flight."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, number: int, data: bytes, due: float) -> None:
        self._number, self._due = number, due
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head) if end else None
        if length is not None and len(body) >= int(length[1]):
            self._buffer = b""
            self._load.answered(self, self._number, head[9:12], self._loop.time() - self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.done.done():
            self._load.done.set_exception(ConnectionError("the server hung up"))


def main() -> None:
    job = msgspec.json.decode(sys.argv[1], type=Job)

    def precise() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(
            selectors.SelectSelector()
        )  # select(2) counts microseconds, epoll and uvloop ms

    async def run() -> Result:
        return await asyncio.wait_for(Load(job).run(), 300)

    with asyncio.Runner(loop_factory=precise if job.rate else uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(msgspec.json.encode(runner.run(run())))


if __name__ == "__main__":
    main()

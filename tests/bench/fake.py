"""Twilio's message resource as cheap as it gets, in a process of its own: it writes down what it was asked to send.

Run as `python -m tests.bench.fake PORT`. The first part of a path is the line: "throttled…" is answered 429 with
Retry-After 60 at once, any other 201 after 20 ms. GET answers all that was asked, in order.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import urllib.request
from typing import cast
from urllib.parse import parse_qs

import msgspec
import uvloop

from .load import LENGTH

ANSWER_S = 0.02
RETRY_AFTER_S = 60
THROTTLED = "throttled"
_numbers = itertools.count(1)
_asked: list[Asked] = []


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One request: on which line, the words, and seconds since some moment."""

    line: str
    body: str
    at: float


def asked(port: int) -> list[Asked]:
    """What the provider on this port was asked to send so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return msgspec.json.decode(answer.read(), type=list[Asked])


class Connection(asyncio.Protocol):
    """One keep-alive connection, on which one request is asked at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head) if end else None
        if end and len(body) >= (int(length[1]) if length else 0):
            self._buffer = b""
            self._answer(head.split(b" ", 2)[1].decode(), body.decode())

    def _answer(self, path: str, body: str) -> None:
        if not body:
            self._write(200, msgspec.json.encode(_asked))
            return
        line = path.split("/")[1]
        _asked.append(Asked(line, parse_qs(body)["Body"][0], self._loop.time()))
        if line.startswith(THROTTLED):
            self._write(429, b"{}", f"Retry-After: {RETRY_AFTER_S}\r\n")
        else:
            sid = f"SM{next(_numbers):032x}"
            self._loop.call_later(ANSWER_S, self._write, 201, msgspec.json.encode({"sid": sid, "num_segments": "1"}))

    def _write(self, status: int, body: bytes, more: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

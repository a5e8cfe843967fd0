"""The process in which strangers' bytes are parsed: limits itself, calls functions by name, answers in JSON.

Run as a file, so that it imports nothing that its functions don't. Opens no connection, and says nothing of what it
read but what a function returned: of an exception only the type's name.

Its parent holds the other ends of two things: standard input, on which nothing ever comes, and which closes when the
parent dies; and a socket on which frames go, each a length of four bytes and so much msgpack.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import importlib
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

OPEN_FILES = 32
STDERR = 2
NICENESS = 10
MERCY_S = 1.0
"""How much longer than the parent allows a call lasts where the parent is not there to end it."""


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What a worker may use: bytes of address space, of each file it writes and of an answer.

    Each call has seconds, and so many of the processor's.
    """

    path: tuple[str, ...]
    calls: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    answer_bytes: int


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Import this function, "package.module:function", before it is called."""

    function: str


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """Call a function that was loaded. msgspec knows no union of str and bytes, which the arguments are, beside int."""

    function: str
    arguments: tuple[Any, ...]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`body` is the result in JSON, or the name of an exception's type. `spent` asks for a fresh worker."""

    outcome: Literal["ok", "memory", "error"]
    body: bytes = b""
    spent: bool = False


class ResultTooLarge(Exception):
    """The result has more bytes than an answer may have."""


OUT_OF_MEMORY = msgspec.msgpack.encode(Answer("memory", spent=True))  # made while there is some
encode = msgspec.msgpack.encode


class Worker:
    """Answers one request after the other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._functions: dict[str, Callable[..., object]] = {}

    def answer(self, request: Load | Call) -> bytes:
        """The frame that answers it; whatever goes wrong is an answer too."""
        try:
            if isinstance(request, Load):
                self._functions[request.function] = _imported(request.function)
                gc.freeze()
                return encode(Answer("ok"))
            body = self._call(self._functions[request.function], request.arguments)
            return encode(Answer("ok", body, self._spent()))
        except MemoryError:
            return OUT_OF_MEMORY
        except BaseException as error:  # SystemExit as well: a worker ends when its parent says so
            name = type(error).__name__.encode()
        return encode(Answer("error", name, self._spent()))

    def _call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> bytes:
        seconds = self._limits.seconds + MERCY_S
        cpu_s = math.ceil(time.process_time() + self._limits.cpu_seconds)
        _set(resource.RLIMIT_CPU, cpu_s, resource.getrlimit(resource.RLIMIT_CPU)[1])
        faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)
        try:
            body = msgspec.json.encode(function(*arguments))
        finally:
            faulthandler.cancel_dump_traceback_later()
        if len(body) > self._limits.answer_bytes:
            raise ResultTooLarge
        return body

    def _spent(self) -> bool:
        """Whether what a call left behind is so much that the next would have less than half."""
        most = self._limits.memory_bytes // 2
        try:
            if _size_bytes() < most:
                return False
            gc.collect()
            return _size_bytes() > most
        except OSError:  # as when it left so many files open
            return sys.platform == "linux"


def _imported(function: str) -> Callable[..., object]:
    module, _, name = function.partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module), name)
    return found


def _size_bytes() -> int:
    """The address space in use. Raises `OSError` where the system does not tell."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit(limits: Limits) -> None:
    """Address space bounds resident memory, whatever kind it is of; RLIMIT_DATA lets shared mappings through."""
    cpu_s = math.ceil(limits.cpu_seconds)
    _set(resource.RLIMIT_AS, limits.memory_bytes)
    _set(resource.RLIMIT_CPU, cpu_s * (limits.calls + 1))
    _set(resource.RLIMIT_FSIZE, limits.file_bytes)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_CORE, 0)


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit. Linux has them all; elsewhere what there is."""
    most = resource.getrlimit(kind)[1]
    hard = soft if hard is None else hard
    soft, hard = (value if most == resource.RLIM_INFINITY else min(value, most) for value in (soft, hard))
    try:
        resource.setrlimit(kind, (soft, hard))
    except (ValueError, OSError):
        if sys.platform == "linux":
            raise


def _end_with_parent() -> None:
    """Have the kernel end this process when standard input closes, even amid C code (Linux; else the watchdog does)."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGIO, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    closed = select.poll()
    closed.register(0, 0)
    if closed.poll(0):  # before anybody listened
        sys.exit()


def _give_way() -> None:
    """Who listens goes before who parses, and is killed after, where memory runs out."""
    os.nice(NICENESS)
    if sys.platform == "linux":
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(b"1000")


def _read(connection: int) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, 4), "big"))


def _exactly(connection: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(connection, size - len(data))
        if not chunk:
            sys.exit()
        data += chunk
    return bytes(data)


def _write(connection: int, frame: bytes) -> None:
    for data in (len(frame).to_bytes(4, "big"), frame):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(connection, rest) :]


def main(connection: int) -> None:
    """Answer until the parent is gone."""
    _end_with_parent()
    _give_way()
    limits = msgspec.msgpack.decode(_read(connection), type=Limits)
    _limit(limits)
    sys.path += [place for place in limits.path if place not in sys.path]
    worker = Worker(limits)
    requests: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Load | Call)
    while True:
        _write(connection, worker.answer(requests.decode(_read(connection))))


if __name__ == "__main__":
    main(int(sys.argv[1]))

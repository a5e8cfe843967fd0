"""One worker process as its parent sees it: started, asked, timed, killed. Decides nothing about who is served when."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import SluicewayError, Unavailable
from .worker import Answer, Call, Limits, Load

SCRIPT = Path(__file__).with_name("worker.py")
START_S = 10.0
REAPED_S = 1.0
LOOK_S = 0.002
ENVELOPE_BYTES = 64
"""What an answer has besides its body, at most."""
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
"""glibc reserves 64 MB of address space a thread otherwise."""

Why = Literal["time", "memory", "error", "ended"]


class Crashed(SluicewayError):
    """The function did not return.

    `why`: time, memory, error (it raised) or ended (its process did). `what` is the name of the exception's type or of
    the signal, or empty; never a text that could be a customer's.
    """

    def __init__(self, why: Why, what: str = "") -> None:
        super().__init__(f"{why}: {what}" if what else why)
        self.why: Why = why
        self.what = what


class Process:
    """A worker that was started; whoever made it awaits `load` before `call`, and `gone` after `kill`."""

    def __init__(self, limits: Limits) -> None:
        """Raises `Unavailable` where no process can be had."""
        self.calls = 0
        self.spent = False
        self._limits = limits
        self._loaded: set[str] = set()
        self._greeted = False
        try:
            self._socket, theirs = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"no worker can be started: {error.strerror}") from error
        self._socket.setblocking(False)
        with theirs:
            try:
                self._popen = _spawn(theirs)
            except OSError as error:
                self._socket.close()
                raise Unavailable(f"no worker can be started: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """Its process id, which is its group's."""
        return self._popen.pid

    async def load(self, function: str) -> None:
        """Have a function imported, once. Raises `Unavailable` where that fails; nothing hostile was seen yet."""
        if function in self._loaded:
            return
        try:
            async with asyncio.timeout(START_S):
                if not self._greeted:
                    await self._write(msgspec.msgpack.encode(self._limits))
                    self._greeted = True
                await self._write(msgspec.msgpack.encode(Load(function)))
                answer = await self._read()
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            raise Unavailable(f"a worker did not start: {type(error).__name__}") from error
        if answer.outcome != "ok":
            raise Unavailable(f"{function} can't be loaded: {_name(answer) or answer.outcome}")
        self._loaded.add(function)

    async def call(self, request: bytes) -> bytes:
        """The result of a function that was loaded, in JSON. Raises `Crashed`."""
        self.calls += 1
        self.spent = True  # until it answered
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._write(request)
                answer = await self._read()
        except TimeoutError as error:
            raise Crashed("time") from error
        except (OSError, EOFError, ValueError) as error:
            raise await self._why_ended() from error
        self.spent = answer.spent or self.calls >= self._limits.calls
        if answer.outcome != "ok":
            raise Crashed(answer.outcome, _name(answer))
        return answer.body

    @property
    def usable(self) -> bool:
        """Whether it is there, and silent as it should be between calls."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self.spent
        except OSError:
            return False
        return False

    def kill(self) -> None:
        """End it and what it started, at once."""
        self.spent = True
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of one that has ended
                os.killpg(self.pid, signal.SIGKILL)

    async def gone(self) -> None:
        """Return when it has ended and left nothing. Nobody may be in `load` or `call` any more."""
        await self._reaped()
        self._socket.close()
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    async def _why_ended(self) -> Crashed:
        self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(REAPED_S):
                await self._reaped()
        code = self._popen.returncode
        if code == -signal.SIGXCPU:
            return Crashed("time")
        return Crashed("ended", _signal(code))

    async def _reaped(self) -> None:
        while self._popen.poll() is None:  # noqa: ASYNC110  # no event tells on every system
            await asyncio.sleep(LOOK_S)

    async def _write(self, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, len(frame).to_bytes(4, "big") + frame)

    async def _read(self) -> Answer:
        """Raises `OSError`, `EOFError` or `ValueError` for what is no answer."""
        size = int.from_bytes(await self._exactly(4), "big")
        if size > self._limits.answer_bytes + ENVELOPE_BYTES:
            raise ValueError(size)
        return msgspec.msgpack.decode(await self._exactly(size), type=Answer)

    async def _exactly(self, size: int) -> bytes:
        loop, data, filled = asyncio.get_running_loop(), bytearray(size), 0
        with memoryview(data) as view:
            while filled < size:
                got = await loop.sock_recv_into(self._socket, view[filled:])
                if not got:
                    raise EOFError
                filled += got
        return bytes(data)


def request(function: str, arguments: tuple[str | int | bytes, ...]) -> bytes:
    """What `Process.call` is given."""
    return msgspec.msgpack.encode(Call(function, arguments))


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """No fork of ours: vfork and exec, which copies nothing. Raises `OSError`."""
    number = theirs.fileno()
    return subprocess.Popen(  # noqa: S603  # our own words
        [sys.executable, "-I", "-X", "utf8", str(SCRIPT), str(number)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[number],
        env=ENVIRONMENT | {name: os.environ[name] for name in PASSED_ON if name in os.environ},
        cwd="/",
        process_group=0,  # no session: Linux's autogroups give each the same share, whatever nice says
    )


def _name(answer: Answer) -> str:
    """A type's name, and nothing else that somebody may have put there."""
    name = answer.body.decode(errors="replace")
    return name if len(name) <= 64 and name.isascii() and name.isidentifier() else ""


def _signal(code: int | None) -> str:
    try:
        return signal.Signals(-code).name if code is not None and code < 0 else ""
    except ValueError:
        return ""

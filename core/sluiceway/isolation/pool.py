"""Who is served by which worker, and who waits: a bounded queue before a bounded number of processes.

Starts no process by itself that nobody asked for, and never calls again what crashed.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from .. import metrics
from ..errors import Unavailable
from .process import Crashed, Process, request
from .worker import MERCY_S, Limits

log = structlog.get_logger(__name__)

MiB = 1024 * 1024
CALLS = 100
REQUEST_BYTES = MiB
ANSWER_BYTES = 8 * MiB
FILE_BYTES = 64 * MiB
CLOSE_S = 2.0


class _Seat:
    """A place for one process at a time."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.left_at = 0.0


class Workers:
    """Functions called in at most `at_once` processes, each for at most `seconds` and in `memory_bytes`.

    Of the processor's time a call may have `cpu_seconds`, if given, rounded up: a busy machine makes nothing a bomb.
    A call more than `waiting` that wait is refused. Idle processes but one are ended after `idle_s`.
    """

    def __init__(
        self,
        at_once: int,
        seconds: float = 2.0,
        memory_bytes: int = 256 * MiB,
        *,
        waiting: int = 64,
        idle_s: float = 60.0,
        calls: int = CALLS,
        cpu_seconds: float | None = None,
    ) -> None:
        path = tuple(place for place in sys.path if Path(place).is_absolute())
        cpu_s = cpu_seconds or seconds + MERCY_S
        self._limits = Limits(path, calls, seconds, cpu_s, memory_bytes, FILE_BYTES, ANSWER_BYTES)
        self._seats = [_Seat() for _ in range(at_once)]
        self._free = deque(self._seats)
        """The empty to the left, whoever served last to the right."""
        self._turns = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._waiting = 0
        self._idle_s = idle_s
        self._functions: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._trims: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [seat.process.pid for seat in self._seats if seat.process is not None]

    async def call(self, function: str, *arguments: str | int | bytes) -> bytes:
        """What "package.module:function" returns, in JSON.

        Paths in the arguments are absolute. Raises `Crashed`; `Unavailable` where nothing was tried: too many wait, no
        process can be had, the function can't be imported, or this is closed.
        """
        frame = request(function, arguments)
        if len(frame) > REQUEST_BYTES:
            raise ValueError(f"the arguments have {len(frame)} bytes: put them into a file")
        try:
            body = await self._served(function, frame)
        except Crashed as error:
            metrics.count(metrics.isolated, error.why).inc()
            raise
        except Unavailable:
            metrics.count(metrics.isolated, "unavailable").inc()
            raise
        metrics.count(metrics.isolated, "ok").inc()
        return body

    async def close(self) -> None:
        """End all of it: whoever is being served or waits gets `Unavailable`."""
        self._closed = True
        if self._trims is not None:
            self._trims.cancel()
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
        try:
            async with asyncio.timeout(CLOSE_S):
                for _ in self._seats:
                    await self._turns.acquire()  # whoever sat there has seen it end
                await asyncio.gather(*map(_ended, self._seats), *self._tasks)
            for _ in self._seats:
                self._turns.release()
        except TimeoutError:
            log.error("isolation.not_ended", pids=self.pids)

    async def _served(self, function: str, frame: bytes) -> bytes:
        seat = await self._seat()  # where it is closed meanwhile, there is no process to be had
        try:
            process = await self._process(seat, function)
            return await process.call(frame)
        except Crashed as error:
            if self._closed:
                raise Unavailable("the workers are closed") from error
            raise
        finally:
            self._leave(seat)

    async def _seat(self) -> _Seat:
        if self._closed:
            raise Unavailable("the workers are closed")
        if self._turns.locked() and self._waiting >= self._most_waiting:
            raise Unavailable(f"{self._waiting} calls wait for a worker already")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        return self._free.pop()

    async def _process(self, seat: _Seat, function: str) -> Process:
        """The seat's process, or a new one; the function is loaded. Raises `Unavailable`."""
        if seat.process is not None and not seat.process.usable:
            await _ended(seat)
        if self._closed:
            raise Unavailable("the workers are closed")
        if seat.process is None:
            seat.process = Process(self._limits)
        try:
            await seat.process.load(function)
        except BaseException:
            seat.process.spent = True
            raise
        self._functions[function] = None
        return seat.process

    def _leave(self, seat: _Seat) -> None:
        """Who sat there and is spent makes room for the next before the seat is free."""
        seat.left_at = asyncio.get_running_loop().time()
        if seat.process is not None and seat.process.spent:
            seat.process.kill()
            self._begin(self._renew(seat))
        else:
            self._give_back(seat)

    async def _renew(self, seat: _Seat) -> None:
        try:
            await _ended(seat)
            for function in tuple(self._functions):
                await self._process(seat, function)
        except Unavailable as error:
            if not self._closed:
                log.error("isolation.not_started", why=str(error))
            await _ended(seat)
        finally:
            self._give_back(seat)

    def _give_back(self, seat: _Seat) -> None:
        if seat.process is None:
            self._free.appendleft(seat)
        else:
            self._free.append(seat)
            if self._trims is None and not self._closed:
                self._trims = asyncio.get_running_loop().call_later(self._idle_s, self._trim)
        self._turns.release()

    def _trim(self) -> None:
        """End who has been idle for long, but the last."""
        self._trims = None
        loop = asyncio.get_running_loop()
        idle = [seat for seat in self._free if seat.process is not None]
        for seat in idle[:-1]:
            if loop.time() - seat.left_at >= self._idle_s and seat.process is not None:
                process, seat.process = seat.process, None
                process.kill()
                self._begin(process.gone())
                self._free.remove(seat)
                self._free.appendleft(seat)
        if len(idle) > 1:
            self._trims = loop.call_later(self._idle_s, self._trim)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ended(seat: _Seat) -> None:
    process = seat.process
    if process is not None:
        process.kill()
        await process.gone()
        seat.process = None

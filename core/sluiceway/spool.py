"""Deliveries that NATS can't take now: synced to disk before the provider gets its 2xx, stored when NATS is back.

Deliveries that wait at once share a file, each a line of JSON in it; the file is removed when the stream has all of it.
What one sender delivered keeps its order. Resolves nothing, and answers nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from . import metrics, rounds
from .errors import ConfigError, Unavailable
from .record import Record, decode
from .rounds import Rounds

log = structlog.get_logger(__name__)

ROUND = 256
WAVE = 256
"""So many deliveries, roughly, are read back and stored at once."""
RETRY_S = 1.0


class _Round(NamedTuple):
    """A file of the spool, and the keys of all that is in it."""

    name: str
    size: int
    records: int
    keys: array[int]
    since: float


class _Waiting(NamedTuple):
    since: float
    line: bytes
    keys: Iterable[int]
    stored: asyncio.Future[None]

    def end(self, why: str) -> None:
        """Tell whoever waits that it is stored, or why it is not."""
        if not self.stored.done():
            self.stored.set_exception(Unavailable(why)) if why else self.stored.set_result(None)


class _Line(NamedTuple):
    name: str
    line: bytes
    record: Record


Keys = Callable[[Record], Iterable[int]]
"""What a delivery must stay in order with: deliveries that share a key are of one sender."""
Take = Callable[[Record], Awaitable[None]]
"""Stores a delivery. Raises `Unavailable` where it may be tried again."""


class Spool:
    """One process's spool, in one folder of its own."""

    def __init__(self, folder: Path, max_bytes: int, keys: Keys) -> None:
        self._folder = folder
        self._rounds = Rounds(folder)
        self._max_bytes = max_bytes
        self._keys_of = keys
        self._files: deque[_Round] = deque()
        self._held: Counter[int] = Counter()
        self._records = self._bytes = self._number = 0
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._stuck: set[str] = set()
        self._filled = asyncio.Event()
        self._woken = asyncio.Event()

    async def open(self) -> None:
        """Take what an earlier process left. Raises `ConfigError` where the folder can't be used."""
        try:
            found = await asyncio.to_thread(self._open)
        except OSError as error:
            taken = isinstance(error, BlockingIOError)
            why = (
                "is another process's; give each a folder of its own"
                if taken
                else f"can't be written: {error.strerror}"
            )
            raise ConfigError("configuration", "spool.path", f"the folder {self._folder} {why}") from error
        metrics.spool_oldest.set_function(self._age_s)
        metrics.spool_limit.set(self._max_bytes)
        self._number = max(time.time_ns(), *(rounds.number(file.name) for file in found[-1:]), 0)
        for file in found:
            self._add(file.records, file.size, file.keys)
            self._keep(file)
        if found:
            log.warning("spool.found", records=self._records, bytes=self._bytes)

    async def close(self) -> None:
        """Let what is being written be written, and leave the folder."""
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._rounds.close)

    def holds(self, record: Record) -> bool:
        """Whether something that came before this, from the same sender, is still here."""
        return bool(self._held) and any(key in self._held for key in self._keys_of(record))

    async def put(self, record: Record) -> None:
        """Return when it is on disk. Raises `Unavailable` where the spool is full or can't be written."""
        line = record.encode()
        if self._bytes + len(line) > self._max_bytes:
            log.error("spool.full", records=self._records, bytes=self._bytes)
            raise Unavailable("the spool is full")
        since, stored = record.arrived_at.timestamp(), asyncio.get_running_loop().create_future()
        waiting = _Waiting(since, line, tuple(self._keys_of(record)), stored)
        self._add(1, len(line), waiting.keys)
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await waiting.stored

    def wake(self) -> None:
        """NATS is back: try again at once."""
        self._woken.set()

    async def drain(self, take: Take) -> None:
        """Store what is here and what will come, until cancelled."""
        while True:
            await self._filled.wait()
            files, lines = await self._next()
            while lines := await self._try(lines, take):
                await self._pause()
            for file in files:
                if file.name not in self._stuck:
                    with contextlib.suppress(OSError):  # stored again after the next start, as the same events
                        await asyncio.to_thread(self._rounds.remove, file.name)
                self._files.popleft()
                self._add(-file.records, -file.size, file.keys)
            if not self._files:
                self._filled.clear()
                log.info("spool.empty")

    def _open(self) -> list[_Round]:
        found = []
        for name in self._rounds.open():
            keys: array[int] = array("q")
            data = b""
            with contextlib.suppress(OSError):  # what can't be read is set aside when its turn comes
                data = self._rounds.read(name)
            lines = data.splitlines()
            records = [record for line in lines if (record := decode(line)) is not None]
            for record in records:
                keys.extend(self._keys_of(record))
            since = records[0].arrived_at.timestamp() if records else time.time()
            found.append(_Round(name, len(data), len(lines), keys, since))
        return found

    async def _write(self) -> None:
        """Write what waits, as long as something does, a file for all that wait at once."""
        while self._waiting:
            batch, self._waiting = self._waiting[:ROUND], self._waiting[ROUND:]
            self._number += 1
            name, data = f"{self._number}.ndjson", b"".join([waiting.line for waiting in batch])
            keys = array("q", [key for waiting in batch for key in waiting.keys])
            why = ""
            try:
                await asyncio.to_thread(self._rounds.write, name, data)
                self._keep(_Round(name, len(data), len(batch), keys, batch[0].since))
            except OSError as error:
                why = f"the spool can't be written: {error.strerror}"
                log.error("spool.not_written", why=error.strerror)
                self._add(-len(batch), -len(data), keys)
            for waiting in batch:
                waiting.end(why)
        self._writing = None

    def _keep(self, file: _Round) -> None:
        self._files.append(file)
        self._filled.set()

    def _add(self, records: int, size: int, keys: Iterable[int]) -> None:
        """Count what comes, or what goes: then `records` and `size` are negative."""
        self._held.update(keys) if records > 0 else self._held.subtract(keys)
        for key in set(keys):
            if not self._held[key]:
                del self._held[key]
        self._records, self._bytes = self._records + records, self._bytes + size
        metrics.spool_records.set(self._records)
        metrics.spool_bytes.set(self._bytes)

    def _age_s(self) -> float:
        return max(0.0, time.time() - self._files[0].since) if self._files else 0.0

    async def _next(self) -> tuple[list[_Round], list[_Line]]:
        """The oldest files, and what is in them; what can't be read is set aside."""
        files, lines = list[_Round](), list[_Line]()
        for file in tuple(self._files):
            if files and len(lines) + file.records > WAVE:
                break
            files.append(file)
            try:
                data = await asyncio.to_thread(self._rounds.read, file.name)
            except OSError as error:
                log.error("spool.unreadable", file=file.name, why=error.strerror, remedy=f"look at {self._folder}")
                await self._set_aside(file.name, None)
                continue
            for line in data.splitlines():
                if (record := decode(line)) is not None:
                    lines.append(_Line(file.name, line, record))
                else:
                    await self._set_aside(file.name, line)
        return files, lines

    async def _try(self, lines: list[_Line], take: Take) -> list[_Line]:
        """Store them, those of one sender one after the other; returns what could not be stored now."""
        last: dict[int, asyncio.Task[bool]] = {}
        tasks = []
        for line in lines:
            keys = tuple(self._keys_of(line.record))
            before = [last[key] for key in keys if key in last]
            task = asyncio.create_task(self._one(line, before, take))
            last.update(dict.fromkeys(keys, task))
            tasks.append(task)
        done = await asyncio.gather(*tasks)
        return [line for line, stored in zip(lines, done, strict=True) if not stored]

    async def _one(self, line: _Line, before: list[asyncio.Task[bool]], take: Take) -> bool:
        if not all([await task for task in before]):
            return False
        try:
            await take(line.record)
        except Unavailable:
            return False
        except Exception:
            log.exception("spool.broken")
            await self._set_aside(line.name, line.line)
        return True

    async def _set_aside(self, name: str, line: bytes | None) -> None:
        """Put a line, or the whole file, with what people must look at; where even that fails, the file stays."""
        try:
            await asyncio.to_thread(self._rounds.set_aside, name, line)
        except OSError as error:
            self._stuck.add(name)
            log.error("spool.not_set_aside", file=name, why=error.strerror)
        else:
            log.error("spool.set_aside", file=name, remedy=f"look at {self._folder / rounds.BAD / name}")

    async def _pause(self) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), RETRY_S)

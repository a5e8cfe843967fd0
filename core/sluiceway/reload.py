"""Connections, accounts and secrets in files, read again while the process runs; what is wrong in them changes nothing.

Files are compared by their contents, all of them: a swap of a mounted folder, of which one sees old files and new ones
for a moment, is taken when it is over. All else in the configuration is read at the start alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path

import structlog

from . import accounts, metrics
from .accounts import Accounts
from .config import Config, load
from .errors import ConfigError, SluicewayError

log = structlog.get_logger(__name__)

SETTLE_S = 0.2
Stamp = dict[Path, bytes]
Renew = Callable[[Accounts], Awaitable[None]]


class Reloader:
    """For the process that serves these channels (none: all) by a configuration that was read from a file."""

    def __init__(
        self, config: Config, channels: Collection[str] = (), environment: Mapping[str, str] = os.environ
    ) -> None:
        self._config = config
        self._channels = channels
        self._environment = environment
        self._read = config.read
        self._taken: Stamp = {}
        self._at_once = asyncio.Event()
        self._tell(None)

    def hurry(self) -> None:
        """Look now."""
        self._at_once.set()

    async def run(self, renew: Renew) -> None:
        """Look until cancelled. `renew` is given what is right; where it raises, it is given it again later."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_once.wait(), self._config.core.reload.every_s or None)
            self._at_once.clear()
            try:
                await self._look(renew)
            except Exception:  # whatever is wrong with a file, the accounts of before go on
                log.exception("reload.broken")
                metrics.reload_success.set(0)

    async def _look(self, renew: Renew) -> None:
        if await self._stamp() == self._taken:
            return
        found, stamp = await self._settled()
        if isinstance(found, ConfigError):
            self._tell(found)
            self._taken = stamp  # it is as wrong for as long as no file changes
            return
        try:
            await renew(found)
        except SluicewayError as error:
            self._tell(error)
            return
        self._tell(None)
        self._taken = stamp

    async def _settled(self) -> tuple[Accounts | ConfigError, Stamp]:
        """What the files have, or what is wrong with them, once they are the same before and after they were read."""
        while True:
            before = await self._stamp()
            found = await asyncio.to_thread(self._load)
            if (after := await self._stamp()) == before:
                return found, after
            await asyncio.sleep(SETTLE_S)

    def _load(self) -> Accounts | ConfigError:
        config = None
        try:
            config = load(self._config.file, self._environment)
            found = accounts.of(config, self._channels)
        except ConfigError as error:
            return error
        finally:
            self._read = config.read if config is not None else self._read
        if config.core != self._config.core:
            log.warning("reload.restart_needed", why="beside accounts, the configuration changed")
        return found

    async def _stamp(self) -> Stamp:
        return await asyncio.to_thread(_digests, self._config.folder, self._read)

    def _tell(self, error: SluicewayError | None) -> None:
        metrics.reload_success.set(error is None)
        if error is None:
            metrics.reload_success_at.set_to_current_time()
        else:
            log.error("reload.refused", why=str(error), remedy="mend it; the accounts and secrets of before go on")


def _digests(folder: Path, paths: Iterable[Path]) -> Stamp:
    return {path: _digest(path) for path in {*paths, *folder.glob("*.toml")}}


def _digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return b""

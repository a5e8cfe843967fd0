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

from . import accounts, metrics, sources
from .accounts import Accounts
from .config import Config, load
from .errors import ConfigError, SluicewayError, Unavailable

log = structlog.get_logger(__name__)

SETTLE_S = 1.0
"""For so long no file has changed when it is taken: whoever writes one has it empty, or half, for a moment."""
RETRY_S = 5.0
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
        self._had_folder = self._has_folder
        self._at_once = asyncio.Event()
        self._tell(None)

    def hurry(self) -> None:
        """Look now."""
        self._at_once.set()

    async def run(self, renew: Renew) -> None:
        """Look until cancelled. `renew` is given what is right; where it raises, it is given it again soon."""
        wait_s: float | None = RETRY_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_once.wait(), wait_s)
            self._at_once.clear()
            try:
                done = await self._look(renew)
            except Exception:  # whatever is wrong with a file, the accounts of before go on
                log.exception("reload.broken")
                metrics.reload_success.set(0)
                done = True
            wait_s = (self._config.core.reload.every_s or None) if done else RETRY_S

    async def _look(self, renew: Renew) -> bool:
        """Whether what there is now is in use, or was refused: else it is to be tried again."""
        if await self._stamp() == self._taken:
            return True
        found, stamp = await self._settled()
        if isinstance(found, ConfigError):
            self._tell(found)
            self._taken = stamp  # it is as wrong for as long as no file changes
            return True
        try:
            await renew(found)
        except Unavailable as error:
            log.debug("reload.waits", why=str(error))
            return False
        except SluicewayError as error:
            self._tell(error)
            return False
        self._tell(None)
        self._taken, self._had_folder = stamp, self._has_folder
        return True

    async def _settled(self) -> tuple[Accounts | ConfigError, Stamp]:
        """What the files have, or what is wrong with them, once they have been the same for a moment."""
        while True:
            before = await self._stamp()
            await asyncio.sleep(SETTLE_S)
            found = await asyncio.to_thread(self._load)
            if (after := await self._stamp()) == before:
                return found, after

    def _load(self) -> Accounts | ConfigError:
        config = None
        try:
            config = load(self._config.file, self._environment)
            if self._had_folder and not self._has_folder:
                raise ConfigError(str(config.folder), "", "is gone; bring it back, or leave an empty folder there")
            found = accounts.of(config, self._channels, self._config.core.http.base_url)
        except ConfigError as error:
            return error
        finally:
            self._read = config.read if config is not None else self._read
        if config.core != self._config.core:
            log.warning("reload.restart_needed", why="beside accounts, the configuration changed")
        return found

    @property
    def _has_folder(self) -> bool:
        return self._config.folder.is_dir()

    async def _stamp(self) -> Stamp:
        return await asyncio.to_thread(_digests, self._config.folder, self._read)

    def _tell(self, error: SluicewayError | None) -> None:
        metrics.reload_success.set(error is None)
        if error is None:
            metrics.reload_success_at.set_to_current_time()
        else:
            log.error("reload.refused", why=str(error), remedy="mend it; the accounts and secrets of before go on")


def _digests(folder: Path, paths: Iterable[Path]) -> Stamp:
    with contextlib.suppress(ConfigError):  # told by whoever reads it
        paths = {*paths, *sources.files(folder)}
    return {path: _digest(path) for path in paths}


def _digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return b""

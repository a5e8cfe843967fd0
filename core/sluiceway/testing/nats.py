"""A real nats-server for tests: its own port, its own data, killed and started again at will. Nothing to ship with."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluiceway import embedded

from .ports import free_port

START_TIMEOUT_S = 20
PORTS_TRIED = 20


class NatsServer:
    """A nats-server with JetStream on loopback; what it stored is there again after `kill` and `restart`.

    `config` is more of its configuration, such as users; it is read at each start, and at a `reload`.
    """

    def __init__(self, folder: Path, config: str = "") -> None:
        self.port = 0
        self.config = config
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """On a free port. Raises `RuntimeError`, with what it logged."""
        for _ in range(PORTS_TRIED):
            self.port = free_port()
            if self._start():
                return
        raise RuntimeError(f"nats-server does not start: {self._log.read_text()[-2000:]}")

    def restart(self) -> None:
        """On the same port, with the same data. Raises `RuntimeError`, with what it logged."""
        self.kill()
        if not self._start():
            raise RuntimeError(f"nats-server does not start again: {self._log.read_text()[-2000:]}")

    def reload(self) -> None:
        """Have it read `config` again while it runs."""
        file = self._folder / "nats-server.conf"
        name, _, _ = file.read_text().partition("\n")
        file.write_text(f"{name}\n{self.config}")
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL: no time to write anything down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _log(self) -> Path:
        return self._folder / "nats-server.log"

    def _start(self) -> bool:
        """Whether it listens; False where the port is somebody else's."""
        name = uuid.uuid4().hex
        command = [embedded.binary(), "-a", "127.0.0.1", "-p", str(self.port), "-n", name, "-l", str(self._log)]
        command += ["-js", "-sd", str(self._folder)]
        if self.config:
            (file := self._folder / "nats-server.conf").write_text(f"server_name: {name}\n{self.config}")
            command += ["-c", str(file)]
        self._process = subprocess.Popen(command)  # noqa: S603  # our own words
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _name(self.port) == name:
                return True
            time.sleep(0.01)
        self.kill()
        return False


@contextmanager
def nats_server(tmp_path: Path, config: str = "") -> Iterator[NatsServer]:
    """A running nats-server that keeps its data below `tmp_path`; it is killed at the end."""
    folder = tmp_path / "nats-server"
    folder.mkdir(parents=True, exist_ok=True)
    server = NatsServer(folder, config)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _name(port: int) -> str | None:
    """The name of the server that listens there, as it says in its INFO; None where none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, connection.makefile("rb") as lines:
            word, _, info = lines.readline().partition(b" ")
            return str(json.loads(info).get("server_name")) if word == b"INFO" else None
    except (OSError, ValueError):
        return None

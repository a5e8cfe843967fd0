"""The processes of one scenario: nats-servers and gateways on loopback, each started, frozen, ended by its own pid."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sluiceway.testing.ports import free_port

from .patience import PATIENCE_S, NeverCame

END_S = 15
SAMPLE_S = 0.25
TENANT = "acme"
CONNECTION_SID = f"AC{'0' * 32}"
TOKEN = "0123456789abcdef0123456789abcdef"
PUBLIC_URL = "http://hooks.example"
SECRETS = {"CHAOS_TOKEN": TOKEN, "CHAOS_KEY": "an identity key for fault tests only"}

CORE = """
[nats]
url = "{url}"
replicas = {replicas}
[http]
listen = "127.0.0.1:{hooks}"
public_url = "{public}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:CHAOS_KEY"
[log]
format = "json"
"""
LINE = """
[connections.{name}]
gateway = "sms.twilio"
sid = "{sid}"
token = "env:CHAOS_TOKEN"
api_url = "{api}"
[accounts.{name}]
connection = "{name}"
tenant = "{tenant}"
address = "tel:{number}"
"""
SERVER = """
server_name: {name}
listen: "127.0.0.1:{port}"
log_file: "{log}"
max_payload: 4MB
jetstream {{ store_dir: "{store}", max_file_store: 4GB, max_memory_store: 256MB{sync} }}
"""
CLUSTER = """
cluster {{ name: chaos, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


def program(name: str) -> str:
    """The program beside this Python, else the one on the path."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


class Process:
    """One process. What it prints goes to `log`."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._command = command
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> str:
        """Whether it runs, and the end of what it printed."""
        code = self._process.poll() if self._process is not None else None
        printed = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return f"{'runs' if code is None else f'ended with {code}'}; printed last: {printed[-1] if printed else '-'}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        with self._log.open("ab") as stream:
            self._process = subprocess.Popen(
                self._command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=self._environment
            )

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait: there is nothing that it could still do."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds it took. Killed after `END_S`."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        try:
            code = await asyncio.to_thread(self._process.wait, END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return code, time.monotonic() - began


class Server(Process):
    """A nats-server with JetStream; what it stored is there again after a kill and a start."""

    def __init__(self, folder: Path, name: str, port: int, store: Path | None = None, cluster: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port = port
        sync = "" if cluster else ", sync_interval: always"
        store = store or folder / "jetstream"
        config = folder / "nats.conf"
        text = SERVER.format(name=name, port=port, log=folder / "nats-server.log", store=store, sync=sync)
        config.write_text(text + cluster)
        super().__init__([program("nats-server"), "-c", str(config)], folder / "output.log")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and return when it lets clients in. Raises `NeverCame`."""
        self.spawn()
        await _until(f"{self.name} lets clients in", lambda: _greeting(self.port) == self.name, self)


class Gateway(Process):
    """One replica: `sluiceway run sms`. `peak_mb` is the most memory that any of its processes had."""

    def __init__(self, folder: Path, config: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.hooks, self.probes = free_port(), free_port()
        self.peak_mb = 0.0
        file = folder / "sluiceway.toml"
        file.write_text(config.replace("{hooks}", str(self.hooks)).replace("{probes}", str(self.probes)))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
        command = [program("sluiceway"), "run", "sms", "--config", str(file)]
        super().__init__(command, folder / "gateway.log", inherited | SECRETS)

    async def start(self) -> None:
        """Start it, and return when it is ready. Raises `NeverCame`."""
        self.spawn()
        await _until("a gateway is ready", self.ready, self)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/readyz", timeout=1) as response:
                return bool(response.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def sent(self) -> float:
        """How many commands it has carried out, by its own metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/metrics", timeout=1) as response:
                lines = response.read().decode().splitlines()
        except (OSError, http.client.HTTPException):
            return 0
        return sum(float(line.split()[-1]) for line in lines if line.startswith("sluiceway_commands_total"))

    def measure(self) -> None:
        """Note its memory, while it lives."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            peak = next(line for line in lines if line.startswith("VmHWM"))
            self.peak_mb = max(self.peak_mb, int(peak.split()[1]) * 1024 / 1e6)


class World:
    """Servers and gateways. `lines` are the accounts: each a connection, a number and a provider's URL."""

    def __init__(self, folder: Path, servers: list[Server], gateways: list[Gateway]) -> None:
        self.folder = folder
        self.servers = servers
        self.gateways = gateways

    @property
    def server(self) -> Server:
        return self.servers[0]

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    @property
    def peak_mb(self) -> float:
        return max(gateway.peak_mb for gateway in self.gateways)

    async def watch(self) -> None:
        """Measure the gateways until cancelled."""
        while True:
            for gateway in self.gateways:
                gateway.measure()
            await asyncio.sleep(SAMPLE_S)


@contextlib.asynccontextmanager
async def world(
    folder: Path, lines: dict[str, tuple[str, str]], *, servers: int, replicas: int, store: Path | None, extra: str
) -> AsyncIterator[World]:
    """Everything started; everything ended afterwards. `lines`: number and provider by name. Raises `NeverCame`."""
    whole = _made(folder, lines, servers=servers, replicas=replicas, store=store, extra=extra)
    watching = asyncio.create_task(whole.watch())
    try:
        await asyncio.gather(*(server.start() for server in whole.servers))
        await asyncio.gather(*(gateway.start() for gateway in whole.gateways))
        yield whole
    finally:
        watching.cancel()
        for process in (*whole.gateways, *whole.servers):
            process.kill()
        await asyncio.wait([watching])


def _made(
    folder: Path,
    lines: dict[str, tuple[str, str]],
    *,
    servers: int,
    replicas: int,
    store: Path | None,
    extra: str,
) -> World:
    made = _servers(folder, servers, store)
    url = ",".join(server.url for server in made)
    config = CORE.format(url=url, replicas=servers, hooks="{hooks}", probes="{probes}", public=PUBLIC_URL) + extra
    for name, (number, api) in lines.items():
        config += LINE.format(name=name, number=number, api=api, sid=CONNECTION_SID, tenant=TENANT)
    gateways = [
        Gateway(folder / f"gateway-{n}", config.replace("{folder}", str(folder / f"gateway-{n}")))
        for n in range(replicas)
    ]
    return World(folder, made, gateways)


def _servers(folder: Path, count: int, store: Path | None) -> list[Server]:
    if count == 1:
        return [Server(folder / "nats", "nats", free_port(), store)]
    clustered = [free_port() for _ in range(count)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in clustered)
    return [
        Server(folder / f"nats-{n}", f"nats-{n}", free_port(), cluster=CLUSTER.format(port=port, routes=routes))
        for n, port in enumerate(clustered)
    ]


async def _until(what: str, condition: Callable[[], bool], process: Process) -> None:
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        waited = time.monotonic() - began
        if waited > PATIENCE_S or not process.running:
            raise NeverCame(f"{what}: not so after {waited:.0f} s; the process {process.state}")
        await asyncio.sleep(0.05)


def _greeting(port: int) -> str | None:
    """The name of the server that listens there; None where none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, connection.makefile("rb") as lines:
            word, _, info = lines.readline().partition(b" ")
            return str(json.loads(info).get("server_name")) if word == b"INFO" else None
    except (OSError, ValueError):
        return None

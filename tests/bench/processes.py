"""Processes under test: started on one core, looked at through /proc, ended. Linux only."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sluiceway.testing.ports import free_port

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, OTHER_CORE = CORES[0], CORES[-1]
PATIENCE_S = 60
CONFIG = """
[nats]
url = "nats://127.0.0.1:{nats}"
[http]
listen = "127.0.0.1:{port}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:BENCH_KEY"
[connections.twilio]
gateway = "sms.twilio"
sid = "AC{zeros}"
token = "env:BENCH_TOKEN"
[accounts.main]
connection = "twilio"
tenant = "acme"
address = "tel:+447700900123"
"""


def program(name: str) -> str:
    """The program beside this Python, else the one on the path."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(
    arguments: list[str], *, log: Path, core: int = SERVER_CORE, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on a core; what it prints goes to `log`."""
    command = ["taskset", "-c", str(core), *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICEWAY_", "PYTHON"))}
    cache = {"PYTHONPYCACHEPREFIX": str(log.parent / "bytecode")}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=inherited | cache | (environment or {}))
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nats(folder: Path) -> Iterator[int]:
    """A nats-server with JetStream, off the servers' core; yields its port."""
    port = free_port()
    arguments = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "jetstream")]
    with running(arguments, core=OTHER_CORE, log=folder / "nats.log") as process:
        wait_for_port(port, process)
        yield port


class Gateway(NamedTuple):
    """How to start the SMS gateway, and the ports of its hooks and its probes."""

    arguments: list[str]
    environment: dict[str, str]
    port: int
    probes: int


def sluiceway(folder: Path, nats_port: int, token: str) -> Gateway:
    """The SMS gateway against this NATS, configured and not yet started."""
    port, probes = free_port(), free_port()
    file = folder / "sluiceway.toml"
    file.write_text(CONFIG.format(nats=nats_port, port=port, probes=probes, zeros="0" * 32))
    arguments = [program("sluiceway"), "run", "sms", "--config", str(file)]
    return Gateway(arguments, {"BENCH_TOKEN": token, "BENCH_KEY": "k" * 32}, port, probes)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when somebody listens. Raises `TimeoutError`."""
    _wait(lambda: _listens(port), process)


def wait_until_ready(probes: int, process: subprocess.Popen[bytes]) -> None:
    """Return when /readyz says so. Raises `TimeoutError`."""
    _wait(lambda: _listens(probes) and _is_ready(probes), process)


def cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far, user and system, in microseconds."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1000


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{process.args!r} did not get ready")
        time.sleep(0.005)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(probes: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{probes}/readyz", timeout=1) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return False

"""How long a process takes to answer /healthz, asked from outside again and again: its loop's lag, whatever causes it.

Run as `python -m tests.bench.latency PORT`: it asks until its input ends, then prints every latency in milliseconds.
Who would have asked while an answer was late has waited for the rest of it, and counts too.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from . import processes

EVERY_S = 0.005


def ask(port: int) -> None:
    """Until the input ends, on one connection."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # what it waits for is the other process, not its turn
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    late_ms, pause_s = list[float](), 0.0
    while not select.select([sys.stdin], [], [], pause_s)[0]:
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise ConnectionError(answer.status)
        if not late_ms:
            sys.stdout.write("asking\n")
            sys.stdout.flush()
        took_s = time.perf_counter() - began
        late_ms += [1000 * (took_s - missed * EVERY_S) for missed in range(1 + int(took_s / EVERY_S))]
        pause_s = max(EVERY_S - took_s, 0)
    sys.stdout.write("\n".join(f"{ms:.3f}" for ms in late_ms))


@contextlib.contextmanager
def asked(port: int) -> Iterator[list[float]]:
    """Latencies in milliseconds, there once the block is over; asked from the other core."""
    late_ms = list[float]()
    command = ["taskset", "-c", str(processes.OTHER_CORE), sys.executable, "-m", "tests.bench.latency", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield late_ms
        said, _ = process.communicate()
    late_ms += map(float, said.split())


def shown(late_ms: list[float]) -> str:
    """Median, 99 % and most."""
    centiles = statistics.quantiles(late_ms, n=100, method="inclusive")
    return f"median {centiles[49]:5.1f} ms, 99 % {centiles[98]:5.1f} ms, most {max(late_ms):5.1f} ms"


if __name__ == "__main__":
    ask(int(sys.argv[1]))

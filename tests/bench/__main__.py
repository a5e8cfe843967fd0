"""What a webhook costs, in one interleaved run: Sluiceway, a bare handler, and the same job written plainly.

Saturation first, then the latency at 70 % of it; at the end every delivery that was answered with 200 must be in the
stream once, or the exit code is 1. The servers share one core; nats-server and the load have another. Ratios hold on a
shared machine; absolute figures drift, and latencies say little there.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from sluiceway.testing.ports import free_port

from . import naive, processes
from .load import CUSTOMERS, TOKEN, Job, Result, sid

LOAD = 0.7
CONNECTIONS, PACED_CONNECTIONS = 32, 256
COLUMNS = (
    "variant",
    "webhooks/s",
    "CPU µs/webhook",
    "core busy",
    "p50 ms",
    "p99 ms",
    "RSS MB",
    "to FastAPI",
    "to bare",
)


class Stored(msgspec.Struct):
    """As much of an event as tells which delivery it came from."""

    class Data(msgspec.Struct):
        class Message(msgspec.Struct):
            external_ids: tuple[str, ...]

        message: Message

    data: Data


@dataclass
class Variant:
    """A server under test, and what was measured of it; `stream` is empty where it stores nothing."""

    title: str
    port: int
    pid: int
    stream: str = ""
    subjects: str = ""
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    def saturate(self, first: int, n: int) -> None:
        result = self.load(first, n, CONNECTIONS)
        self.rates.append(n / result.seconds)
        self.cpu_us.append(result.cpu_us / n)
        self.busy.append(result.cpu_us / result.seconds / 1e6)

    def pace(self, first: int, n: int) -> None:
        rate = LOAD * statistics.median(self.rates)
        self.latencies_ms += self.load(first, n, PACED_CONNECTIONS, rate).latencies_ms

    def load(self, first: int, n: int, connections: int, rate: float = 0) -> Result:
        """Let a process of its own do these deliveries. Raises `CalledProcessError`."""
        job = Job(port=self.port, pid=self.pid, first=first, n=n, connections=connections, rate=rate)
        command = ["taskset", "-c", str(processes.OTHER_CORE), sys.executable, "-m", "tests.bench.load"]
        done = subprocess.run([*command, msgspec.json.encode(job).decode()], stdout=subprocess.PIPE, check=True)
        result = msgspec.json.decode(done.stdout, type=Result)
        self.answered |= {sid(number) for number in range(first, first + n)} - {sid(bad) for bad in result.failed}
        if result.failed:
            click.echo(f"{self.title}: {len(result.failed)} of {n} were not answered with 200", err=True)
        return result

    def row(self, plain: Variant, bare: Variant) -> tuple[str, ...]:
        cpu = statistics.median(self.cpu_us)
        latencies = statistics.quantiles(self.latencies_ms, n=100)
        return (
            self.title,
            f"{statistics.median(self.rates):.0f}",
            f"{cpu:.0f} ({min(self.cpu_us):.0f}–{max(self.cpu_us):.0f})",
            f"{statistics.median(self.busy):.0%}",
            f"{latencies[49]:.1f}",
            f"{latencies[98]:.1f}",
            f"{processes.rss_mb(self.pid):.0f}",
            *(_ratio(self.cpu_us, other.cpu_us) for other in (plain, bare)),
        )


@contextlib.contextmanager
def servers(folder: Path, nats_port: int) -> Iterator[tuple[Variant, Variant, Variant]]:
    """Sluiceway, the bare handler and FastAPI, ready."""
    environment = {"BENCH_NATS": f"nats://127.0.0.1:{nats_port}", "BENCH_TOKEN": TOKEN}
    with contextlib.ExitStack() as stack:
        ours = processes.sluiceway(folder, nats_port, TOKEN)
        process = stack.enter_context(
            processes.running(ours.arguments, log=folder / "sluiceway.log", environment=ours.environment)
        )
        processes.wait_until_ready(ours.probes, process)
        received = "sluiceway.v1.acme.events.message.received.>"
        variants = [Variant("Sluiceway", ours.port, process.pid, "SLUICEWAY_EVENTS", received)]
        for title, module, stream, subjects in (
            ("bare aiohttp", "bare", "", ""),
            ("FastAPI, nats-py", "naive", naive.STREAM, f"{naive.PREFIX}.>"),
        ):
            port, log = free_port(), folder / f"{module}.log"
            arguments = [sys.executable, "-m", f"tests.bench.{module}", str(port)]
            process = stack.enter_context(processes.running(arguments, log=log, environment=environment))
            processes.wait_for_port(port, process)
            variants.append(Variant(title, port, process.pid, stream, subjects))
        yield variants[0], variants[1], variants[2]


async def stored(url: str, variant: Variant) -> list[str]:
    """The MessageSids of a variant's events, in the order of the stream."""
    connection = await nats.connect(url)
    js = connection.jetstream()
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True)
    subscription = await js.pull_subscribe(variant.subjects, stream=variant.stream, config=config)
    left = (await subscription.consumer_info()).num_pending or 0
    sids: list[str] = []
    while left > len(sids):
        batch = await subscription.fetch(min(1000, left - len(sids)), timeout=10)
        sids += [msgspec.json.decode(message.data, type=Stored).data.message.external_ids[0] for message in batch]
    await connection.close()
    return sids


def complete(url: str, variants: tuple[Variant, ...]) -> bool:
    """Say whether each 200 is in its stream once."""
    lost = twice = answered = 0
    for variant in (variant for variant in variants if variant.stream):
        sids = asyncio.run(stored(url, variant))
        lost += len(variant.answered.difference(sids))
        twice += len(sids) - len(set(sids))
        answered += len(variant.answered)
    what = f"no, {lost} are not and {twice} are there twice" if lost or twice else "yes"
    click.echo(f"every 200 is in the stream: {what} ({answered - lost} of {answered})")
    return not lost and not twice


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns as wide as they need."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _ratio(ours: list[float], theirs: list[float]) -> str:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--n", default=4000, show_default=True, type=click.IntRange(100), help="Webhooks a round and variant.")
def main(rounds: int, n: int) -> None:
    """Measure what a signed webhook costs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats_port = stack.enter_context(processes.nats(folder))
        variants = stack.enter_context(servers(folder, nats_port))
        for variant in variants:
            variant.load(0, CUSTOMERS * 2, CONNECTIONS)
        for measure in (Variant.saturate, Variant.pace):
            for number in range(rounds):
                for variant in variants:
                    phase = 1 if measure is Variant.saturate else rounds + 1
                    measure(variant, CUSTOMERS * 2 + (phase + number) * n, n)
        bare, plain = variants[1:]
        click.echo(table([tuple(COLUMNS), *(variant.row(plain, bare) for variant in variants)]))
        sys.exit(0 if complete(f"nats://127.0.0.1:{nats_port}", variants) else 1)


if __name__ == "__main__":
    main()

"""What starting costs: `sluiceway --help`, and `sluiceway run sms` until it is ready and while nothing happens.

Run as `python -m tests.bench.startup`. CPU time and imported modules tell more than the clock on a shared machine.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import tempfile
import time
from pathlib import Path

import click

from . import processes
from .load import TOKEN

IDLE_S = 3.0


def help_costs(folder: Path) -> list[float]:
    """CPU time of `sluiceway --help` in milliseconds."""
    with processes.running([processes.program("sluiceway"), "--help"], log=folder / "help.log") as process:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.wait(processes.PATIENCE_S)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)]


def run_costs(gateway: processes.Gateway, folder: Path) -> list[float]:
    """Of `sluiceway run sms`: seconds and CPU ms until ready, then MB resident and CPU ms a second, idle."""
    started = time.monotonic()
    with processes.running(gateway.arguments, log=folder / "run.log", environment=gateway.environment) as process:
        processes.wait_until_ready(gateway.probes, process)
        ready_s, ready_cpu = time.monotonic() - started, processes.cpu_us(process.pid)
        time.sleep(1)
        before = processes.cpu_us(process.pid)
        time.sleep(IDLE_S)
        idle_ms_s = (processes.cpu_us(process.pid) - before) / 1000 / IDLE_S
        return [ready_s, ready_cpu / 1000, processes.rss_mb(process.pid), idle_ms_s]


def imported(gateway: processes.Gateway | None, folder: Path) -> int:
    """How many modules are imported by `sluiceway --help`, or until the gateway is ready."""
    arguments = gateway.arguments if gateway else [processes.program("sluiceway"), "--help"]
    environment = {"PYTHONPROFILEIMPORTTIME": "1", **(gateway.environment if gateway else {})}
    log = folder / "imports.log"
    with processes.running(arguments, log=log, environment=environment) as process:
        if gateway:
            processes.wait_until_ready(gateway.probes, process)
        else:
            process.wait(processes.PATIENCE_S)
    return sum(line.startswith(b"import time:") for line in log.read_bytes().splitlines()) - 1


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def main(rounds: int) -> None:
    """Measure what starting costs; medians."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = processes.sluiceway(folder, stack.enter_context(processes.nats(folder)), TOKEN)
        run_costs(gateway, folder)  # which leaves bytecode behind
        samples = [help_costs(folder) + run_costs(gateway, folder) for _ in range(rounds)]
        help_cpu, ready_s, ready_cpu, rss, idle = (statistics.median(column) for column in zip(*samples, strict=True))
        help_modules, run_modules = imported(None, folder), imported(gateway, folder)
        click.echo(f"sluiceway --help    {help_cpu:.0f} ms CPU, {help_modules} modules")
        click.echo(
            f"sluiceway run sms   {ready_cpu:.0f} ms CPU until ready after {ready_s:.2f} s, {run_modules} modules"
        )
        click.echo(f"                    idle {rss:.0f} MB, {idle:.2f} ms CPU a second")


if __name__ == "__main__":
    main()

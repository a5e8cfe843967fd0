"""What the worst mails cost everybody else: how late the gateway answers while it reads them, four at once.

Run as `python -m tests.bench.worst`. The gateway and its workers have one core, which is fewer than anybody gives them;
nats-server, who hands the mails in and who asks for /healthz every 5 ms share the other.
"""

from __future__ import annotations

import re
import socket
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from sluiceway.testing.ports import free_port

from . import processes
from .latency import asked, shown
from .mail import MAILS
from .smtp import CONFIG

AT_ONCE = 4
GOAL_MS = 100
REST_S = 3
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\n)")


def ready(name: str, number: int, raw: bytes) -> bytes:
    """As it goes over the wire: a Message-ID of its own, lines ended and dots doubled as SMTP wants."""
    head = f"Message-ID: <{number}.{zlib.crc32(name.encode())}@customer.example>\r\n".encode()
    return re.sub(rb"(?m)^\.", b"..", _LINE_END.sub(b"\r\n", head + raw)).removesuffix(b"\r\n") + b"\r\n.\r\n"


def hand_in(port: int, data: bytes) -> str:
    """The answer to a mail."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, connection.makefile("rb") as answers:
        answers.readline()
        for line in (b"HELO bench", b"MAIL FROM:<a@customer.example>", b"RCPT TO:<help@acme.example>", b"DATA"):
            connection.sendall(line + b"\r\n")
            answers.readline()
        connection.sendall(data)
        return answers.readline().decode().strip()


def measured(smtp: int, probes: int, rounds: int) -> None:
    with asked(probes) as rest_ms:
        time.sleep(REST_S)
    click.echo(f"{'at rest':40} {shown(rest_ms)}")
    all_ms, answers = list[float](), set[str]()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, make in MAILS.items():
            raw, ms = make(), list[float]()
            for number in range(rounds):
                mails = [ready(name, AT_ONCE * number + copy, raw) for copy in range(AT_ONCE)]
                with asked(probes) as late_ms:
                    answers |= set(pool.map(hand_in, [smtp] * AT_ONCE, mails))
                ms += late_ms
            click.echo(f"{name:40} {shown(ms)}")
            all_ms += ms
    click.echo(f"{'all of these':40} {shown(all_ms)}; goal: under {GOAL_MS} ms")
    if any(not answer.startswith("250") for answer in answers):
        click.echo(f"not all were taken: {answers}")
        sys.exit(1)


def run(folder: Path, rounds: int) -> None:
    port, probes, smtp = free_port(), free_port(), free_port()
    file = folder / "sluiceway.toml"
    with processes.nats(folder) as nats_port:
        file.write_text(CONFIG.format(nats=nats_port, port=port, probes=probes, smtp=smtp))
        command = [processes.program("sluiceway"), "run", "email", "--config", str(file)]
        log, secrets = folder / "sluiceway.log", {"BENCH_KEY": "k" * 32}
        with processes.running(command, log=log, environment=secrets) as gateway:
            processes.wait_until_ready(probes, gateway)
            processes.wait_for_port(smtp, gateway)
            measured(smtp, probes, rounds)


@click.command()
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1))
def main(rounds: int) -> None:
    """Hand in each of the worst mails, so often four at once."""
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), rounds)


if __name__ == "__main__":
    main()

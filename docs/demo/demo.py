"""The main job, live: a signed text comes in, a helpdesk answers it, and its receipts arrive on the same stream.

It starts `sluiceway up`, Twilio's simulator and the helpdesk beside this file, and watches the stream. With --once it
ends after that round trip: 0 if every step was seen, 1 if any is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = HERE / "sluiceway.toml"
NATS_URL = "nats://127.0.0.1:4333"
SIMULATOR = "127.0.0.1:8334"
READY_URL = "http://127.0.0.1:9333/readyz"
STEPS_TIMEOUT_S = 60
SETTLE_S = 1.5  # so that what the processes say of themselves is read before the story
STEPS = [
    ("conversation.opened", "a conversation is opened"),
    ("message.received", "the customer's text is on the stream"),
    ("message.sent", "the helpdesk's answer was taken by the provider"),
    ("message.status queued", "… and queued"),
    ("message.status sent", "… and sent"),
    ("message.status delivered", "… and delivered"),
]


def main() -> int:
    once = "--once" in sys.argv[1:]
    data = tempfile.mkdtemp(prefix="sluiceway-demo-")
    environment = os.environ | {
        "DEMO_TWILIO_TOKEN": os.environ.get("DEMO_TWILIO_TOKEN", secrets.token_hex(16)),
        "SLUICEWAY_CONFIG": str(CONFIG),
        "SLUICEWAY_NATS__DATA": data,
        "SLUICEWAY_LOG__LEVEL": "warning",
        "NATS_URL": NATS_URL,
        "PYTHONUNBUFFERED": "1",
    }
    try:
        with contextlib.ExitStack() as running:
            running.enter_context(process(environment, "sluiceway", "up"))
            wait_until_ready()
            running.enter_context(process(environment, "sluiceway", "simulator", "--listen", SIMULATOR, quiet=True))
            desk = running.enter_context(process(environment, "python", str(HERE / "helpdesk.py"), pipe=True))
            print((desk.stdout.readline() if desk.stdout else "").strip())  # from now on it gets what customers write
            running.enter_context(process(environment, "sluiceway", "tail", "--since", "all"))
            seen = Seen(
                running.enter_context(process(environment, "sluiceway", "tail", "--since", "all", "--json", pipe=True))
            )
            time.sleep(SETTLE_S)
            print("\nA customer writes. What follows is the stream:\n", flush=True)
            say = ["simulate", "sms", "--from", "+447700900456", "Where is my order?"]
            subprocess.run([tool("sluiceway"), *say], env=environment, check=True)
            missing = seen.wait()
            for step, meaning in STEPS:
                print(f"  {'missing' if step in missing else 'ok':8} {meaning}", flush=True)
            if missing or once:
                return 1 if missing else 0
            print("\nIt stays up until Ctrl-C. In another terminal, write the next message:\n")
            print(f"  {hint(environment)}\n", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            return 0
    finally:
        shutil.rmtree(data, ignore_errors=True)


class Seen:
    """The steps that `sluiceway tail --json` has shown so far."""

    def __init__(self, tail: subprocess.Popen[str]) -> None:
        self._seen: set[str] = set()
        self._tail = tail
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> set[str]:
        """The steps that are missing, when none is or the time is over."""
        deadline = time.monotonic() + STEPS_TIMEOUT_S
        while (missing := {step for step, _ in STEPS} - self._seen) and time.monotonic() < deadline:
            time.sleep(0.05)
        return missing

    def _read(self) -> None:
        assert self._tail.stdout is not None
        for line in self._tail.stdout:
            event = json.loads(line)
            kind = event["type"].removeprefix("sluiceway.")
            self._seen.add(f"{kind} {event['data']['status']}" if kind == "message.status" else kind)


@contextlib.contextmanager
def process(
    environment: dict[str, str], command: str, *arguments: str, quiet: bool = False, pipe: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the demonstration."""
    out = subprocess.PIPE if pipe else subprocess.DEVNULL if quiet else None
    started = subprocess.Popen(
        [tool(command), *arguments], env=environment, stdout=out, stderr=out if quiet else None, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()


def tool(command: str) -> str:
    """A command of the environment that this Python belongs to."""
    return str(Path(sys.executable).parent / command)


def wait_until_ready() -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(READY_URL, timeout=1):
            return
        time.sleep(0.1)
    sys.exit("demo: sluiceway did not become ready; its output above says why")


def hint(environment: dict[str, str]) -> str:
    config, token = os.path.relpath(CONFIG), environment["DEMO_TWILIO_TOKEN"]
    words = '--from +447700900456 "And when will it be here?"'
    return f"DEMO_TWILIO_TOKEN={token} {os.path.relpath(tool('sluiceway'))} simulate sms --config {config} {words}"


if __name__ == "__main__":
    sys.exit(main())

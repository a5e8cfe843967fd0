"""The main job, live: a customer begins on a form, is answered by SMS and texts back; it stays one conversation.

It starts `sluiceway up`, Twilio's simulator and the helpdesk beside this file, and watches the stream. With --once it
ends after that story: 0 if every step was seen in one conversation, 1 otherwise.
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
CUSTOMER = "+447700900456"
FORM = ["simulate", "webform", "--from", CUSTOMER, "--field", "order=A-1042", "My parcel has not come."]
TEXT = ["simulate", "sms", "--from", CUSTOMER, "Thank you, I will wait."]
FORM_STEPS = [
    ("conversation.opened webform", "a conversation is opened by a form"),
    ("contact.linked", "the number typed in is noted, and proves nothing"),
    ("message.received webform", "the form is on the stream"),
    ("message.sent sms", "the helpdesk's answer to the conversation went out by SMS"),
    ("message.status delivered", "… and was delivered"),
]
TEXT_STEPS = [
    ("contact.verified", "the answer from that number proves it"),
    ("conversation.channel_changed sms", "the conversation goes on by SMS"),
    ("message.received sms", "the customer's text is on the stream"),
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
            running.enter_context(
                process(environment, "sluiceway", "simulator", "twilio", "--listen", SIMULATOR, quiet=True)
            )
            desk = running.enter_context(process(environment, "python", str(HERE / "helpdesk.py"), pipe=True))
            print((desk.stdout.readline() if desk.stdout else "").strip())  # from now on it gets what customers write
            running.enter_context(process(environment, "sluiceway", "tail", "--since", "all"))
            seen = Seen(
                running.enter_context(process(environment, "sluiceway", "tail", "--since", "all", "--json", pipe=True))
            )
            time.sleep(SETTLE_S)
            print("\nA customer fills in a form. What follows is the stream:\n", flush=True)
            told = story(environment, seen, FORM, FORM_STEPS)
            if told:
                print("\nThe customer answers the SMS:\n", flush=True)
                told = story(environment, seen, TEXT, TEXT_STEPS)
            whole = told and len(seen.conversations) == 1
            print(f"\n  {'ok' if whole else 'missing':8} all of it is one conversation:\n", flush=True)
            for conversation in sorted(seen.conversations):
                subprocess.run([tool("sluiceway"), "conversation", "show", conversation], env=environment, check=False)
            if once or not whole:
                return 0 if whole else 1
            print("\nIt stays up until Ctrl-C. In another terminal, write the next message:\n")
            print(f"  {hint(environment)}\n", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            return 0
    finally:
        shutil.rmtree(data, ignore_errors=True)


def story(environment: dict[str, str], seen: Seen, say: list[str], steps: list[tuple[str, str]]) -> bool:
    """A customer says something; whether every step of what follows was seen."""
    subprocess.run([tool("sluiceway"), *say], env=environment, check=True)
    missing = seen.wait({step for step, _ in steps})
    for step, meaning in steps:
        print(f"  {'missing' if step in missing else 'ok':8} {meaning}", flush=True)
    return not missing


class Seen:
    """The steps that `sluiceway tail --json` has shown so far, and the conversations of all messages."""

    def __init__(self, tail: subprocess.Popen[str]) -> None:
        self.conversations: set[str] = set()
        self._steps: set[str] = set()
        self._tail = tail
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, steps: set[str]) -> set[str]:
        """Those of these steps that are missing, when none is or the time is over."""
        deadline = time.monotonic() + STEPS_TIMEOUT_S
        while (missing := steps - self._steps) and time.monotonic() < deadline:
            time.sleep(0.05)
        return missing

    def _read(self) -> None:
        assert self._tail.stdout is not None
        for line in self._tail.stdout:
            event = json.loads(line)
            kind = event["type"].removeprefix("sluiceway.")
            self._steps |= {kind, f"{kind} {event.get('channel')}", f"{kind} {event['data'].get('status')}"}
            if kind in ("message.received", "message.sent"):
                self.conversations.add(event["subject"])


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
    words = f'--from {CUSTOMER} "And when will it be here?"'
    return f"DEMO_TWILIO_TOKEN={token} {os.path.relpath(tool('sluiceway'))} simulate sms --config {config} {words}"


if __name__ == "__main__":
    sys.exit(main())

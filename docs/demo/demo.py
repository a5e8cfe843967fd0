"""The main job, live: customers begin on a form and are answered, one by SMS, one by mail; one is called back.

It starts `sluiceway up`, Twilio's simulators, a mail server that the customer reads at, and the helpdesk beside this
file, and watches the stream. With --once it ends after these stories: 0 if every step was seen, each story in one
conversation, 1 otherwise.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

HERE = Path(__file__).parent
CONFIG = HERE / "sluiceway.toml"
NATS_URL = "nats://127.0.0.1:4333"
SIMULATOR, VOICE_SIMULATOR = "127.0.0.1:8334", "127.0.0.1:8337"
MAIL_HOST, MAIL_PORT = "127.0.0.1", 8336
READY_URL = "http://127.0.0.1:9333/readyz"
STEPS_TIMEOUT_S = 60
SETTLE_S = 1.5  # so that what the processes say of themselves is read before the story
CUSTOMER = "+447700900456"
MAIL_CUSTOMER = "customer@mail.example"
FORM = ["simulate", "webform", "--from", CUSTOMER, "--field", "order=A-1042", "My parcel has not come."]
MAIL_FORM = ["simulate", "webform", "--from", MAIL_CUSTOMER, "My kettle has no lid."]
TEXT = ["simulate", "sms", "--from", CUSTOMER, "Thank you, I will wait."]
AGENT = ["agent", "set", "priya", "--state", "available", "--reach", "tel:+442079460123", "--name", "Priya"]
CALL = ["simulate", "sms", "--from", CUSTOMER, "Please call me back"]
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
CALL_STEPS = [
    ("call.requested requested", "the wish to be called is in the queue"),
    ("call.updated offered", "Priya is free: her telephone rings, she hears who it is, and presses 1"),
    ("call.updated connected", "the customer is called, and they speak"),
    ("call.ended answered", "the call is over"),
    ("message.sent voice", "… and is a part of the conversation"),
]
MAIL_FORM_STEPS = [
    ("message.received webform", "the form is on the stream"),
    ("message.sent email", "the helpdesk's answer to the conversation went out by mail"),
]
MAIL_STEPS = [
    ("contact.verified", "the answer from that address proves it"),
    ("conversation.channel_changed email", "the conversation goes on by mail"),
    ("message.received email", "the customer's mail is on the stream"),
    ("command.failed email", "no second automatic letter in a day: machines don't write to each other for ever"),
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
            running.enter_context(
                process(environment, "sluiceway", "simulator", "twilio-voice", "--listen", VOICE_SIMULATOR, quiet=True)
            )
            desk = running.enter_context(process(environment, "python", str(HERE / "helpdesk.py"), pipe=True))
            print((desk.stdout.readline() if desk.stdout else "").strip())  # from now on it gets what customers write
            running.enter_context(process(environment, "sluiceway", "tail", "--since", "all"))
            seen = Seen(
                running.enter_context(process(environment, "sluiceway", "tail", "--since", "all", "--json", pipe=True))
            )
            mailbox = running.enter_context(Mailbox())
            time.sleep(SETTLE_S)
            whole = by_mail(environment, seen, mailbox) and by_sms(environment, seen)
            if once or not whole:
                return 0 if whole else 1
            print("\nIt stays up until Ctrl-C. In another terminal, write the next message:\n")
            print(f"  {hint(environment)}\n", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            return 0
    finally:
        shutil.rmtree(data, ignore_errors=True)


def by_sms(environment: dict[str, str], seen: Seen) -> bool:
    """A form, an answer by SMS, a text back, and a call-back."""
    print("\nAnother customer fills in the form, with a telephone number:\n", flush=True)
    seen.forget()
    told = story(environment, seen, FORM, FORM_STEPS)
    if told:
        print("\nThe customer answers the SMS:\n", flush=True)
        told = story(environment, seen, TEXT, TEXT_STEPS)
    if told:
        print("\nPriya comes to work, and the customer wants to be called:\n", flush=True)
        subprocess.run([tool("sluiceway"), *AGENT], env=environment, check=True, stdout=subprocess.DEVNULL)
        told = story(environment, seen, CALL, CALL_STEPS)
    return told and is_one(environment, seen)


def by_mail(environment: dict[str, str], seen: Seen, mailbox: Mailbox) -> bool:
    """A form, an answer by mail, and an answer to that."""
    print("\nA customer fills in a form. What follows is the stream:\n", flush=True)
    told = story(environment, seen, MAIL_FORM, MAIL_FORM_STEPS)
    if told:
        letter = mailbox.next()
        print(f"\nThe customer reads it (From {letter['from']}) and answers to {letter['reply-to']}:\n", flush=True)
        answer = ["simulate", "email", "--from", MAIL_CUSTOMER, "--field", f"to={address(letter['reply-to'])}",
                  "--field", f"in_reply_to={letter['message-id']}", "--field", f"subject=Re: {letter['subject']}",
                  "It was in the other box, thank you."]  # fmt: skip
        told = story(environment, seen, answer, MAIL_STEPS)
    return told and is_one(environment, seen)


def is_one(environment: dict[str, str], seen: Seen) -> bool:
    """Whether all that was said is in one conversation, and what it looks like."""
    whole = len(seen.conversations) == 1
    print(f"\n  {'ok' if whole else 'missing':8} all of it is one conversation:\n", flush=True)
    for conversation in sorted(seen.conversations):
        subprocess.run([tool("sluiceway"), "conversation", "show", conversation], env=environment, check=False)
    return whole


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

    def forget(self) -> None:
        """Begin anew, for another customer's story."""
        self._steps, self.conversations = set(), set()

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
            told = (event.get("channel"), event["data"].get("status"), event["data"].get("state"))
            self._steps |= {kind, *(f"{kind} {word}" for word in told)}
            if kind in ("message.received", "message.sent", "call.requested", "call.ended"):
                self.conversations.add(event["subject"])


class Mailbox:
    """The customer's mail server, which the relay would hand our letters to."""

    def __init__(self) -> None:
        self._letters: queue.Queue[EmailMessage] = queue.Queue()
        self._server = Controller(self, hostname=MAIL_HOST, port=MAIL_PORT)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        self._letters.put(email.message_from_bytes(envelope.content, _class=EmailMessage, policy=email.policy.default))
        return "250 ok"

    def next(self) -> EmailMessage:
        return self._letters.get(timeout=STEPS_TIMEOUT_S)

    def __enter__(self) -> Mailbox:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def address(header: Any) -> str:
    return str(header.addresses[0].addr_spec)


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

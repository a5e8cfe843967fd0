"""Calls from the terminal, to their end: `sluiceway simulate call`, with a gateway behind HTTP and a core in memory."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluiceway import Request
from sluiceway_gateways.voice.twilio import TwilioVoice

from ..gateways.twilio_voice import CUSTOMER, LOGIN, NUMBER, OURS, TOKEN, Core
from .conftest import Cli

CONFIGURATION = """
[http]
listen = "{listen}"
[connections.calls]
gateway = "voice.twilio"
sid = "{sid}"
token = "env:TWILIO_TOKEN"
[accounts.hotline]
connection = "calls"
tenant = "acme"
address = "tel:{ours}"
"""


class Hotline:
    """A gateway that listens, as long as the test runs."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        core = self.core = Core()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                url = f"http://{self.headers['host']}{self.path}"
                response = core.answer(Request(method="POST", url=url, headers=headers, body=body))
                self.send_response(response.status)
                self.send_header("content-length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        processes.callback(server.server_close)
        processes.callback(server.shutdown)
        listen = f"127.0.0.1:{server.server_port}"
        core.hook = f"http://{listen}/hooks/calls"
        core.gateway = TwilioVoice(LOGIN, core.hook, [NUMBER])
        self.cli = Cli(folder, {"TWILIO_TOKEN": TOKEN}, processes)
        self.cli.write("sluiceway.toml", CONFIGURATION.format(listen=listen, sid=LOGIN.sid, ours=OURS))


@pytest.fixture
def hotline(tmp_path: Path, processes: ExitStack) -> Hotline:
    return Hotline(tmp_path, processes)


def test_a_caller_presses_what_the_script_says_until_the_call_has_ended(hotline: Hotline) -> None:
    done = hotline.cli.run("simulate", "call", "--from", CUSTOMER, "--script", "7,1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("204 accepted by hotline of acme")
    assert hotline.core.told == ["customer arrived", "customer wants_call_back", "customer hung_up"]


def test_it_is_a_field_of_the_channel_voice(hotline: Hotline) -> None:
    arguments = ("--from", CUSTOMER, "--field", "script=2", "--field", "anonymous=1")
    assert hotline.cli.run("simulate", "voice", *arguments, "Hello?").returncode == 0
    assert hotline.core.messages[0].sender.startswith("x-twilio:CA")


def test_a_text_needs_words_where_a_call_needs_none(hotline: Hotline) -> None:
    text = CONFIGURATION.replace("voice.twilio", "sms.twilio")
    hotline.cli.write("sluiceway.toml", text.format(listen="127.0.0.1:9", sid=LOGIN.sid, ours=OURS))
    done = hotline.cli.run("simulate", "sms", "--from", CUSTOMER)
    assert done.returncode == 2
    assert "what does the customer write? Give it as TEXT" in done.stderr

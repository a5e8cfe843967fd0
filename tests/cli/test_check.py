"""`sluiceway check`: everything is looked at, and each finding is a line."""

import asyncio
import json

import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout
from sluiceway.cli import check
from sluiceway.config import Nats

from .conftest import Cli


def findings(cli: Cli, code: int = 0) -> dict[str, tuple[str, str]]:
    done = cli.run("check", "--json")
    assert (done.returncode, done.stderr) == (code, "")
    return {row["what"]: (row["state"], row["detail"]) for row in map(json.loads, done.stdout.splitlines())}


def edit(cli: Cli, old: str, new: str) -> None:
    path = cli.folder / "sluiceway.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_configuration_is_ok_with_its_hook(configured: Cli) -> None:
    configured.publish()
    found = findings(configured)
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["connection twilio-uk"][1] == "sms.twilio at https://gw.example/hooks/twilio-uk"
    assert found["account uk-sms"][1] == "tel:+447700900123 of acme on twilio-uk"
    assert f"stream {Layout(configured.nats).events}" in found


def test_streams_that_will_be_created_are_no_failure(configured: Cli) -> None:
    name = Layout(configured.nats).events
    assert findings(configured)[f"stream {name}"] == ("skipped", "is missing; the first gateway creates it")
    configured.environment["SLUICEWAY_NATS__STREAMS"] = "check"
    assert findings(configured, code=1)[f"stream {name}"][0] == "failed"


def test_a_stream_that_is_not_as_it_must_be_is_a_failure_and_stays_as_it_is(configured: Cli) -> None:
    layout = Layout(configured.nats)
    asyncio.run(_create(configured.nats, layout.configs[layout.events] | {"discard": "old"}))
    state, detail = findings(configured, code=1)[f"stream {layout.events}"]
    assert state == "failed"
    assert "has discard=old, but must have new" in detail
    assert findings(configured, code=1)[f"stream {layout.events}"] == (state, detail)


async def _create(nats: Nats, config: dict[str, object]) -> None:
    link = Link(nats, "test")
    await link.connect()
    await link.request(link.api(f"STREAM.CREATE.{config['name']}"), json.dumps(config).encode(), timeout_s=5)
    await link.close()


def test_a_secret_that_is_missing_is_told_and_the_rest_is_looked_at(configured: Cli) -> None:
    del configured.environment["TWILIO_TOKEN"]
    found = findings(configured, code=1)
    assert found["connection twilio-uk"][0] == "failed"
    assert "the environment variable TWILIO_TOKEN is not set" in found["connection twilio-uk"][1]
    assert found["account uk-sms"][0] == "failed"
    assert "the connection twilio-uk can't be used" in found["account uk-sms"][1]
    assert found["nats"][0] == "ok"


def test_an_address_that_two_accounts_have_is_told(configured: Cli) -> None:
    edit(
        configured,
        "[accounts.uk-sms]",
        '[accounts.a]\nconnection = "twilio-uk"\ntenant = "b"\naddress = "tel:+447700900123"\n[accounts.uk-sms]',
    )
    found = findings(configured, code=1)
    assert found["account a"][0] == "ok"
    assert "is the account a's too" in found["account uk-sms"][1]


def test_a_short_identity_key_is_told(configured: Cli) -> None:
    configured.environment["IDENTITY_KEY"] = "short"
    assert "is shorter than 16 bytes" in findings(configured, code=1)["identity key"][1]


def test_without_an_identity_key_it_says_who_needs_one(configured: Cli) -> None:
    edit(configured, 'key = "env:IDENTITY_KEY"', "")
    assert findings(configured)["identity key"][0] == "skipped"


def test_a_nats_that_is_configured_must_be_there(configured: Cli) -> None:
    configured.environment["SLUICEWAY_NATS__URL"] = "nats://127.0.0.1:1"
    state, detail = findings(configured, code=1)["nats"]
    assert (state, "nats://127.0.0.1:1 can't be reached" in detail) == ("failed", True)


def test_the_nats_of_sluiceway_up_need_not_run_yet(configured: Cli) -> None:
    del configured.environment["SLUICEWAY_NATS__URL"]
    configured.environment["SLUICEWAY_NATS__PORT"] = "1"
    assert findings(configured)["nats"] == (
        "skipped",
        "NATS at nats://127.0.0.1:1 can't be reached: [Errno 111] Connection refused; `sluiceway up` starts it",
    )


@pytest.mark.parametrize(("version", "state"), [((2, 13, 9), "failed"), ((2, 14, 0), "ok"), ((3, 0, 0), "ok")])
def test_an_old_server_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], state: str
) -> None:
    monkeypatch.setattr(Link, "server_version", version)
    finding = check._server(Link(Nats(), "test"))
    assert finding.state == state
    assert ("can't reset a consumer" in finding.detail) == (state == "failed")


def test_a_configuration_that_can_not_be_read_is_one_failure(configured: Cli) -> None:
    edit(configured, "[http]", "[htpp]")
    done = configured.run("check")
    assert done.returncode == 1
    assert done.stdout == "failed  configuration: sluiceway.toml: htpp: is no known key; did you mean http?\n"


def test_the_readable_report_is_a_line_for_each_finding(configured: Cli) -> None:
    configured.publish()
    done = configured.run("check")
    assert done.returncode == 0
    assert all(line.startswith("ok      ") for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout


MAIL = """
[connections.post]
gateway = "email.imap"
host = "127.0.0.1"
user = "help"
password = "env:IDENTITY_KEY"
[accounts.help]
connection = "post"
tenant = "acme"
address = "mailto:help@acme.example"
[accounts.sales]
connection = "post"
tenant = "globex"
address = "mailto:sales@acme.example"
"""


def test_a_process_of_one_channel_is_checked_as_it_sees_itself(configured: Cli) -> None:
    """Its pod has no other channel's secrets, and its image not everybody's gateways."""
    configured.publish()
    edit(configured, "[accounts.uk-sms]", MAIL.replace("IDENTITY_KEY", "MISSING") + "[accounts.uk-sms]")
    with (configured.folder / "sluiceway.toml").open("a") as stream:
        stream.write('[connections.birds]\ngateway = "raven.post"\n')
    done = configured.run("check", "sms", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "post" not in done.stdout
    done = configured.run("check", "--json")
    assert done.returncode == 1
    assert "no gateway named raven.post is installed" in done.stdout
    assert configured.run("account", "check", "sms").returncode == 0
    assert configured.run("account", "list").returncode == 0


def test_what_a_process_would_refuse_at_its_start_is_told_here(configured: Cli) -> None:
    edit(configured, "[accounts.uk-sms]", MAIL + "[accounts.uk-sms]")
    done = configured.run("account", "check")
    assert done.returncode == 1
    assert "its accounts belong to one tenant" in done.stdout

"""`sluiceway permissions`: what is printed follows the configuration. What it allows is tried in tests/core."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluiceway.testing.nats import nats_server

from .conftest import TWILIO, Cli

VOICE = """
[connections.twilio-voice]
gateway = "voice.twilio"
[accounts.hotline]
connection = "twilio-voice"
tenant = "globex"
[accounts.chain-sms]
connection = "twilio-uk"
tenant = "globex"
"""


def printed(cli: Cli, *arguments: str) -> Any:
    done = cli.run("permissions", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def brands(configured: Cli) -> Cli:
    """Two tenants, no secret, no NATS."""
    for secret in ("TWILIO_TOKEN", "IDENTITY_KEY"):
        del configured.environment[secret]
    configured.environment |= {"SLUICEWAY_NATS__PREFIX": "p", "SLUICEWAY_NATS__NAMES": "N"}
    elsewhere = '[nats]\nurl = "tls://nats.example"\ncredentials = "/none.creds"\ntoken = "file:/none"\n'
    configured.write("sluiceway.toml", elsewhere + TWILIO.format(hooks=1, probes=2, api=3) + VOICE)
    return configured


def test_a_gateway_has_the_accounts_and_tenants_that_the_configuration_has_on_its_channels(brands: Cli) -> None:
    told = printed(brands, "gateway", "sms")
    assert (told["user"], told["inbox_prefix"]) == ("acme-globex-sms", "_INBOX_acme-globex-sms")
    pulls = {one for one in told["publish"] if one.startswith("$JS.API.CONSUMER.MSG.NEXT.N_COMMANDS.")}
    durables = {one.rpartition(".")[2] for one in pulls}
    assert durables == {"out_acme_sms_uk-sms", "out_globex_sms_chain-sms"}
    assert told["subscribe"] == [
        "_INBOX_acme-globex-sms.>",
        "p.v1.acme.live.typing.set.>",
        "p.v1.globex.live.typing.set.>",
    ]
    assert "allow_responses" not in told
    assert not [one for one in told["publish"] if "commands.any" in one]


def test_a_gateway_may_be_one_tenants_and_have_accounts_that_are_yet_to_come(brands: Cli) -> None:
    told = printed(brands, "gateway", "sms", "--tenant", "acme", "--account", "later", "--user", "gw")
    assert told["user"] == "gw"
    assert not [one for one in told["publish"] if "globex" in one]
    for account in ("uk-sms", "later"):
        filtered = f"p.v1.acme.commands.sms.{account}.>"
        assert f"$JS.API.CONSUMER.CREATE.N_COMMANDS.out_acme_sms_{account}.{filtered}" in told["publish"]


def test_a_key_that_is_none_is_still_refused(brands: Cli) -> None:
    for text in ('[nats]\nprefx = "p"\n', "[nat]\n"):
        brands.write("sluiceway.toml", text)
        done = brands.run("permissions", "streams")
        assert done.returncode == 1
        assert "is no known key; did you mean" in done.stderr


def test_a_voice_gateway_may_tell_steps_of_calls(brands: Cli) -> None:
    assert "p.v1.globex.commands.any.any.call.step.>" in printed(brands, "gateway", "voice")["publish"]


def test_with_any_account_none_is_named(brands: Cli) -> None:
    told = printed(brands, "gateway", "sms", "--tenant", "acme", "--any-account")
    assert "$JS.API.CONSUMER.MSG.NEXT.N_COMMANDS.*" in told["publish"]
    assert not [one for one in told["publish"] if "uk-sms" in one]


def test_the_dispatcher_and_the_streams_job_have_every_tenants_bucket(brands: Cli) -> None:
    for role in ("dispatcher", "streams", "operator"):
        told = printed(brands, role, "--tenant", "initech")
        assert told["user"] == role
        for tenant in ("acme", "globex", "initech"):
            assert f"$JS.API.STREAM.INFO.OBJ_N_MEDIA_{tenant}" in told["publish"]
    assert printed(brands, "dispatcher")["allow_responses"] is True


def test_the_domain_and_the_inbox_prefix_are_those_of_the_configuration(brands: Cli) -> None:
    brands.environment |= {"SLUICEWAY_NATS__DOMAIN": "hub", "SLUICEWAY_NATS__INBOX_PREFIX": "_INBOX.shop"}
    for role in (("gateway", "sms"), ("dispatcher",), ("streams",)):
        told = printed(brands, *role)
        assert told["inbox_prefix"] == "_INBOX.shop"
        assert told["subscribe"][0] == "_INBOX.shop.>"
        for call in (one for one in told["publish"] if one.startswith("$JS.hub.API.STREAM.")):
            assert call.replace("$JS.hub.", "$JS.") in told["publish"], "where the server is of the domain itself"


def test_a_reader_is_what_consumer_add_prints(cli: Cli) -> None:
    cli.publish()
    added = cli.run("consumer", "add", "acme-desk", "--tenant", "acme", "--since", "all").stdout
    assert added.partition("\n")[2] == cli.run("permissions", "reader", "acme-desk", "--tenant", "acme").stdout


def test_what_is_printed_is_nats_servers_configuration(brands: Cli) -> None:
    roles = (
        ("gateway", "sms"),
        ("dispatcher",),
        ("streams",),
        ("operator",),
        ("reader", "acme-desk", "--tenant", "acme"),
    )
    users = "\n".join(brands.run("permissions", *role).stdout for role in roles)
    for name in ("ACME_GLOBEX_SMS", "DISPATCHER", "STREAMS", "OPERATOR", "ACME_DESK"):
        assert f"password: ${name}_PASSWORD" in users
        users = users.replace(f"${name}_PASSWORD", '"only for tests"')
    with nats_server(brands.folder / "nats", f"authorization {{ users: [\n{users}\n] }}"):
        pass


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("gateway", "whatsapp"), "has no account of whatsapp; name the tenants with --tenant"),
        (("gateway", "sms", "--tenant", "initech"), "has none of sms of initech; name them with --account"),
        (("gateway", "sms.>"), "is no subject token"),
        (("gateway", "sms", "--account", "*"), "is no subject token"),
        (("gateway",), "Missing argument"),
    ],
)
def test_what_can_not_be_printed_says_why(brands: Cli, arguments: tuple[str, ...], why: str) -> None:
    done = brands.run("permissions", *arguments)
    assert done.returncode != 0
    assert why in done.stderr
    assert done.stdout == ""

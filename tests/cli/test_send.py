"""Which account `sluiceway send` chooses, by what gateways have said they serve."""

import asyncio

import pytest

from sluiceway.accounts import Notice
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.gateway import Capabilities
from sluiceway.units import Chars

from .conftest import Cli

TO = ("--to", "tel:+447700900456", "--wait", "0", "Hello")


def serve(cli: Cli, *keys: str, gateway: str = "sms.twilio", address: str = "tel:+447700900123") -> None:
    """Say that a gateway serves these accounts: <tenant>.<channel>.<account>."""
    notice = Notice(connection="c", gateway=gateway, address=address, capabilities=Capabilities(text=Chars(160)))
    asyncio.run(_serve(cli.nats, keys, notice))


async def _serve(nats: Nats, keys: tuple[str, ...], notice: Notice) -> None:
    link = Link(nats, "test")
    await link.connect()
    await ensure(link, Layout(nats), create=True)
    for key in keys:
        await Bucket(link, Layout(nats).accounts, Notice).put(key, notice)
    await link.close()


def test_where_no_gateway_has_ever_run_the_remedy_is_to_start_one(cli: Cli) -> None:
    done = cli.run("send", *TO)
    assert done.returncode == 1
    assert done.stderr == (
        "sluiceway: no gateway serves an account that reaches tel: addresses; "
        "start one with `sluiceway up` or `sluiceway run`\n"
    )


def test_the_only_account_that_reaches_the_address_is_used(cli: Cli) -> None:
    serve(cli, "acme.sms.uk-sms")
    serve(cli, "acme.email.help", gateway="email.nobody-has-it", address="mailto:help@acme.example")
    assert cli.run("send", *TO).stdout.startswith("stored: command ")
    done = cli.run("send", "--to", "mailto:a@b.example", "--wait", "0", "--json", "Hello")
    assert '"channel":"email","account":"help"' in done.stdout


def test_of_several_accounts_one_must_be_named(cli: Cli) -> None:
    serve(cli, "acme.sms.uk-sms", "acme.sms.de-sms", "globex.sms.uk-sms")
    done = cli.run("send", *TO)
    assert done.returncode == 1
    assert "name one with --account, or --tenant: " in done.stderr
    assert "uk-sms (sms of globex, tel:+447700900123)" in done.stderr
    assert cli.run("send", "--account", "uk-sms", *TO).returncode == 1


@pytest.mark.parametrize("chosen", [("--tenant", "globex"), ("--account", "de-sms"), ("--channel", "rcs")])
def test_tenant_account_and_channel_each_choose(cli: Cli, chosen: tuple[str, str]) -> None:
    serve(cli, "acme.sms.uk-sms", "acme.sms.de-sms", "globex.sms.uk-sms", "acme.rcs.uk-rcs")
    done = cli.run("send", *chosen, "--json", *TO)
    assert done.returncode == 0
    assert f'"{chosen[0].removeprefix("--")}":"{chosen[1]}"' in done.stdout

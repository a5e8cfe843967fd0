"""A gateway and a simulated provider as processes: a customer's text goes in, answers go out, all from the terminal."""

import json
import signal
from contextlib import ExitStack
from typing import Any

from sluiceway.testing.ports import free_port

from .conftest import WAIT_S, Cli, Deployment, lines_of, received, until

CUSTOMER = "+447700900456"
NEVER_REACHED = "tel:+15005553003"
REFUSED = "tel:+15005550001"
ALONE = '[probes]\nlisten = "127.0.0.1:{port}"\n[identity]\nkey = "env:IDENTITY_KEY"\n'
NOBODY = "019c22f1-0000-7625-af24-35aeedc2728d"


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def kinds(output: str) -> list[str]:
    """Types, and how far the message got."""
    return [event["data"].get("overall") or event["type"].rpartition(".")[2] for event in events(output)]


def conversation_of(deployment: Deployment, text: str) -> str:
    """The conversation of a customer's text that has just been simulated."""
    for event in events(deployment.cli.run("tail", "--no-follow", "--json").stdout):
        if event["data"].get("message", {}).get("text") == text:
            return str(event["subject"])
    raise AssertionError(f"{text} is not on the stream")


def test_a_simulated_text_is_accepted_and_on_the_stream(deployment: Deployment) -> None:
    done = deployment.cli.run("simulate", "sms", "--from", CUSTOMER, "Where is my order?")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("200 accepted by uk-sms of acme")
    assert f"tel:{CUSTOMER}: Where is my order?" in deployment.cli.run("tail", "--no-follow").stdout


def test_a_reply_goes_to_the_conversation_and_its_delivery_is_shown(deployment: Deployment) -> None:
    deployment.cli.run("simulate", "sms", "--from", CUSTOMER, "Is anybody there?")
    conversation = conversation_of(deployment, "Is anybody there?")
    done = deployment.cli.run("reply", conversation, "Yes.")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(conversation in line for line in done.stdout.splitlines())
    assert "→ message.sent" in done.stdout
    assert "agent: Yes." in done.stdout
    assert done.stdout.endswith("delivered\n")


def test_a_text_to_an_address_uses_the_only_account_that_fits(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", "tel:+447700900789", "--json", "Good morning.")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"sent", "delivered"} <= set(kinds(done.stdout))
    assert {event["account"] for event in events(done.stdout) if "message" in event["data"]} == {"uk-sms"}


def test_a_text_that_does_not_arrive_ends_with_1(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", NEVER_REACHED, "--json", "Hello?")
    assert done.returncode == 1
    assert kinds(done.stdout)[-1] == "failed"
    assert done.stderr == "sluiceway: the message was not sent, or did not arrive\n"


def test_a_text_that_the_provider_refuses_ends_with_1_and_its_code(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", REFUSED, "Hello?")
    assert done.returncode == 1
    assert "21211" in done.stdout


def test_a_text_that_nobody_waits_for_is_only_stored(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", "tel:+447700900789", "--wait", "0", "Bye.")
    assert done.returncode == 0
    assert done.stdout.startswith("stored: command ")
    done = deployment.cli.run("send", "--to", "tel:+447700900789", "--wait", "0", "--json", "Bye.")
    assert [(event["type"], event["source"]) for event in events(done.stdout)] == [
        ("sluiceway.message.send", "/acme/apps/cli")
    ]


def test_a_conversation_that_we_began_goes_on(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", "tel:+447700900788", "--json", "Hello")
    conversation = next(event["subject"] for event in events(done.stdout) if event["type"] == "sluiceway.message.sent")
    done = deployment.cli.run("reply", conversation, "Are you there?")
    assert done.returncode == 0, done.stderr


def test_an_account_that_nobody_serves_is_refused(deployment: Deployment) -> None:
    done = deployment.cli.run("send", "--to", "tel:+447700900789", "--account", "de-sms", "Hello")
    assert done.returncode == 1
    assert "no gateway serves an account de-sms that reaches tel: addresses" in done.stderr
    done = deployment.cli.run("send", "--to", "mailto:a@b.example", "Hello")
    assert "that reaches mailto: addresses" in done.stderr


def test_a_conversation_that_nobody_has_begun_is_refused(deployment: Deployment) -> None:
    done = deployment.cli.run("reply", NOBODY, "Hello")
    assert done.returncode == 1
    assert f"nothing is known of {NOBODY}" in done.stderr


def test_a_reply_that_no_gateway_carries_out_ends_with_1(cli: Cli) -> None:
    event = received("Hello?")
    cli.publish(event)
    done = cli.run("reply", str(event.subject), "--wait", "1s", "Yes?")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody has said within 1 s" in done.stderr
    assert "is a dispatcher (`sluiceway run dispatcher`) running?" in done.stderr


def test_which_channels_are_open_is_told_in_a_table_or_as_json(deployment: Deployment) -> None:
    deployment.cli.run("simulate", "sms", "--from", CUSTOMER, "May I ask you something?")
    conversation = conversation_of(deployment, "May I ask you something?")
    done = deployment.cli.run("can-send", conversation)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"sms  uk-sms  tel:{CUSTOMER}  open\n"
    (answer,) = events(deployment.cli.run("can-send", conversation, "--tenant", "acme", "--json").stdout)
    assert answer["open"] == [{"channel": "sms", "account": "uk-sms", "address": f"tel:{CUSTOMER}"}]


def test_of_a_conversation_that_nobody_knows_no_channel_is_told(deployment: Deployment) -> None:
    done = deployment.cli.run("can-send", NOBODY)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing is known of {NOBODY}" in done.stderr
    done = deployment.cli.run("can-send", NOBODY, "--tenant", "acme")
    assert (done.returncode, done.stderr) == (
        1,
        "sluiceway: there is no such conversation; its id is an event's subject\n",
    )


def test_where_nobody_dispatches_a_question_says_so_at_once(cli: Cli) -> None:
    event = received("Hello?")
    cli.publish(event)
    done = cli.run("can-send", str(event.subject))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sluiceway: nobody answers; start `sluiceway up` or `sluiceway run dispatcher`\n"


def test_a_dispatcher_alone_needs_no_connections_and_answers_for_a_gateway_that_it_does_not_run(
    deployment: Deployment, processes: ExitStack
) -> None:
    alone = Cli(deployment.cli.folder / "alone", deployment.cli.environment, processes)
    alone.folder.mkdir()
    alone.write("sluiceway.toml", ALONE.format(port=free_port()))
    dispatcher = alone.start("run", "dispatcher")
    lines = lines_of(dispatcher)
    assert any(line == "dispatcher commands that name no account\n" for line in lines)
    deployment.cli.run("simulate", "sms", "--from", CUSTOMER, "Two of you?")
    assert deployment.cli.run("reply", conversation_of(deployment, "Two of you?"), "Yes.").returncode == 0
    dispatcher.send_signal(signal.SIGTERM)
    assert dispatcher.wait(WAIT_S) == 0


def test_a_reply_may_name_the_channel(deployment: Deployment) -> None:
    deployment.cli.run("simulate", "sms", "--from", CUSTOMER, "Still there?")
    conversation = conversation_of(deployment, "Still there?")
    assert deployment.cli.run("reply", conversation, "--channel", "sms", "Yes.").returncode == 0
    done = deployment.cli.run("reply", conversation, "--channel", "email", "Yes.")
    assert done.returncode == 1
    assert "no_channel" in done.stdout


def test_a_text_signed_with_another_secret_is_refused_with_the_remedy(
    deployment: Deployment, processes: ExitStack
) -> None:
    stranger = Cli(deployment.cli.folder, {**deployment.cli.environment, "TWILIO_TOKEN": "another"}, processes)
    done = stranger.run("simulate", "sms", "--from", CUSTOMER, "Let me in")
    assert done.returncode == 1
    assert "answered 403: it refuses the signature" in done.stderr


def test_without_a_gateway_the_remedy_is_to_start_one(configured: Cli) -> None:
    done = configured.run("simulate", "sms", "--from", CUSTOMER, "Hello?")
    assert done.returncode == 1
    assert "start one with `sluiceway up`" in done.stderr


def test_one_of_several_accounts_must_be_named(configured: Cli) -> None:
    with (configured.folder / "sluiceway.toml").open("a") as stream:
        stream.write('[accounts.de-sms]\nconnection = "twilio-uk"\ntenant = "acme"\naddress = "tel:+4915700000123"\n')
    done = configured.run("simulate", "sms", "--from", CUSTOMER, "Hello?")
    assert done.returncode == 2
    assert "Name it with --account; sms has: uk-sms, de-sms" in " ".join(done.stderr.split())
    done = configured.run("simulate", "sms", "--from", CUSTOMER, "--account", "fr-sms", "Hello?")
    assert done.returncode == 2
    assert "there is no sms account fr-sms" in done.stderr
    assert configured.run("simulate", "sms", "--from", CUSTOMER, "--account", "de-sms", "Hello?").returncode == 1


PIGEON = """
[identity]
key = "env:IDENTITY_KEY"
[connections.birds]
gateway = "pigeon.post"
secret = "env:IDENTITY_KEY"
[accounts.north]
connection = "birds"
tenant = "acme"
address = "x-pigeon:north"
"""


def test_a_further_field_is_for_those_that_have_some(configured: Cli) -> None:
    configured.write("sluiceway.toml", PIGEON)
    done = configured.run("simulate", "pigeon", "--from", "grey-7", "--field", "order=A-1", "Coo?")
    assert done.returncode == 2
    assert "a delivery of pigeon.post has no further fields" in " ".join(done.stderr.split())
    done = configured.run("simulate", "pigeon", "--from", "grey-7", "--field", "order", "Coo?")
    assert done.returncode == 2
    assert "'order' is no field: write NAME=VALUE" in " ".join(done.stderr.split())


FORM = """
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.forms]
gateway = "webform.http"
[accounts.contact]
connection = "forms"
tenant = "acme"
address = "web:shop/contact"
site_key = "a-site-key"
origins = ["https://shop.example"]
per_client_minute = 0
"""


def test_a_form_is_simulated_with_further_fields(configured: Cli) -> None:
    configured.write("sluiceway.toml", FORM.format(hooks=free_port(), probes=free_port()))
    configured.start("run", "webform")
    arguments = ("simulate", "webform", "--from", CUSTOMER, "--field", "order=A-1042", "Where is it?")
    until(lambda: configured.run(*arguments).returncode == 0, "the gateway takes a form")
    assert "order: A-1042" in configured.run("tail", "--no-follow", "--json", "--channel", "webform").stdout


def test_the_simulator_ends_with_0_when_it_is_told_to(configured: Cli) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        simulator = configured.start("simulator", "twilio-uk", "--listen", "127.0.0.1:0")
        lines = lines_of(simulator)
        assert next(lines).startswith("sms.twilio for twilio-uk on http://127.0.0.1:")
        assert next(lines).startswith("callbacks go to https://gw.example, which is 127.0.0.1:")
        simulator.send_signal(number)
        assert next(lines) == "stopped\n"
        assert simulator.wait(WAIT_S) == 0


def test_the_simulator_says_when_its_address_is_taken(deployment: Deployment) -> None:
    done = deployment.cli.run("simulator", "--listen", f"127.0.0.1:{deployment.api}")
    assert done.returncode == 1
    assert "choose another with --listen" in done.stderr


def test_the_simulator_names_the_connections_there_are(configured: Cli) -> None:
    done = configured.run("simulator", "twilio-de")
    assert done.returncode == 2
    assert "there is no connection twilio-de; there are: twilio-uk" in done.stderr

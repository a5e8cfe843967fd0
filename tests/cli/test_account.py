"""`sluiceway account`: what is configured, who serves it, and whether files of accounts can be used."""

from __future__ import annotations

import json
import signal

from .conftest import WAIT_S, Cli, Deployment, lines_of, until

MORE = """
[accounts.de-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+4915700000123"
"""


def rows(cli: Cli, *arguments: str) -> dict[str, dict[str, object]]:
    done = cli.run("account", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_accounts_are_listed_with_who_serves_them_and_what_waits(deployment: Deployment) -> None:
    row = rows(deployment.cli)["uk-sms"]
    assert (row["tenant"], row["channel"], row["address"]) == ("acme", "sms", "tel:+447700900123")
    assert (row["gateway"], row["state"], row["waiting"]) == ("sms.twilio", "healthy", 0)
    assert str(row["file"]).endswith("sluiceway.toml")
    assert (
        "uk-sms  acme  sms  tel:+447700900123  sms.twilio  healthy  0 waiting"
        in deployment.cli.run("account", "list").stdout
    )


def test_an_account_that_nobody_serves_says_so_and_needs_no_secret(configured: Cli) -> None:
    del configured.environment["TWILIO_TOKEN"]
    assert rows(configured)["uk-sms"]["state"] == "served by nobody"


def test_an_account_of_another_process_is_listed_too(deployment: Deployment) -> None:
    deployment.cli.write("empty.toml", "")
    row = rows(deployment.cli, "--config", "empty.toml")["uk-sms"]
    assert (row["file"], row["state"]) == ("elsewhere", "healthy")


def test_without_nats_the_configured_ones_are_listed_and_the_rest_is_said_to_be_unknown(configured: Cli) -> None:
    configured.environment["SLUICEWAY_NATS__URL"] = "nats://127.0.0.1:1"
    done = configured.run("account", "list")
    assert "uk-sms" in done.stdout
    assert "how they are is not known" in done.stderr


def test_files_of_accounts_are_checked_without_nats_and_without_secrets(configured: Cli) -> None:
    configured.environment["SLUICEWAY_NATS__URL"] = "nats://127.0.0.1:1"
    del configured.environment["TWILIO_TOKEN"]
    (configured.folder / "accounts.d").mkdir()
    configured.write("accounts.d/de.toml", MORE)
    done = configured.run("account", "check", "--no-secrets")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok      account de-sms: tel:+4915700000123 of acme on twilio-uk" in done.stdout
    done = configured.run("account", "check")
    assert done.returncode == 1
    assert "TWILIO_TOKEN is not set" in done.stdout
    configured.write("accounts.d/de.toml", MORE.replace("tenant", "tennant"))
    done = configured.run("account", "check", "--no-secrets", "--json")
    assert done.returncode == 1
    assert "de.toml: accounts.de-sms.tennant: is no known key; did you mean tenant?" in done.stdout
    configured.write("accounts.d/de.toml", "[http]")
    done = configured.run("account", "check", "--no-secrets")
    assert done.returncode == 1
    assert "http: belongs into the configuration itself" in done.stdout


def test_a_file_of_accounts_that_is_wrong_keeps_nobody_from_looking_who_needs_no_account(
    deployment: Deployment,
) -> None:
    """It is just then that an operator looks, and a dispatcher serves all brands."""
    (deployment.cli.folder / "accounts.d").mkdir(exist_ok=True)
    deployment.cli.write("accounts.d/bad.toml", "[http]")
    try:
        assert deployment.cli.run("tail", "--no-follow").returncode == 0
        assert deployment.cli.run("dead", "list").returncode == 0
        done = deployment.cli.run("check")
        assert done.returncode == 1
        assert "bad.toml: http: belongs into the configuration itself" in done.stdout
        done = deployment.cli.run("simulate", "sms", "--from", "+447700900456", "Hello?")
        assert done.returncode == 1
        assert "bad.toml: http: belongs into the configuration itself" in done.stderr
    finally:
        (deployment.cli.folder / "accounts.d" / "bad.toml").unlink()


def test_where_there_is_no_account_the_remedy_is_told(cli: Cli) -> None:
    cli.write("sluiceway.toml", "")
    assert "there is no account; add [accounts.<name>]" in cli.run("account", "list").stdout


def test_a_running_process_says_that_it_is_ready(deployment: Deployment) -> None:
    probes = f"http://127.0.0.1:{deployment.probes}"
    done = deployment.cli.run("check", "--ready", probes)
    assert (done.returncode, done.stdout) == (0, f"ok      {probes}: ready\n")
    done = deployment.cli.run("check", "--ready", probes, "--ready", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "failed  http://127.0.0.1:1: does not answer" in done.stdout
    done = deployment.cli.run("check", "--ready", f"http://127.0.0.1:{deployment.hooks}")
    assert done.returncode == 1
    assert "answers 404" in done.stdout


def test_accounts_that_are_added_are_served_without_a_restart(deployment: Deployment) -> None:
    """As an operator does it: a file in the folder, and SIGHUP for whoever won't wait ten seconds."""
    (deployment.cli.folder / "accounts.d").mkdir(exist_ok=True)
    deployment.cli.write("accounts.d/de.toml", MORE)
    deployment.gateway.send_signal(signal.SIGHUP)
    until(lambda: rows(deployment.cli)["de-sms"]["state"] == "healthy", "the account is served")
    done = deployment.cli.run("simulate", "sms", "--from", "+447700900456", "--account", "de-sms", "Hallo?")
    assert done.returncode == 0, done.stderr
    (deployment.cli.folder / "accounts.d" / "de.toml").unlink()
    until(lambda: "de-sms" not in rows(deployment.cli), "the account is gone")


def test_a_dispatcher_is_not_ended_by_sighup(cli: Cli) -> None:
    cli.write("sluiceway.toml", '[identity]\nkey = "env:IDENTITY_KEY"\n[probes]\nlisten = "127.0.0.1:0"\n')
    (cli.folder / "accounts.d").mkdir()
    cli.write("accounts.d/bad.toml", "[accounts")  # a brand's mistake is none of its matter
    cli.environment["IDENTITY_KEY"] = "an identity key for tests only"
    dispatcher = cli.start("run", "dispatcher")
    lines = lines_of(dispatcher)
    assert any(line.startswith("dispatcher") for line in lines)
    dispatcher.send_signal(signal.SIGHUP)
    dispatcher.send_signal(signal.SIGTERM)
    assert dispatcher.wait(WAIT_S) == 0

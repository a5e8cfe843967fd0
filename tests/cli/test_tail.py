"""`sluiceway tail` on a real stream: what it shows, and how it ends."""

import json
import signal
import subprocess

import pytest

from sluiceway.testing.nats import NatsServer

from .conftest import COMMAND, CONVERSATION, WAIT_S, Cli, interrupt, lines_of, received, settings

OTHER = "019c22f1-d578-7b69-b91e-e6031249eeb2"


def texts(output: str) -> list[str]:
    return [json.loads(line)["data"]["message"]["text"] for line in output.splitlines()]


def test_json_lines_are_the_events_as_they_were_published(cli: Cli) -> None:
    events = [received("one"), received("two")]
    cli.publish(*events)
    done = cli.run("tail", "--no-follow", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(event.encode().decode() + "\n" for event in events)


def test_a_readable_line_has_no_colours_when_it_goes_to_a_pipe(cli: Cli) -> None:
    cli.publish(received("Where is my order?"))
    done = cli.run("tail", "--no-follow")
    assert f"sms/uk-sms ← message.received  {CONVERSATION}  tel:+447700900456: Where is my order?\n" in done.stdout
    assert "\x1b" not in done.stdout


def test_filters_choose_channel_conversation_and_tenant(cli: Cli) -> None:
    cli.publish(
        received("sms"),
        received("voice", channel="voice"),
        received("other", conversation=OTHER),
        received("globex", tenant="globex"),
    )

    def shown(*arguments: str) -> list[str]:
        return texts(cli.run("tail", "--no-follow", "--json", *arguments).stdout)

    assert shown() == ["sms", "voice", "other", "globex"]
    assert shown("--channel", "voice") == ["voice"]
    assert shown("--conversation", OTHER) == ["other"]
    assert shown("--tenant", "globex") == ["globex"]
    assert shown("--tenant", "globex", "--channel", "voice") == []


def test_since_goes_back_and_count_ends_it(cli: Cli) -> None:
    cli.publish(*(received(str(number)) for number in range(5)))
    assert texts(cli.run("tail", "--since", "1d", "--count", "3", "--json").stdout) == ["0", "1", "2"]
    assert texts(cli.run("tail", "--since", "all", "--no-follow", "--json").stdout) == ["0", "1", "2", "3", "4"]
    assert texts(cli.run("tail", "--since", "999999999d", "--no-follow", "--json").stdout) == ["0", "1", "2", "3", "4"]


def test_more_events_than_one_pull_brings_come_once_and_in_order(cli: Cli) -> None:
    cli.publish(*(received(str(number)) for number in range(600)))
    assert texts(cli.run("tail", "--no-follow", "--json").stdout) == [str(number) for number in range(600)]


def test_what_is_no_event_is_shown_as_such_and_the_next_one_comes(cli: Cli) -> None:
    unknown = json.dumps(json.loads(received("x").encode()) | {"type": "sluiceway.sla.breached"}).encode()
    cli.publish(b"\x1b[2Jnot JSON", unknown, received("after"))
    done = cli.run("tail", "--no-follow")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert "no event of the contract" in first
    assert "sla.breached" in second
    assert third.endswith("after")
    done = cli.run("tail", "--no-follow", "--json")
    assert done.stderr.startswith("sluiceway: an event is no JSON: ")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == [
        "sluiceway.sla.breached",
        "sluiceway.message.received",
    ]


def test_live_events_come_as_they_are_published_and_ctrl_c_ends_it_with_130(cli: Cli) -> None:
    cli.publish(received("before"))
    tail = cli.start("tail", "--since", "all", "--json")
    lines = lines_of(tail)
    assert texts(next(lines)) == ["before"]
    cli.publish(received("live"))
    assert texts(next(lines)) == ["live"]
    assert interrupt(tail) == 130


def test_it_goes_on_where_it_was_when_nats_is_killed_and_comes_back(cli: Cli, own_nats: NatsServer) -> None:
    cli.environment |= settings(own_nats)
    cli.publish(received("before"))
    tail = cli.start("tail", "--since", "all", "--json")
    lines = lines_of(tail)
    assert texts(next(lines)) == ["before"]
    for number in range(2):
        own_nats.restart()
        cli.publish(received(f"after {number}"))
        assert texts(next(lines)) == [f"after {number}"]
    own_nats.kill()
    assert interrupt(tail) == 130


def test_a_reader_that_has_had_enough_ends_it(cli: Cli) -> None:
    cli.publish(received("one"))
    tail = subprocess.Popen(
        [COMMAND, "tail", "--since", "all"],
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tail.stdout is not None
    assert tail.stderr is not None
    assert tail.stdout.readline()
    tail.stdout.close()
    cli.publish(received("nobody reads this"))
    assert tail.wait(WAIT_S) == 0
    assert tail.stderr.read() == ""
    tail.stderr.close()


def test_without_nats_it_says_so_in_one_line(cli: Cli) -> None:
    cli.environment["SLUICEWAY_NATS__URL"] = "nats://127.0.0.1:1"
    done = cli.run("tail")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("sluiceway: NATS at nats://127.0.0.1:1 can't be reached: ")
    assert done.stderr.count("\n") == 1


def test_without_a_stream_it_says_who_creates_it(cli: Cli) -> None:
    done = cli.run("tail")
    assert done.returncode == 1
    assert "`sluiceway up` or `run` creates it" in done.stderr


def test_a_configuration_that_is_named_must_be_there(cli: Cli) -> None:
    done = cli.run("tail", "--config", "nowhere.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("sluiceway: nowhere.toml: no such file")


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(cli: Cli, signalled: signal.Signals) -> None:
    cli.publish(received("one"))
    tail = cli.start("tail", "--since", "all")
    next(lines_of(tail))
    tail.send_signal(signalled)
    assert tail.wait(WAIT_S) == -signalled

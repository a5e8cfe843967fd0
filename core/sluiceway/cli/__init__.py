"""The command `sluiceway`. Each subcommand is a module that is imported only when it runs."""

from __future__ import annotations

import importlib
import io
import sys

import click

from ..errors import SluicewayError

COMMANDS = {
    "up": ("up", "Everything in one process, with a NATS of its own."),
    "run": ("run", "Gateways by channel, and the dispatcher."),
    "tail": ("tail", "The stream, readable, live."),
    "send": ("send", "Send a message to an address."),
    "reply": ("reply", "Answer in a conversation."),
    "can-send": ("can_send", "The channels that an answer could take now."),
    "conversation": ("conversation", "What was said, over all channels: list and show."),
    "contact": ("contact", "Who is who: show, merge, split, link, unlink, export, erase."),
    "account": ("account", "Our numbers, pages and mailboxes: list and check."),
    "call": ("call", "Calls to customers: request, cancel, and how long they wait."),
    "agent": ("agent", "Who takes calls: set."),
    "media": ("media", "Files of conversations: put, get and url."),
    "streams": ("streams", "Streams and buckets: create and list."),
    "permissions": ("permissions", "What each process's NATS user may do."),
    "consumer": ("consumer", "Places in the stream for readers, with permissions."),
    "simulate": ("simulate", "A customer's message or call, signed as the provider signs it."),
    "simulator": ("simulator", "A provider in miniature, for gateways to send to."),
    "dead": ("dead", "What was put aside: list, show and replay it."),
    "play": ("play", "Put recorded events on the stream."),
    "backup": ("backup", "All streams and buckets into a folder."),
    "restore": ("restore", "Streams and buckets out of such a folder."),
    "gateways": ("gateways", "The gateways that are installed."),
    "check": ("check", "Whether configuration and NATS are as they must be."),
    "schema": ("schema", "The contract as JSON Schema or AsyncAPI."),
}
"""Module and short help of each command; the help is here so that listing them imports none."""

EXAMPLES = """\b
Examples:
  sluiceway up --config sluiceway.toml
  sluiceway tail --channel sms --since 10m
  sluiceway simulate sms --from +447700900456 "Where is my order?"
  sluiceway reply CONVERSATION "On its way."
"""


class LazyGroup(click.Group):
    """A group whose commands are modules, imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __name__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluiceway")
def group() -> None:
    """Every customer channel on one NATS JetStream stream."""


def main() -> None:
    """The entry point: errors on purpose are one line on standard error and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a customer wrote may not fit the terminal's encoding
    try:
        group(standalone_mode=True)
    except SluicewayError as error:
        click.secho(f"sluiceway: {error}", fg="red", err=True)
        sys.exit(1)

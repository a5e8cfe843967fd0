"""What a reader's user may do at NATS, and no more: its tenant's events, commands, questions and records.

One who may create consumers could read any tenant, so that a reader only pulls from the one made for it.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ..config import Nats


class Permissions(msgspec.Struct):
    """Subjects to publish to and to subscribe to. The client must be told the inbox prefix."""

    inbox_prefix: str
    publish: list[str]
    subscribe: list[str]


def of_reader(nats: Nats, name: str, tenant: str) -> Permissions:
    """For the user of the consumer `name`."""
    from ..bus.streams import Layout

    layout = Layout(nats)
    api = f"$JS.{nats.domain}.API" if nats.domain else "$JS.API"
    start = f"{nats.prefix}.v1.{tenant}"
    inbox = f"_INBOX_{name}"
    return Permissions(
        inbox_prefix=inbox,
        publish=[
            f"{api}.CONSUMER.MSG.NEXT.{layout.events}.{name}",
            f"{api}.CONSUMER.INFO.{layout.events}.{name}",
            f"$JS.ACK.{layout.events}.{name}.>",
            f"{api}.DIRECT.GET.KV_{layout.state}.$KV.{layout.state}.{tenant}.>",
            f"{start}.commands.>",
            f"{start}.ask.>",
            f"{start}.live.typing.set.>",
        ],
        subscribe=[f"{inbox}.>", f"{start}.live.>"],
    )


def snippet(name: str, permissions: Permissions) -> str:
    """The user in nats-server's configuration; its password is a variable of the server's environment."""
    publish = "\n".join(f'      "{subject}"' for subject in permissions.publish)
    subscribe = "\n".join(f'      "{subject}"' for subject in permissions.subscribe)
    return f"""\
# for authorization {{ users: [ … ] }} of nats-server; the client's inbox prefix is {permissions.inbox_prefix}
{{
  user: "{name}"
  password: ${variable(name)}
  permissions: {{
    publish: {{ allow: [
{publish}
    ] }}
    subscribe: {{ allow: [
{subscribe}
    ] }}
  }}
}}"""


def variable(name: str) -> str:
    """The environment variable that has the user's password."""
    return f"{name.upper().replace('-', '_')}_PASSWORD"

"""A stored mail out of the JSON that Mailgun answers with; runs where it can do no harm."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct


class Stored(Struct, frozen=True, rename={"body_mime": "body-mime"}):
    """https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages"""

    body_mime: str


def unwrap(answer: str, mail: str) -> None:
    """Write the mail in one file into another. Raises `msgspec.MsgspecError`."""
    text = msgspec.json.decode(Path(answer).read_bytes(), type=Stored).body_mime
    Path(mail).write_bytes(text.encode("utf-8", "surrogateescape"))

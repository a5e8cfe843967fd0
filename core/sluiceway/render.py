"""What a message looks like on a channel: its parts as that channel can show them. Sends nothing, asks nobody."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sluiceway_contracts.parts import AnyPart, Media, Text, complete

from .errors import Rejected
from .gateway import Capabilities


class Unsendable(Rejected):
    """The message can't be put on this channel; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def render(parts: tuple[AnyPart, ...], capabilities: Capabilities) -> tuple[AnyPart, ...]:
    """The parts as the channel can take them: media it takes, everything else as its plain text.

    Raises `Unsendable` for what is empty, or longer than one message of the channel's.
    """
    media: list[AnyPart] = []
    words: list[str] = []
    for part in parts:
        if isinstance(part, Media) and _takes(capabilities, part) and len(media) < capabilities.media_count:
            media.append(part)
            words.append(part.caption or "")
        else:
            words.append(part.plain())
    text = "\n".join(word for word in words if word.strip())
    if not text and not media:
        raise Unsendable("empty_message", "the message has no content; give it a text or media part")
    limit = capabilities.text
    if limit.length(text) > limit.limit:
        what = f"the text has {limit.length(text)} characters, the channel takes {limit.limit}; shorten or split it"
        raise Unsendable("too_long", what)
    return complete([*([Text(text=text)] if text else []), *media])


def _takes(capabilities: Capabilities, part: Media) -> bool:
    if part.url is None or not part.url.startswith("https://"):
        return False
    sizes = [size for pattern, size in capabilities.media.items() if fnmatchcase(part.mime, pattern)]
    return bool(sizes) and (part.size or 0) <= max(sizes)

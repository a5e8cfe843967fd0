"""What a message looks like on a channel: cut into pieces that the provider takes, each as the channel can show it.

Text is cut in the provider's own unit, where people would pause, and never inside what a reader sees as one character
(UAX #29). Sends nothing, asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec
import regex

from sluiceway_contracts.parts import AnyPart, Choices, Media, Text, complete

from .errors import Rejected
from .gateway import Capabilities
from .units import Unit

Content: TypeAlias = tuple[AnyPart, ...]

MAX_PIECES = 20
_GRAPHEME = regex.compile(r"\X")
# from the best place to pause to the worst: paragraph, line, sentence, word
_PAUSES = tuple(regex.compile(p) for p in (r"\n{2,}", r"\n", r"(?<=[.!?…。！？])\s+|(?<=[。！？])", r"\s+"))


class Unsendable(Rejected):
    """The message can't be put on this channel; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def render(parts: Content, capabilities: Capabilities) -> tuple[Content, ...]:
    """The pieces, in order: what the channel takes as it is, media with text, everything else as plain text.

    Raises `Unsendable` for what is empty, or would be more than `MAX_PIECES`.
    """
    pieces = [parts] if capabilities.letters and _all_fit(parts, capabilities) else list(_pieces(parts, capabilities))
    if not pieces:
        raise Unsendable("empty_message", "the message has no content; give it a text or media part")
    if len(pieces) > MAX_PIECES:
        raise Unsendable("too_long", f"the message would be {len(pieces)} messages of the channel's; shorten it")
    return tuple(complete(piece) for piece in pieces)


def _all_fit(parts: Content, capabilities: Capabilities) -> bool:
    """Whether there is anything, and nothing that is too large. Raises `Unsendable`."""
    files = [part for part in parts if isinstance(part, Media)]
    return all(_takes(capabilities, part) for part in files) and any(
        isinstance(part, Media) or part.plain().strip() for part in parts
    )


def _pieces(parts: Content, capabilities: Capabilities) -> Iterator[Content]:
    """What is shown as it is stands alone, between what came before it and what comes after."""
    media: list[Media] = []
    words: list[str] = []
    for part in parts:
        if isinstance(part, Media) and capabilities.media_count and _takes(capabilities, part):
            media.append(part)
            if capabilities.captions is None:
                words.append(part.caption or "")
        elif isinstance(part, Choices) and (menu := _menu(part, words if not media else [], capabilities)):
            if not part.prompt:
                words.clear()
            yield from _flush(words, media, capabilities)
            yield (menu,)
        elif part.__struct_config__.tag in capabilities.shows:
            yield from _flush(words, media, capabilities)
            yield (part,)
        elif capabilities.captions is not None and media:
            yield from _flush(words, media, capabilities)
            words.append(part.plain())
        else:
            words.append(part.plain())
    yield from _flush(words, media, capabilities)


def _menu(part: Choices, words: list[str], capabilities: Capabilities) -> Choices | None:
    """The choices as the channel can show them, under their prompt or the words before them; None where it can't."""
    prompt = part.prompt or "\n".join(word for word in words if word.strip())
    if capabilities.menus is None or (form := capabilities.menus.form(part, prompt)) is None:
        return None
    return msgspec.structs.replace(part, prompt=prompt, style=form)


def _flush(words: list[str], media: list[Media], capabilities: Capabilities) -> Iterator[Content]:
    """The pieces of what has gathered, which then is gone."""
    texts = list(split("\n".join(word for word in words if word.strip()), capabilities.text))
    files = tuple(media)
    words.clear()
    media.clear()
    if capabilities.captions is None:
        yield from _together(texts, list(files), capabilities.media_count)
    else:
        yield from _captioned(texts, files, capabilities.captions, capabilities.text)


def _captioned(
    texts: list[str], media: tuple[Media, ...], captions: Mapping[str, Unit], unit: Unit
) -> Iterator[Content]:
    """Each file alone, under its own caption; a single text before them becomes the first one's, where that has none.

    A caption that is too long, or that its kind has not, is a text after it.
    """
    if media and len(texts) == 1 and not media[0].caption and _fits(texts[0], media[0], captions):
        media = (msgspec.structs.replace(media[0], caption=texts.pop()), *media[1:])
    yield from ((Text(text=text),) for text in texts)
    for part in media:
        if part.caption and not _fits(part.caption, part, captions):
            yield (msgspec.structs.replace(part, caption=None),)
            yield from ((Text(text=text),) for text in split(part.caption, unit))
        else:
            yield (part,)


def _fits(caption: str, part: Media, captions: Mapping[str, Unit]) -> bool:
    unit = captions.get(part.kind)
    return unit is not None and unit.length(caption) <= unit.limit


def split(text: str, unit: Unit) -> Iterator[str]:
    """The text in pieces of at most `unit.limit` each; white space at a cut is left out."""
    while unit.length(text) > unit.limit:
        fits = _longest_fit(text, unit)
        cut, resume = _pause(text, fits)
        if piece := text[:cut].rstrip():
            yield piece
        text = text[resume:].lstrip()
    if text.strip():
        yield text


def _longest_fit(text: str, unit: Unit) -> int:
    """Where the longest beginning ends that fits and cuts no grapheme; at least one code point."""
    ends = [match.end() for match in _GRAPHEME.finditer(text)]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if unit.length(text[: ends[middle - 1]]) <= unit.limit else (low, middle - 1)
    if low:
        return ends[low - 1]
    # one grapheme that is longer than a whole message: nothing readable is lost by cutting it
    fit = 1
    while fit < ends[0] and unit.length(text[: fit + 1]) <= unit.limit:
        fit += 1
    return fit


def _pause(text: str, fits: int) -> tuple[int, int]:
    """Where to cut so that a piece ends where people pause, at its half or later: end of piece, start of the next."""
    for pause in _PAUSES:
        found = None
        for found in pause.finditer(text, fits // 2, fits + 1):  # noqa: B007  # the last one counts
            pass
        if found is not None and found.start() <= fits and found.end() > 0:
            return found.start(), found.end()
    return fits, fits


def _together(texts: list[str], media: list[Media], at_once: int) -> Iterator[Content]:
    """Text first; the media go with the last text, as many a piece as the channel takes."""
    for text in texts[:-1]:
        yield (Text(text=text),)
    last: Content = (Text(text=texts[-1]),) if texts else ()
    yield_media = [tuple(media[n : n + at_once]) for n in range(0, len(media), at_once)] if at_once else []
    if last or yield_media:
        yield (*last, *(yield_media[0] if yield_media else ()))
    yield from yield_media[1:]


def _takes(capabilities: Capabilities, part: Media) -> bool:
    """Whether the channel takes such a file. Raises `Unsendable` for one that is only too large."""
    if part.ref is None and not (part.url is not None and part.url.startswith("https://")):
        return False
    sizes = [size for pattern, size in capabilities.media.items() if fnmatchcase(part.mime, pattern)]
    if sizes and (part.size or 0) > max(sizes):
        what = f"the file has {part.size} bytes, and the channel takes {max(sizes)} of {part.mime}"
        raise Unsendable("media_too_large", f"{what}; make it smaller, or give its address as text")
    return bool(sizes)
